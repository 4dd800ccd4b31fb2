package pgdump_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/contents"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine/pgdump"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// TestOneBadDatabaseCostsItself has, on one server, each way in which a database is not like the others.
func TestOneBadDatabaseCostsItself(t *testing.T) {
	pgtest.EachVersion(t, pgtest.Options{NoMonitorRole: true}, func(t *testing.T, pg *pgtest.Cluster) {
		makeRole(t, pg)
		exec(t, pg, "postgres", `CREATE DATABASE shop`, `CREATE DATABASE frozen`, `CREATE DATABASE tmpl IS_TEMPLATE true`, `CREATE DATABASE half`,
			`CREATE DATABASE rdsadmin`, `CREATE DATABASE nobody CONNECTION LIMIT 0`, `CREATE DATABASE locked`, `CREATE DATABASE "temp 1"`)
		for _, name := range []string{"shop", "frozen", "tmpl", "rdsadmin", "nobody", "locked", "temp 1"} {
			exec(t, pg, name, `CREATE TABLE t (i int)`, `INSERT INTO t VALUES (1)`)
		}
		exec(t, pg, "postgres", `ALTER DATABASE frozen ALLOW_CONNECTIONS false`,
			`UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'half'`,
			`REVOKE CONNECT ON DATABASE rdsadmin FROM PUBLIC`)
		b := newBench(t, pg, backupRole)
		b.job.Request.LockWait = 300 * time.Millisecond
		b.job.Request.Databases.Except = []string{"temp*"}
		b.job.Verify = true
		conn, err := pg.Connect(t.Context(), "locked")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		if _, err := conn.Exec(t.Context(), "BEGIN"); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), "LOCK TABLE t"); err != nil {
			t.Fatal(err)
		}

		backup := b.run(failure.Incomplete)

		wantIn, wantRefused, wantFailed := "postgres shop tmpl", "rdsadmin", "locked nobody"
		if pg.Install.Major < 14 { // there the role is a superuser, who may everything
			wantIn, wantRefused, wantFailed = "nobody postgres rdsadmin shop tmpl", "", "locked"
		}
		if got := databases(backup); got != wantIn {
			t.Errorf("the backup holds %s", got)
		}
		for kind, want := range map[catalog.OmissionKind]string{
			catalog.ClosedDatabase: "frozen", catalog.InvalidDatabase: "half", catalog.RefusedDatabase: wantRefused,
			catalog.FailedDatabase: wantFailed, catalog.ExcludedDatabase: "temp 1",
		} {
			if got := lacks(backup, kind); got != want {
				t.Errorf("%s: %q, want %q", kind, got, want)
			}
		}
		if !backup.Manifest.Incomplete || backup.Health != catalog.Verified || backup.Manifest.Set != "all but temp*" {
			t.Errorf("incomplete: %t, %s (%s), set %q", backup.Manifest.Incomplete, backup.Health, backup.Problem, backup.Manifest.Set)
		}
		if tmpl, _ := backup.Manifest.Database("tmpl"); !tmpl.Properties.IsTemplate || tmpl.Contents.Rows() != 1 {
			t.Errorf("the template has %d rows, is a template: %t", tmpl.Contents.Rows(), tmpl.Properties.IsTemplate)
		}
		for _, o := range backup.Manifest.Omitted {
			if o.Why == "" || o.Remedy == "" && o.Kind != catalog.ExcludedDatabase {
				t.Errorf("no reason or no remedy: %+v", o)
			}
		}

		// The remedies are right.
		if _, err := conn.Exec(t.Context(), "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
		for _, o := range backup.Manifest.Omitted {
			if sql, _, _ := strings.Cut(o.Remedy, ", or"); o.Kind == catalog.ClosedDatabase || o.Kind == catalog.RefusedDatabase ||
				o.Kind == catalog.InvalidDatabase {
				exec(t, pg, "postgres", sql)
			}
		}
		exec(t, pg, "postgres", `ALTER DATABASE nobody CONNECTION LIMIT -1`)
		b.job.Verify = false
		if whole := b.run(""); databases(whole) != "frozen locked nobody postgres rdsadmin shop tmpl" || whole.Manifest.Incomplete ||
			whole.Manifest.Suspect != nil {
			t.Errorf("after the remedies the backup holds %s, lacks %v, suspect %+v", databases(whole), whole.Manifest.Omitted,
				whole.Manifest.Suspect)
		}
	})
}

// What could be dumped is published, be it an empty database; a run that could dump none fails.
func TestOnlyARunThatCouldDumpNothingFails(t *testing.T) {
	pg := newServer(t, `CREATE DATABASE shop`)
	exec(t, pg, "shop", `CREATE TABLE t (i int)`)
	exec(t, pg, "postgres", `REVOKE CONNECT ON DATABASE shop FROM PUBLIC`)
	b := newBench(t, pg, backupRole)
	b.job.Verify = true
	got := b.run(failure.Incomplete)
	if databases(got) != "postgres" || lacks(got, catalog.RefusedDatabase) != "shop" || got.Health != catalog.Verified ||
		!got.Manifest.Incomplete {
		t.Errorf("holds %s, lacks %v, is %s", databases(got), got.Manifest.Omitted, got.Health)
	}
	b.job.Request.Databases.Only = []string{"shop"}
	res, err := b.job.Run(t.Context())
	if failure.Of(err) != failure.Permission || res.Backup != nil || !strings.Contains(err.Error(), "GRANT CONNECT ON DATABASE") {
		t.Errorf("%v, %+v", err, res.Backup)
	}
	// Whoever asks for a database by its name means it, and who excludes all of them means something else.
	exec(t, pg, "postgres", `GRANT CONNECT ON DATABASE shop TO `+backupRole, `CREATE DATABASE frozen ALLOW_CONNECTIONS false`)
	for _, test := range []struct {
		only, except []string
		want         failure.Reason
	}{
		{[]string{"frozen"}, nil, failure.Dump}, {[]string{"template0"}, nil, failure.Dump},
		{[]string{"shop"}, []string{"sh*"}, failure.Config}, {nil, []string{"*"}, failure.Config},
		{nil, []string{"shop", "p*"}, failure.Dump}, // only frozen is left
		{[]string{"frozen", "shop"}, nil, failure.Incomplete},
	} {
		b.job.Request.Databases = server.Selection{Only: test.only, Except: test.except}
		res, err := b.job.Run(t.Context())
		if failure.Of(err) != test.want || (res.Backup != nil) != (test.want == failure.Incomplete) {
			t.Errorf("%v but %v: %v, backup %t", test.only, test.except, err, res.Backup != nil)
		}
	}
}

// A backup without a database is compared with the one before by what both have.
func TestAnIncompleteBackupIsNoSuspectForWhatItLacks(t *testing.T) {
	pg := newServer(t, `CREATE DATABASE shop`, `CREATE DATABASE small`)
	exec(t, pg, "shop", `CREATE TABLE t AS SELECT generate_series(1, 50000)`)
	exec(t, pg, "small", `CREATE TABLE t AS SELECT generate_series(1, 50)`)
	b := newBench(t, pg, backupRole)
	b.run("")
	exec(t, pg, "postgres", `REVOKE CONNECT ON DATABASE shop FROM PUBLIC`)
	if got := b.run(failure.Incomplete); got.Manifest.Suspect != nil || !got.Health.Good() {
		t.Errorf("%s: %+v", got.Health, got.Manifest.Suspect)
	}
	exec(t, pg, "small", `DELETE FROM t`)
	if got := b.run(failure.Incomplete); got.Manifest.Suspect == nil {
		t.Error("the other one was emptied, and that is no suspicion")
	}
}

func TestTemplate1IsDumpedWhereSomebodyChangedIt(t *testing.T) {
	pg := newServer(t, `CREATE ROLE r`)
	b := newBench(t, pg, backupRole)
	if got := b.run(""); databases(got) != "postgres" || len(got.Manifest.Omitted) > 0 {
		t.Errorf("holds %s, lacks %v", databases(got), got.Manifest.Omitted)
	}
	for change, back := range map[string]string{
		`ALTER DATABASE template1 OWNER TO r`:              `ALTER DATABASE template1 OWNER TO postgres`,
		`COMMENT ON DATABASE template1 IS 'ours'`:          `COMMENT ON DATABASE template1 IS 'default template for new databases'`,
		`GRANT TEMPORARY ON DATABASE template1 TO PUBLIC`:  `REVOKE TEMPORARY ON DATABASE template1 FROM PUBLIC`,
		`ALTER DATABASE template1 CONNECTION LIMIT 5`:      `ALTER DATABASE template1 CONNECTION LIMIT -1`,
		`ALTER ROLE r IN DATABASE template1 SET jit = off`: `ALTER ROLE r IN DATABASE template1 RESET jit`,
	} {
		exec(t, pg, "postgres", change)
		if got := b.run(""); databases(got) != "postgres template1" {
			t.Errorf("%s: holds %s", change, databases(got))
		}
		exec(t, pg, "postgres", back)
	}
	if got := b.run(""); databases(got) != "postgres" || got.Manifest.Suspect != nil {
		t.Errorf("as it was made again: holds %s, %+v", databases(got), got.Manifest.Suspect)
	}
	exec(t, pg, "template1", `CREATE TABLE everywhere (i int)`, `INSERT INTO everywhere VALUES (1)`)
	b.job.Verify = true
	if got := b.run(""); databases(got) != "postgres template1" || got.Health != catalog.Verified {
		t.Errorf("holds %s, %s %s", databases(got), got.Health, got.Problem)
	}
	exec(t, pg, "postgres", `REVOKE CONNECT ON DATABASE template1 FROM PUBLIC`)
	if got := b.run(""); lacks(got, catalog.UnreadTemplate) != "template1" || got.Manifest.Incomplete {
		t.Errorf("lacks %v", got.Manifest.Omitted)
	}
}

// With the documented role pg_dump leaves out subscriptions and the options of user mappings, and says so at most in a warning.
func TestWhatTheDocumentedRoleLosesIsSaid(t *testing.T) {
	pg := newServer(t, `CREATE ROLE app`, `CREATE DATABASE shop`)
	exec(t, pg, "shop", `CREATE PUBLICATION p FOR ALL TABLES`,
		`CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p WITH (connect = false)`,
		`CREATE FOREIGN DATA WRAPPER w`, `CREATE SERVER far FOREIGN DATA WRAPPER w`, `CREATE SERVER near FOREIGN DATA WRAPPER w`,
		`CREATE USER MAPPING FOR app SERVER far OPTIONS (password 'x')`, `CREATE USER MAPPING FOR app SERVER near`)
	b := newBench(t, pg, backupRole)
	b.job.Verify = true
	got := b.run("")
	if lacks(got, catalog.OmittedSubscription) != "shop/subscription s" ||
		lacks(got, catalog.OmittedMappingOptions) != "shop/user mapping of app for server far" {
		t.Errorf("lacks %v", got.Manifest.Omitted)
	}
	if w := lacks(got, catalog.ProgramWarning); w != "" { // pg_dump's own says it with fewer words
		t.Errorf("a warning, too: %v", got.Manifest.Omitted)
	}
	db, _ := got.Manifest.Database("shop")
	if o := db.Contents.Objects; o["publications"] != 1 || o["subscriptions"] != 0 || o["foreign_servers"] != 2 || o["user_mappings"] != 2 {
		t.Errorf("objects = %v", o)
	}

	b.as(pg, pgtest.Superuser)
	got = b.run("")
	db, _ = got.Manifest.Database("shop")
	if lacks(got, catalog.OmittedSubscription)+lacks(got, catalog.OmittedMappingOptions) != "" || db.Contents.Objects["subscriptions"] != 1 ||
		got.Health != catalog.Verified {
		t.Errorf("as a superuser: %s (%s), lacks %v, objects %v", got.Health, got.Problem, got.Manifest.Omitted, db.Contents.Objects)
	}
	// And a restore that lost it would be noticed.
	less := db.Contents
	less.Objects = map[string]int64{}
	for k, v := range db.Contents.Objects {
		less.Objects[k] = v
	}
	less.Objects["subscriptions"] = 0
	if d := contents.Compare(db.Contents, less); len(d) != 1 || !strings.Contains(d[0], "subscriptions") {
		t.Errorf("differences: %v", d)
	}
}

func TestPasswordsThatTheRoleMayNotReadAreSaid(t *testing.T) {
	pg := newServer(t, `CREATE DATABASE shop`, `REVOKE pg_read_all_data FROM `+backupRole)
	exec(t, pg, "shop", `CREATE TABLE t (i int)`, `GRANT SELECT ON t TO `+backupRole)
	b := newBench(t, pg, backupRole)
	if got := b.run(""); lacks(got, catalog.OmittedPasswords) != "" || len(got.Manifest.Omitted) != 1 ||
		got.Manifest.Omitted[0].Kind != catalog.OmittedPasswords {
		t.Errorf("lacks %v", got.Manifest.Omitted)
	}
}

func TestAStandbyWithUnloggedTablesIsBackedUp(t *testing.T) {
	pgtest.EachVersion(t, pgtest.Options{NoMonitorRole: true}, func(t *testing.T, pg *pgtest.Cluster) {
		makeRole(t, pg)
		exec(t, pg, "postgres", `CREATE DATABASE shop`)
		exec(t, pg, "shop", `CREATE UNLOGGED TABLE u (id serial, v int)`, `INSERT INTO u (v) SELECT generate_series(1, 10)`,
			`CREATE TABLE t AS SELECT 1 AS i`)
		standby, err := pg.Standby(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = standby.Close() })
		b := newBench(t, standby, backupRole)
		b.job.Verify = true
		got := b.run("")
		want := "shop/table public.u"
		if pg.Install.Major >= 15 { // before that there are no unlogged sequences
			want = "shop/sequence public.u_id_seq " + want
		}
		if lacks(got, catalog.OmittedUnlogged) != want || got.Health != catalog.Verified || got.Manifest.Rows() != 1 {
			t.Errorf("%s (%s), %d rows, lacks %v", got.Health, got.Problem, got.Manifest.Rows(), got.Manifest.Omitted)
		}
	})
}

// What pg_dump warns of is kept: bounded, and without what would move a terminal's cursor.
func TestWarningsOfPgDumpAreKept(t *testing.T) {
	pg := newServer(t)
	b := newBench(t, pg, backupRole)
	b.job.Engine.(*pgdump.Engine).Finder.Dirs = []string{wrapped(t, pg, `
printf 'pg_dump: warning: typtype of data type "\033[31mred" appears to be invalid\npg_dump: detail: more of it\n' >&2
for i in $(seq 3000); do echo "pg_dump: warning: $i and so on and so on and so on and so on and so on and so on and so on and so on and so on" >&2; done`)}
	got := b.run("")
	n := 0
	for _, o := range got.Manifest.Omitted {
		if o.Kind != catalog.ProgramWarning || strings.ContainsRune(o.Why, 27) {
			t.Errorf("%q", o)
		}
		n++
	}
	if n != 20 || !strings.Contains(got.Manifest.Omitted[0].Why, `data type "?[31mred"`) ||
		got.Manifest.Omitted[19].Why != "and more warnings of pg_dump" {
		t.Errorf("%d warnings, %v", n, got.Manifest.Omitted)
	}
}

// wrapped is a directory of the client programs in which pg_dump runs a script before it begins.
func wrapped(t *testing.T, pg *pgtest.Cluster, script string) string {
	t.Helper()
	dir := t.TempDir()
	programs, err := filepath.Glob(pg.Install.Bin("*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range programs {
		if name := filepath.Base(program); name != "pg_dump" {
			if err := os.Symlink(program, filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	text := "#!/bin/sh\nreal='" + pg.Install.Bin("pg_dump") + "'\ncase \"$*\" in *--version*) exec \"$real\" --version ;; esac\n" + script +
		"\nexec \"$real\" \"$@\"\n"
	if err := os.WriteFile(filepath.Join(dir, "pg_dump"), []byte(text), 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	return dir
}

func TestLargeObjectsThatTheRoleMayNotReadCostThemselves(t *testing.T) {
	pg := newServer(t, `CREATE DATABASE shop`, `CREATE DATABASE other`)
	exec(t, pg, "other", `CREATE TABLE t (i int)`)
	exec(t, pg, "shop", `SELECT lo_from_bytea(4711, 'x'), lo_from_bytea(4712, 'y')`, `GRANT SELECT ON LARGE OBJECT 4712 TO PUBLIC`,
		`CREATE TABLE t AS SELECT generate_series(1, 10)`)
	b := newBench(t, pg, backupRole)
	b.job.Verify = true
	got := b.run(failure.Incomplete)
	if shop, _ := got.Manifest.Database("shop"); shop.Contents.Rows() != 10 || got.Health != catalog.Verified ||
		lacks(got, catalog.OmittedLargeObjects) != "shop/2 large objects" || !got.Manifest.Incomplete {
		t.Errorf("it is %s (%s), holds %d rows and lacks %v", got.Health, got.Problem, shop.Contents.Rows(), got.Manifest.Omitted)
	}
	exec(t, pg, "shop", `GRANT SELECT ON LARGE OBJECT 4711 TO `+backupRole)
	if got := b.run(""); databases(got) != "other postgres shop" || len(got.Manifest.Omitted) > 0 || got.Health != catalog.Verified {
		t.Errorf("it is %s, holds %s and lacks %v", got.Health, databases(got), got.Manifest.Omitted)
	}
}

// TestWhatIsInASchemaOfTheSystemsIsSaid: pg_dump leaves it out without a word, rows and all.
func TestWhatIsInASchemaOfTheSystemsIsSaid(t *testing.T) {
	pg := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	makeRole(t, pg)
	exec(t, pg, "postgres", "CREATE DATABASE shop")
	exec(t, pg, "shop", "CREATE TABLE information_schema.hidden AS SELECT 1 AS i", "CREATE FUNCTION pg_catalog.mine() RETURNS int LANGUAGE "+
		"sql AS 'SELECT 1'",
		"CREATE TYPE information_schema.mood AS ENUM ('good')", "CREATE EXTENSION hstore SCHEMA information_schema", "CREATE TABLE t (i int)")
	b := newBench(t, pg, backupRole)
	var names []string
	for _, o := range b.run("").Manifest.Omitted {
		if o.Kind == catalog.OmittedSystemSchema && o.Database == "shop" {
			names = append(names, o.Name)
		}
	}
	if want := []string{"function pg_catalog.mine", "relation information_schema.hidden", "type information_schema.mood"}; !slices.Equal(names,
		want) {
		t.Errorf("lacks %q, want %q", names, want)
	}
}

// A standby's replay ends sessions that need what it removes: the dump is tried again, and where that fails, too, the remedy is named.
func TestAStandbysReplayIsNotTheEndOfADump(t *testing.T) {
	pg := newServer(t, `CREATE DATABASE shop`)
	exec(t, pg, "shop", `CREATE TABLE t AS SELECT generate_series(1, 100) AS i`)
	standby, err := pg.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = standby.Close() })
	b := newBench(t, standby, backupRole)
	b.job.Request.Databases.Only = []string{"shop"}
	for words, ends := range map[string]int{
		"query failed: ERROR:  canceling statement due to conflict with recovery":               2,
		"query failed: FATAL:  terminating connection due to conflict with recovery":            9,
		"query failed: server closed the connection unexpectedly":                               1,
		"query failed: server closed the connection unexpectedly, before or while it processed": 9,
	} {
		count := filepath.Join(t.TempDir(), "count")
		b.job.Engine.(*pgdump.Engine).Finder.Dirs = []string{wrapped(t, standby, fmt.Sprintf(`
case "$*" in *--snapshot*) echo x >>%[1]s; if [ $(wc -l <%[1]s) -le %[2]d ]; then echo 'pg_dump: error: %[3]s' >&2; exit 1; fi;; esac
`, count, ends, words))}
		if ends < 3 {
			if got := b.run(""); got.Manifest.Rows() != 100 {
				t.Errorf("%s: %d rows", words, got.Manifest.Rows())
			}
			continue
		}
		res, err := b.job.Run(t.Context())
		if failure.Of(err) != failure.Dump || res.Backup != nil || !strings.Contains(err.Error(), "hot_standby_feedback") {
			t.Errorf("%s: %v, backup %t", words, err, res.Backup != nil)
		}
	}
}
