package main

import (
	"encoding/json"
	"os/exec"
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
	if out := b.must("show"); !strings.Contains(out, "database_closed, database frozen") || !strings.Contains(out, `ALTER DATABASE "frozen" ALLOW_CONNECTIONS true`) {
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
	if err != nil || json.Unmarshal(text, &outcome) != nil || outcome.Rows != 2000 || !strings.Contains(strings.Join(outcome.Lacks, "\n"), "rdsadmin") {
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
