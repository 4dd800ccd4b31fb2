package main

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// TestWhatABackupLacksIsSaidEverywhere: with the documented role on a hardened server, in the exit code, the list, show, the
// log, the metrics and the bootstrap.
func TestWhatABackupLacksIsSaidEverywhere(t *testing.T) {
	b := newBench(t)
	b.exec("postgres", `CREATE DATABASE rdsadmin`, `REVOKE CONNECT ON DATABASE rdsadmin FROM PUBLIC`, `CREATE DATABASE frozen`)
	b.exec("rdsadmin", `CREATE TABLE t (i int)`)
	b.exec("frozen", `CREATE TABLE t (i int)`)
	b.exec("postgres", `ALTER DATABASE frozen ALLOW_CONNECTIONS false`)

	out := b.want(exitIncomplete, "run", "--verify")
	for _, want := range []string{"rdsadmin", "frozen", "GRANT CONNECT ON DATABASE", "is good for what it holds, and incomplete"} {
		if !strings.Contains(out, want) {
			t.Errorf("the log lacks %q:\n%s", want, out)
		}
	}
	if out := b.must("list"); !strings.Contains(out, "INCOMPLETE: lacks rdsadmin") || !strings.Contains(out, "verified") {
		t.Errorf("list:\n%s", out)
	}
	if out := b.must("show"); !strings.Contains(out, "database_closed, database frozen") ||
		!strings.Contains(out, `ALTER DATABASE "frozen" ALLOW_CONNECTIONS true`) {
		t.Errorf("show:\n%s", out)
	}
	m := b.gather()
	m.expect(t, "omitted{kind=database_refused}", 1)
	m.expect(t, "omitted{kind=database_closed}", 1)
	m.expect(t, "omitted{kind=subscription}", 0)

	// It is good for what it holds.
	fresh := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	c := *b
	c.env = []string{"DATA_SOURCE_NAME=" + fresh.DSN(pgtest.Superuser, "postgres")}
	var outcome struct {
		Result string
		Rows   int64
		Lacks  []string
	}
	cmd := c.cmd("bootstrap", "--json")
	text, err := cmd.Output()
	if err != nil || json.Unmarshal(text, &outcome) != nil || outcome.Rows != 2000 || !strings.Contains(strings.Join(outcome.Lacks, "\n"),
		"rdsadmin") {
		t.Errorf("bootstrap: %v %s", err, text)
	}

	// Excluded, it is no news, and backups of this selection are another set.
	if out := b.must("run", "--exclude-database=rds*", "--exclude-database=frozen"); strings.Contains(out, "level=warn") {
		t.Errorf("log:\n%s", out)
	}
	all := b.list()
	if all[0].Manifest.Set != "all but frozen,rds*" || all[0].Manifest.Incomplete || all[1].Manifest.Set != "all" {
		t.Errorf("sets %q and %q", all[0].Manifest.Set, all[1].Manifest.Set)
	}

	// The documented statement gives the documented role what it needs.
	sql := exec.Command(b.pg.Install.Bin("psql"), "-Xq", "-f", "../../deploy/sql/backup_role.sql", b.pg.DSN(pgtest.Superuser, "postgres"))
	if out, err := sql.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b.must("run", "--exclude-database=frozen")
}

// TestWhatNobodyMissesIsSilent: what an extension keeps is told until somebody says that nobody misses it, by its name.
func TestWhatNobodyMissesIsSilent(t *testing.T) {
	b := newBench(t)
	b.exec("shop", `CREATE EXTENSION hstore`, `CREATE TABLE mine AS SELECT 1 AS id`, `CREATE TABLE theirs AS SELECT 1 AS id`,
		`ALTER EXTENSION hstore ADD TABLE mine`, `ALTER EXTENSION hstore ADD TABLE theirs`)
	b.run()
	b.gather().expect(t, "omitted{kind=extension_data}", 2)
	says(t, b.must("show"), "accept --database='shop' --extension-data='public.theirs'", "  extension hstore ")
	says(t, b.want(exitNothing, "accept", "--database=shop", "--extension-data=public.none"),
		"HINT: They lack these of it: public.mine, public.theirs")
	b.want(exitConfig, "accept", "--extension-data=public.theirs")
	for range 2 { // once is enough
		b.must("accept", "--database=shop", "--extension-data=public.theirs")
	}
	if n := strings.Count(string(read(t, filepath.Join(b.repo, "servers.json"))), "public.theirs"); n != 1 {
		t.Errorf("it is noted %d times", n)
	}
	out := b.must("run")
	says(t, out, "public.mine")
	if strings.Contains(out, "level=warn msg=\"not in the backup: excluded") ||
		strings.Contains(out, "extension_data, database shop, table public.theirs") {
		t.Errorf("it warns of what nobody misses:\n%s", out)
	}
	b.gather().expect(t, "omitted{kind=extension_data}", 1)
	b.gather().expect(t, "omitted{kind=excluded}", 1)
	says(t, b.must("show"), "excluded, database shop, table public.theirs: somebody said that nobody misses it")
}
