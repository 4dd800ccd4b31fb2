package restore_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/restore"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// What ANALYZE runs and nothing else of a restore runs must not keep a database from coming back.
func TestWhatCannotBeAnalyzedComesBackWithAWarning(t *testing.T) {
	t.Parallel()
	b := newServer(t, pgtest.Options{})
	b.exec(t, "postgres", "CREATE DATABASE far", "CREATE DATABASE stat")
	b.exec(t, "far",
		"CREATE EXTENSION postgres_fdw",
		"CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '1')",
		"CREATE USER MAPPING FOR PUBLIC SERVER far",
		"CREATE TABLE p (i int) PARTITION BY RANGE (i)", "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (10)",
		"CREATE FOREIGN TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20) SERVER far",
		"CREATE TABLE parent (i int)", "CREATE FOREIGN TABLE child () INHERITS (parent) SERVER far",
		"INSERT INTO p VALUES (1)", "INSERT INTO parent SELECT generate_series(1, 100)")
	b.exec(t, "stat",
		"CREATE FUNCTION g(a int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT a % 7'",
		"CREATE FUNCTION f(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN g(a); END'",
		"CREATE TABLE t (a int, b int) PARTITION BY RANGE (a)", "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (1) TO (501)",
		"CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (501) TO (2001)",
		"INSERT INTO t SELECT i, i FROM generate_series(1, 1000) i", "CREATE STATISTICS s ON (f(a)), b FROM t1")
	backup := b.verified(t)
	for database, unknown := range map[string]string{"far": "public.p ", "stat": "public.t1"} {
		rep, err := b.restorer(t, b.pg).Restore(t.Context(), restore.Options{Backup: backup, Database: database})
		if err != nil {
			t.Errorf("restore %s: %v", database, err)
		}
		if !strings.Contains(strings.Join(rep.Warnings, "\n"), unknown) {
			t.Errorf("%s: warnings %q do not name %s", database, rep.Warnings, unknown)
		}
	}
	// The others have their statistics, in the same tree of partitions, too.
	for sql, want := range map[string]string{
		"SELECT count(*) FROM pg_stats WHERE tablename = 'p1'": "1",
	} {
		if got := query(t, b.pg, "far", sql); got != want {
			t.Errorf("%s = %s, want %s", sql, got, want)
		}
	}
	if got := query(t, b.pg, "stat", "SELECT reltuples FROM pg_class WHERE relname = 't2'"); got != "500" {
		t.Errorf("t2 has %s rows by its statistics, want 500", got)
	}
	fresh := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	if out, err := b.restorer(t, fresh).Bootstrap(t.Context(), restore.BootstrapOptions{}); err != nil || len(out.Warnings) < 3 {
		t.Errorf("bootstrap: %+v, %v", out, err)
	}
}

// Settings of a database and of roles in it must be there before the data, and must not keep the data from coming.
func TestDataThatNeedSettingsAndSettingsThatAreInTheWay(t *testing.T) {
	t.Parallel()
	b := newServer(t, pgtest.Options{})
	b.exec(t, "postgres", "CREATE ROLE app LOGIN", "CREATE DATABASE shop OWNER app",
		"ALTER DATABASE shop SET app.maximum = '100'", "ALTER DATABASE shop SET default_transaction_read_only = on",
		"ALTER DATABASE shop SET statement_timeout = '1ms'", "ALTER DATABASE shop SET session_preload_libraries = 'auto_explain'",
		"ALTER DATABASE shop SET role = 'app'", "ALTER DATABASE shop SET lock_timeout = '1ms'",
		"ALTER DATABASE shop SET temp_file_limit = '1MB'", "ALTER DATABASE shop SET maintenance_work_mem = '1MB'",
		"ALTER ROLE ALL SET temp_file_limit = '1MB'",
		"ALTER ROLE "+pgtest.Superuser+" IN DATABASE shop SET statement_timeout = '1ms'")
	cfg, err := pgx.ParseConfig(b.pg.DSN(pgtest.Superuser, "shop"))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"statement_timeout": "0", "lock_timeout": "0", "role": "none",
		"default_transaction_read_only": "off",
		"temp_file_limit":               "-1"} {
		cfg.RuntimeParams[name] = value
	}
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		"CREATE FUNCTION maximum() RETURNS int LANGUAGE sql AS $$SELECT pg_catalog.current_setting('app.maximum')::int$$",
		"CREATE TABLE t (i int CHECK (i <= public.maximum()))", "INSERT INTO t SELECT generate_series(1, 100)",
		// To sort this index takes more temporary files than people's own queries may have.
		"CREATE TABLE wide AS SELECT repeat(md5(i::text), 5) AS t FROM generate_series(1, 40000) i", "CREATE INDEX ON wide (t)",
	} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	_ = conn.Close(t.Context())
	backup := b.verified(t)
	if _, err := b.restorer(t, b.pg).Restore(t.Context(), restore.Options{Backup: backup, Database: "shop"}); err != nil {
		t.Error(err)
	}
	got := query(t, b.pg, "postgres", `SELECT string_agg(s, ' ' ORDER BY s) FROM pg_db_role_setting r JOIN pg_database d ON d.oid = setdatabase
		CROSS JOIN unnest(setconfig) s WHERE datname = 'shop' AND setrole = 0`)
	if want := "app.maximum=100 default_transaction_read_only=on lock_timeout=1ms maintenance_work_mem=1MB role=app " +
		"session_preload_libraries=auto_explain statement_timeout=1ms temp_file_limit=1MB"; got != want {
		t.Errorf("settings = %s, want %s", got, want)
	}
}

func TestATablespaceOfAnotherNameIsAWarning(t *testing.T) {
	t.Parallel()
	b := newServer(t, pgtest.Options{})
	fresh := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	space := func(pg *pgtest.Cluster, name string) {
		t.Helper()
		dir := filepath.Join(pg.Dir, name)
		if out, err := pgtest.Command("mkdir", dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if err := pg.Exec(t.Context(), fmt.Sprintf("CREATE TABLESPACE %s LOCATION '%s'", name, dir)); err != nil {
			t.Fatal(err)
		}
	}
	space(b.pg, "ssd")
	space(fresh, "other")
	b.exec(t, "postgres", "CREATE DATABASE shop")
	b.exec(t, "shop", "CREATE TABLE big TABLESPACE ssd AS SELECT 1 AS i")
	backup := b.verified(t)
	out, err := b.restorer(t, fresh).Bootstrap(t.Context(), restore.BootstrapOptions{})
	if err != nil || !strings.Contains(strings.Join(out.Warnings, "\n"), "no tablespace ssd") {
		t.Errorf("bootstrap: %+v, %v", out, err)
	}
	// Where it is there, it is used.
	if _, err := b.restorer(t, b.pg).Restore(t.Context(), restore.Options{Backup: backup, Database: "shop"}); err != nil {
		t.Error(err)
	}
	if got := query(t, b.pg, "shop",
		"SELECT spcname FROM pg_tablespace t JOIN pg_class c ON c.reltablespace = t.oid WHERE relname = 'big'"); got != "ssd" {
		t.Errorf("the table is in tablespace %q, want ssd", got)
	}
}

func TestLongNamesThatBeginAlike(t *testing.T) {
	t.Parallel()
	b := newServer(t, pgtest.Options{})
	one, two := strings.Repeat("n", 61)+"_1", strings.Repeat("n", 61)+"_2"
	for _, name := range []string{one, two} {
		b.exec(t, "postgres", "CREATE DATABASE "+name)
		b.exec(t, name, "CREATE TABLE t AS SELECT '"+name+"' AS name")
	}
	b.verified(t)
	fresh := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	for _, name := range []string{one, two} { // as somebody made them already, empty
		if err := fresh.Exec(t.Context(), "CREATE DATABASE "+name); err != nil {
			t.Fatal(err)
		}
	}
	out, err := b.restorer(t, fresh).Bootstrap(t.Context(), restore.BootstrapOptions{})
	if err != nil || len(out.Kept) != 2 {
		t.Fatalf("%+v, %v", out, err)
	}
	for _, name := range []string{one, two} {
		if got := query(t, fresh, name, "SELECT name FROM t"); got != name {
			t.Errorf("%s holds %s", name, got)
		}
	}
}

// A template, a database that takes no connections, and one with a limit of 0 come back as they were.
func TestDatabasesThatAreClosedComeBackClosed(t *testing.T) {
	t.Parallel()
	b := newServer(t, pgtest.Options{})
	b.exec(t, "postgres", "CREATE DATABASE shop", "CREATE DATABASE tmpl")
	b.exec(t, "shop", "CREATE TABLE t AS SELECT 1 AS i")
	b.exec(t, "tmpl", "CREATE TABLE t AS SELECT 1 AS i")
	b.exec(t, "postgres", "ALTER DATABASE tmpl IS_TEMPLATE true", "ALTER DATABASE tmpl CONNECTION LIMIT 0",
		"ALTER DATABASE shop CONNECTION LIMIT 7")
	b.job.Request.Target = b.restorer(t, b.pg).Target // whom no limit holds
	backup := b.verified(t)
	for i := range backup.Manifest.Databases { // as a backup by other means may have it
		if d := &backup.Manifest.Databases[i]; d.Name == "shop" {
			d.Properties.AllowConn = false
		}
	}
	for _, d := range backup.Manifest.Databases {
		if d.Name == "postgres" {
			continue
		}
		if _, err := b.restorer(t, b.pg).Restore(t.Context(), restore.Options{Backup: backup, Database: d.Name, As: d.Name + "_r"}); err != nil {
			t.Errorf("restore %s: %v", d.Name, err)
		}
	}
	got := query(t, b.pg, "postgres",
		`SELECT string_agg(concat_ws(' ', datname, datistemplate, datallowconn, datconnlimit), ', ' ORDER BY datname)
		FROM pg_database WHERE datname LIKE '%\_r'`)
	if want := "shop_r f f 7, tmpl_r t t 0"; got != want {
		t.Errorf("databases: %s, want %s", got, want)
	}
}

// An engine's backup that a restore can't use says so, and a server without a database postgres is no other server.
func TestAServerWithoutADatabasePostgres(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.job.Request.Target = b.job.Request.Target.With("dbname", "shop")
	if err := b.pg.ExecIn(t.Context(), "shop", "DROP DATABASE postgres"); err != nil {
		t.Fatal(err)
	}
	backup := b.verified(t)
	r := b.restorer(t, b.pg)
	r.Target = r.Target.With("dbname", "shop")
	rep, err := r.Restore(t.Context(), restore.Options{Backup: backup, Database: "shop"})
	if err != nil || rep.Rows != 4100 {
		t.Fatalf("%+v, %v", rep, err)
	}
	if got := query(t, b.pg, "shop", "SELECT count(*) FROM pg_database WHERE datname LIKE 'shop%'"); got != "2" {
		t.Errorf("%s databases named shop..., want the new and the old one", got)
	}
	fresh := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	if err := fresh.ExecIn(t.Context(), "template1", "DROP DATABASE postgres"); err != nil {
		t.Fatal(err)
	}
	r = b.restorer(t, fresh)
	r.Target = r.Target.With("dbname", "shop")
	if out, err := r.Bootstrap(t.Context(), restore.BootstrapOptions{}); err != nil || out.Result != restore.Restored {
		t.Errorf("bootstrap: %+v, %v", out, err)
	}
}

// What a kill between CREATE DATABASE and its mark leaves is found by its name, and dropped only when it is empty.
func TestLeftoversAreDroppedAndNobodysDatabase(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	backup := b.run(t)
	const ours = "pg_reliability_restore_"
	b.exec(t, "postgres",
		"CREATE DATABASE "+ours+"0123456789abcdef", // before the mark
		"CREATE DATABASE "+ours+"1111111111111111",
		"COMMENT ON DATABASE "+ours+"1111111111111111 IS 'pg_reliability_backup: unfinished restore of X as "+ours+"1111111111111111'",
		"CREATE DATABASE "+ours+"of_mine", "CREATE DATABASE "+ours+"2222222222222222",
		"CREATE DATABASE renamed", // half restored, and taken over by somebody
		"COMMENT ON DATABASE renamed IS 'pg_reliability_backup: unfinished restore of X as "+ours+"3333333333333333'",
		"CREATE DATABASE restored_shop", // its owner wrote what a restore writes, or a backup brought it along
		"COMMENT ON DATABASE restored_shop IS 'pg_reliability_backup: unfinished restore of X as restored_shop'")
	b.exec(t, ours+"2222222222222222", "CREATE TABLE of_somebody ()")
	b.exec(t, ours+"1111111111111111", // a subscription holds its database
		`CREATE SUBSCRIPTION "the ""s""" CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p WITH (connect = false)`)
	if _, err := b.restorer(t, b.pg).Restore(t.Context(), restore.Options{Backup: backup, Database: "shop", DropOld: true}); err != nil {
		t.Fatal(err)
	}
	got := query(t, b.pg, "postgres", "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE datname LIKE '%restore%' OR "+
		"datname = 'renamed'")
	if want := ours + "2222222222222222 " + ours + "of_mine renamed restored_shop"; got != want {
		t.Errorf("left are %s, want %s", got, want)
	}
	var names []string
	for _, d := range b.run(t).Manifest.Databases {
		names = append(names, d.Name)
	}
	for _, name := range []string{"renamed", "restored_shop"} {
		if !slices.Contains(names, name) {
			t.Errorf("database %s is in no backup, which has %v", name, names)
		}
	}
}

// A comment is its owner's to choose: no database is nothing because of one.
func TestBootstrapTakesNoOwnersWordForAnEmptyServer(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.run(t)
	fresh := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	if err := fresh.Exec(t.Context(), "CREATE DATABASE shop",
		"COMMENT ON DATABASE shop IS 'pg_reliability_backup: unfinished restore of X as shop'"); err != nil {
		t.Fatal(err)
	}
	if err := fresh.ExecIn(t.Context(), "shop", "CREATE TABLE of_the_application ()"); err != nil {
		t.Fatal(err)
	}
	if out, err := b.restorer(t, fresh).Bootstrap(t.Context(), restore.BootstrapOptions{}); err != nil || out.Result != restore.HadData {
		t.Errorf("bootstrap: %+v, %v", out, err)
	}
	if got := query(t, fresh, "shop", "SELECT count(*) FROM pg_class WHERE relname = 'of_the_application'"); got != "1" {
		t.Errorf("%s tables of the application are left", got)
	}
}

// wantRefusal expects an error of a reason that names what is in the way, and nothing done.
func wantRefusal(t *testing.T, b *bench, err error, reason failure.Reason, text string) {
	t.Helper()
	var f *failure.Error
	if failure.Of(err) != reason || !strings.Contains(fmt.Sprint(err), text) || !errors.As(err, &f) {
		t.Errorf("%v (%s), want %s with %q", err, failure.Of(err), reason, text)
	}
	if got := query(t, b.pg, "postgres",
		"SELECT count(*) FROM pg_database WHERE datname LIKE '%restore%' OR datname LIKE '%before%'"); got != "0" {
		t.Errorf("%s databases are left", got)
	}
}

// What would make the swap fail is found before anything is loaded.
func TestWhatIsInTheWayIsSaidBeforeLoading(t *testing.T) {
	t.Parallel()
	b := newBenchWith(t, pgtest.Options{Settings: map[string]string{"max_prepared_transactions": "2", "wal_level": "logical"}})
	backup := b.run(t)
	loaded := false
	try := func(o restore.Options) error {
		t.Helper()
		o.Backup, o.Database = backup, "shop"
		r := b.restorer(t, b.pg)
		r.Progress = func(phase string, _, _ int64) { loaded = loaded || strings.HasPrefix(phase, "load") }
		_, err := r.Restore(t.Context(), o)
		return err
	}
	prepare(t, b, "shop", "in-the-way")
	wantRefusal(t, b, try(restore.Options{}), failure.Refused, "in-the-way")
	b.exec(t, "shop", "ROLLBACK PREPARED 'in-the-way'")

	b.exec(t, "shop", "SELECT pg_create_logical_replication_slot('consumer', 'pgoutput')")
	wantRefusal(t, b, try(restore.Options{DropOld: true}), failure.Refused, "consumer")
	wantRefusal(t, b, try(restore.Options{KeepAs: "postgres"}), failure.Refused, "postgres")
	wantRefusal(t, b, try(restore.Options{As: strings.Repeat("é", 32)}), failure.Config, "64 bytes")
	wantRefusal(t, b, try(restore.Options{KeepAs: strings.Repeat("x", 64)}), failure.Config, "64 bytes")
	if loaded {
		t.Error("something was loaded before")
	}
	// Without --drop-old it stays with the old database, and that is said.
	rep, err := b.restorer(t, b.pg).Restore(t.Context(), restore.Options{Backup: backup, Database: "shop"})
	if err != nil || !strings.Contains(strings.Join(rep.Warnings, "\n"), "consumer") {
		t.Errorf("%+v, %v", rep, err)
	}
	if got := query(t, b.pg, "postgres", "SELECT database FROM pg_replication_slots"); got != rep.KeptAs {
		t.Errorf("the slot is of database %s, want %s", got, rep.KeptAs)
	}
}

func prepare(t *testing.T, b *bench, database, gid string) {
	t.Helper()
	conn, err := b.pg.Connect(context.Background(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, sql := range []string{"BEGIN", "SELECT 1", "CREATE TABLE prepared ()", "PREPARE TRANSACTION '" + gid + "'"} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}
