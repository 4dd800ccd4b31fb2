package job_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/restore"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// inBytes runs statements in a session that converts nothing.
func inBytes(t *testing.T, pg *pgtest.Cluster, database string, sql ...string) {
	t.Helper()
	cfg, err := pgx.ParseConfig(pg.DSN(pgtest.Superuser, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Database, cfg.RuntimeParams["client_encoding"] = database, "SQL_ASCII"
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	for _, s := range sql {
		if _, err := conn.Exec(t.Context(), s); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
	}
}

// TestNamesOfEveryEncoding: one table, column, index or sequence with a name that is not ASCII, in databases that are not UTF-8.
func TestNamesOfEveryEncoding(t *testing.T) {
	b := newBench(t)
	names := map[string]string{ // as the database has them, in bytes
		"LATIN1": "stra\xdfe", "WIN1252": "\x80uro", "EUC_JP": "\xc6\xfc\xcb\xdc", "SQL_ASCII": "caf\xe9", "LATIN9": "\xa4uro",
		"KOI8R": "\xc4\xc1",
	}
	want := map[string]string{
		"LATIN1": "straße", "WIN1252": "€uro", "EUC_JP": "日本", "SQL_ASCII": "caf\uf7e9", "LATIN9": "€uro", "KOI8R": "да",
	}
	if b.pg.Install.Major < 19 { // from then on no database may have it
		names["MULE_INTERNAL"], want["MULE_INTERNAL"] = "stra\x81\xdfe", "stra\uf781\uf7dfe"
	}
	for encoding, name := range names {
		if err := b.pg.Exec(t.Context(), `CREATE DATABASE "d_`+encoding+`" ENCODING '`+encoding+
			`' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0`); err != nil {
			t.Fatal(err)
		}
		inBytes(t, b.pg, "d_"+encoding, `CREATE TABLE "`+name+`" (id serial PRIMARY KEY, "c_`+name+`" text CHECK ("c_`+name+`" <> ''))`,
			`INSERT INTO "`+name+`" ("c_`+name+`") VALUES ('`+name+`'), ('x')`, `CREATE SCHEMA "s_`+name+`"`,
			`CREATE TABLE "s_`+name+`".t (i int)`)
	}
	b.job.Verify = true
	backup := b.run(t)
	if backup.Health != catalog.Verified {
		t.Fatalf("state = %s (%s), want verified", backup.Health, backup.Problem)
	}
	for encoding, name := range want {
		db, _ := backup.Manifest.Database("d_" + encoding)
		if !slices.ContainsFunc(db.Contents.Tables, func(t catalog.Table) bool { return t.Name == name && t.Rows == 2 }) {
			t.Errorf("%s: the manifest has %+v, want %q", encoding, db.Contents.Tables, name)
		}
	}
	for encoding, name := range names {
		database := "d_" + encoding
		inBytes(t, b.pg, database, `DELETE FROM "`+name+`"`)
		if _, err := b.restorer(t, b.pg).Restore(t.Context(), restore.Options{Backup: backup, Database: database, DropOld: true}); err != nil {
			t.Errorf("%s: %v", encoding, err)
			continue
		}
		inBytes(t, b.pg, database, `DO $$ BEGIN ASSERT (SELECT count(*) FROM "`+name+`" WHERE "c_`+name+`" = '`+name+`') = 1; END $$`)
	}
}

// TestAServerWithoutEncoding: a database's name, comment and settings are bytes there, too. (Roles whose names are no UTF-8 are left
// out with a note: see backup/globals.)
func TestAServerWithoutEncoding(t *testing.T) {
	b := newBench(t)
	pg := pgtest.New(t, pgtest.Options{NoMonitorRole: true, InitArgs: []string{"-E", "SQL_ASCII"}})
	const name = "caf\xe9"
	inBytes(t, pg, "postgres", `CREATE ROLE owner`, `CREATE DATABASE "`+name+`" OWNER owner`,
		`COMMENT ON DATABASE "`+name+`" IS 'a `+name+`'`, `ALTER DATABASE "`+name+`" SET app.x = '`+name+`'`)
	inBytes(t, pg, name, `CREATE TABLE "`+name+`" (i int)`, `INSERT INTO "`+name+`" VALUES (7)`)
	target, err := server.Parse(pg.DSN(pgtest.Superuser, "postgres"), nil)
	if err != nil {
		t.Fatal(err)
	}
	b.job.Request.Target, b.job.Verify = target, true
	backup := b.run(t)
	if backup.Health != catalog.Verified {
		t.Fatalf("state = %s (%s), want verified", backup.Health, backup.Problem)
	}
	if _, ok := backup.Manifest.Database("caf\uf7e9"); !ok {
		t.Errorf("the manifest has no such database: %+v", backup.Manifest.Databases)
	}
	inBytes(t, pg, name, `DELETE FROM "`+name+`"`)
	if _, err := b.restorer(t, pg).
		Restore(t.Context(), restore.Options{Backup: backup, Database: server.Text(name), DropOld: true}); err != nil {
		t.Fatal(err)
	}
	inBytes(t, pg, name, `DO $$ BEGIN ASSERT (SELECT sum(i) FROM "`+name+`") = 7; ASSERT current_setting('app.x') = '`+name+`';
		ASSERT (SELECT pg_catalog.pg_get_userbyid(datdba) = 'owner' AND shobj_description(oid, 'pg_database') = 'a `+name+
		`' FROM pg_database WHERE datname = current_database()); END $$`)
	if strings.Contains(backup.Dir, name) {
		t.Errorf("%q", backup.Dir)
	}
}

// TestWhatIsNotUTF8IsNamed: a database of another encoding can give the whole server names and settings that its other databases can't say.
func TestWhatIsNotUTF8IsNamed(t *testing.T) {
	b := newBench(t)
	if err := b.pg.Exec(t.Context(), `CREATE DATABASE bytes ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0`,
		`CREATE DATABASE noted`, `CREATE DATABASE owned`); err != nil {
		t.Fatal(err)
	}
	inBytes(t, b.pg, "bytes", "CREATE ROLE \"caf\xe9\"", "CREATE ROLE plain", "ALTER ROLE plain SET app.x = 'caf\xe9'",
		"COMMENT ON ROLE plain IS 'caf\xe9'",
		"COMMENT ON DATABASE noted IS 'caf\xe9'", "ALTER DATABASE noted SET app.y = 'caf\xe9'", "ALTER DATABASE owned OWNER TO \"caf\xe9\"")
	named := func(of catalog.Backup) (got []string) {
		for _, o := range of.Manifest.Omitted {
			if o.Kind == catalog.NotUTF8 {
				got = append(got, strings.TrimPrefix(o.Database+": "+o.Name, ": "))
				if o.Remedy == "" {
					t.Errorf("no remedy: %s", o)
				}
			}
		}
		slices.Sort(got)
		return got
	}
	// The job's own session may be in the very database that takes any bytes.
	usual := b.job.Request.Target
	b.job.Request.Target = usual.With("dbname", "bytes")
	fromBytes := named(b.run(t))
	b.job.Request.Target = usual
	b.job.Verify = true
	backup := b.run(t)
	if backup.Health != catalog.Verified {
		t.Fatalf("state = %s (%s), want verified", backup.Health, backup.Problem)
	}
	got := named(backup)
	if !slices.Equal(fromBytes, got) {
		t.Errorf("from a session in SQL_ASCII it names %q, from one in UTF8 %q", fromBytes, got)
	}
	want := []string{"role caf\uf7e9", "comment of role plain", "setting app.x of role plain", "noted: its comment", "noted: setting app.y",
		"owned: its owner, role caf\uf7e9"}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("it names %q, want %q", got, want)
	}
	// What is only said of a database keeps nothing from coming back.
	if _, err := b.restorer(t, b.pg).Restore(t.Context(), restore.Options{Backup: backup, Database: "noted", DropOld: true}); err != nil {
		t.Error(err)
	}
}
