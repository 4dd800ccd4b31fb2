package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

func TestExitCodes(t *testing.T) {
	b := newBench(t)
	empty := t.TempDir()
	for name, tc := range map[string]struct {
		args []string
		env  []string
		want int
		says string
	}{
		"unknown flag":     {[]string{"run", "--nonsense"}, nil, exitConfig, "--help"},
		"a flag of psql's": {[]string{"run", "--host=h"}, nil, exitConfig, "variables: PGHOST"},
		"no root certificate": {[]string{"run"}, []string{"DATA_SOURCE_NAME=host=h sslmode=verify-full sslrootcert=/nonexistent"}, exitConfig,
			"sslrootcert: open /nonexistent: no such file or directory. HINT: Name a file that is there"},
		"no server":        {[]string{"run"}, []string{"DATA_SOURCE_NAME="}, exitConfig, "DATA_SOURCE_NAME"},
		"malformed server": {[]string{"run"}, []string{"DATA_SOURCE_NAME=postgres://u:s3cret@h:port/x"}, exitConfig, "connection string"},
		"no retention":     {[]string{"run", "--keep", "0"}, nil, exitConfig, "--keep"},
		"bad schedule":     {[]string{"schedule", "--cron", "61 * * * *"}, nil, exitConfig, "schedule"},
		"bad time zone":    {[]string{"schedule", "--time-zone", "Mars/Olympus"}, nil, exitConfig, "time-zone"},
		"no web config": {[]string{"schedule", "--web.config.file", "/nonexistent"}, nil, exitConfig,
			"--web.config.file=/nonexistent: open /nonexistent"},
		"address taken": {[]string{"schedule", "--web.listen-address", fmt.Sprintf("127.0.0.1:%d", b.pg.Port)}, nil, exitConfig,
			"Is another backup job running?"},
		"refused connection": {[]string{"run"}, []string{"DATA_SOURCE_NAME=postgres://u:s3cret@127.0.0.1:1/x"}, exitConnection, "listen_addresses"},
		"wrong password": {[]string{"run"},
			[]string{"DATA_SOURCE_NAME=" + strings.Replace(b.pg.DSN(role, "postgres"), pgtest.Password, "s3cret", 1)}, exitConnection, `\\password ROLE`},
		"no repository":          {[]string{"run", "--repository", empty}, nil, exitRepository, "init"},
		"nothing to restore":     {[]string{"restore", "--database", "shop"}, nil, exitNothing, "no backups yet"},
		"nothing to verify":      {[]string{"verify"}, nil, exitNothing, "latest"},
		"no such id":             {[]string{"show", "20200101T000000Z-1"}, nil, exitNothing, "no backup"},
		"no such name":           {[]string{"show", "newest"}, nil, exitConfig, "latest"},
		"other client versions":  {[]string{"run", "--client-dir", fakeClients(t, "16.4 (Debian 16.4-1.pgdg120+1)")}, nil, exitVersion, "16.4"},
		"no clients":             {[]string{"run", "--client-dir", empty}, nil, exitVersion, "postgresql-client-15"},
		"no such database":       {[]string{"run", "--database", "nope"}, nil, exitConfig, "nope"},
		"two sources":            {[]string{"run"}, []string{"DATA_SOURCE_NAME_FILE=/nonexistent"}, exitConfig, "both"},
		"unhealthy":              {[]string{"healthcheck"}, nil, exitOther, "no good backup"},
		"no share":               {[]string{"run", "--suspect-below", "NaN"}, nil, exitConfig, "Choose 0 to 0.99"},
		"a time before now":      {[]string{"run", "--timeout=-1s"}, nil, exitConfig, "--timeout=-1s is before now"},
		"a lock's time":          {[]string{"run", "--lock-wait-timeout=0s"}, nil, exitConfig, "--lock-wait-timeout=0s is no time"},
		"too many jobs":          {[]string{"restore", "--jobs", "100000"}, nil, exitConfig, "not 1 to 256"},
		"deadline":               {[]string{"run", "--timeout", "1ms"}, nil, exitTimeout, "longer than 1ms"},
		"init in a used one":     {[]string{"init", "--repository", filepath.Dir(fakeClients(t, "15"))}, nil, exitRepository, "empty directory"},
		"suspect share too high": {[]string{"run", "--suspect-below", "1.5"}, nil, exitConfig, "suspect"},
	} {
		t.Run(name, func(t *testing.T) {
			c := *b
			c.t, c.env = t, tc.env
			out := c.want(tc.want, tc.args...)
			if !strings.Contains(out, tc.says) {
				t.Errorf("%v does not say %q:\n%s", tc.args, tc.says, out)
			}
			if strings.Contains(out, "s3cret") {
				t.Errorf("a password is in the output:\n%s", out)
			}
		})
	}
	for _, r := range failure.Reasons() {
		if code := exitCode("run", failure.New(r, "x")); code == exitOK || code == exitOther && r != failure.Other && r != failure.Stale &&
			r != failure.Killed {
			t.Errorf("reason %s has exit code %d", r, code)
		}
	}
}

// What only a run that made its backup finds out is a failure of the command all the same.
func TestABackupThatWasMadeAndAFlagThatWasWrong(t *testing.T) {
	b := newBench(t)
	nowhere := filepath.Join(t.TempDir(), "none")
	for flag, tc := range map[string]struct {
		args []string
		want int
		says string
	}{
		"--textfile":    {[]string{"run", "--textfile", filepath.Join(nowhere, "x.prom")}, exitOther, "Its directory must exist"},
		"--scratch-dir": {[]string{"run", "--verify", "--scratch-dir", nowhere}, exitConfig, "Make the directory"},
	} {
		if out := b.want(tc.want, tc.args...); !strings.Contains(out, tc.says) {
			t.Errorf("%s does not say %q:\n%s", flag, tc.says, out)
		}
	}
	if out := b.super().must("restore", "--database", "shop", "--dry-run"); !strings.Contains(out, "would be replaced by its state of") ||
		!strings.Contains(out, "kept as shop_before_") {
		t.Errorf("nothing says that a database of that name is there:\n%s", out)
	}
}

// fakeClients makes programs that say they are of a version.
func fakeClients(t *testing.T, version string) string {
	dir := filepath.Join(t.TempDir(), "bin")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"pg_dump", "pg_dumpall", "pg_restore", "psql"} {
		script := "#!/bin/sh\necho '" + name + " (PostgreSQL) " + version + "'\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
	}
	return dir
}

func TestRestoreFromTheCommandLine(t *testing.T) {
	b := newBench(t)
	secret := filepath.Join(t.TempDir(), "dsn")
	write(t, secret, []byte(b.pg.DSN(role, "postgres")+"\n"))
	b.env = []string{"DATA_SOURCE_NAME=", "DATA_SOURCE_NAME_FILE=" + secret, "PG_RELIABILITY_BACKUP_KEEP=3"}
	first := b.run("--verify")
	b.exec("shop", "DELETE FROM item WHERE id > 1500")
	second := b.run()
	b.env = nil
	s := b.super()

	if out := s.must("restore", first, "--dry-run"); !strings.Contains(out, "2000 rows") {
		t.Errorf("dry run: %s", out)
	}
	if out := s.must("restore", "--list"); !strings.Contains(out, "TABLE DATA public item") {
		t.Errorf("list: %s", out)
	}
	s.must("restore", first, "--as", "copy")
	if out := s.want(exitRefused, "restore", first, "--database=shop", "--as=copy"); !strings.Contains(out, "database copy (") {
		t.Errorf("a copy of before would be replaced: %s", out)
	}
	if out := s.want(exitConfig, "restore", "latest-verified"); !strings.Contains(out, "database shop (") || !strings.Contains(out, "--yes") {
		t.Errorf("nobody named the database: %s", out)
	}
	s.must("restore", "latest-verified", "--keep-as", "shop_old", "--yes")
	s.want(exitRefused, "restore", first, "--keep-as", "shop_old", "--database=shop")
	s.want(exitRefused, "restore", first, "--as", "template1")
	s.must("restore", second, "--drop-old", "--yes")
	for database, want := range map[string]string{"copy": "2000", "shop_old": "1500", "shop": "1500"} {
		if got, err := b.pg.Query(t.Context(), database, "SELECT count(*) FROM item"); err != nil || got != want {
			t.Errorf("%s has %s rows (%v), want %s", database, got, err, want)
		}
	}
	s.must("restore", first, "--table", "item", "--json")
	if n, err := b.pg.Query(t.Context(), "postgres",
		"SELECT count(*) FROM pg_database WHERE datname LIKE 'shop_%' AND datname <> 'shop_old'"); err != nil || n != "0" {
		t.Errorf("%s databases are left over (%v)", n, err)
	}
	other := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	s.env = append(s.env, "PG_RELIABILITY_BACKUP_TO="+other.DSN(pgtest.Superuser, "postgres"))
	s.must("restore", first)
	if got, err := other.Query(t.Context(), "shop", "SELECT count(*) FROM item"); err != nil || got != "2000" {
		t.Errorf("the other server has %s rows (%v)", got, err)
	}
	// Without a superuser: everything belongs to the role that restores.
	b.exec("postgres", "CREATE ROLE plain LOGIN CREATEDB PASSWORD '"+pgtest.Password+"'")
	plain := *b
	plain.env = []string{"DATA_SOURCE_NAME=" + b.pg.DSN("plain", "postgres")}
	plain.must("restore", first, "--as", "plain_copy", "--no-owner")
	if got, err := b.pg.Query(t.Context(), "plain_copy", "SELECT relowner::regrole || ' ' || (SELECT count(*) FROM item) FROM pg_class "+
		"WHERE relname = 'item'"); err != nil || got != "plain 2000" {
		t.Errorf("plain_copy: %s, %v", got, err)
	}
	var list []struct{ ID, State string }
	if err := json.Unmarshal([]byte(b.must("list", "--json")), &list); err != nil || len(list) != 2 || list[1].State != "verified" {
		t.Errorf("list --json: %v, %v", list, err)
	}
}

func TestTheManualHasEveryExitCodeAndCommand(t *testing.T) {
	manual := string(read(t, filepath.Join("..", "..", "docs", "backup.md")))
	for _, e := range exits() {
		row := fmt.Sprintf("| %d | ", e.code)
		if i := strings.Index(manual, row); i < 0 || len(e.reasons) > 0 &&
			!strings.HasPrefix(manual[i+len(row):], strings.FieldsFunc(e.meaning, func(r rune) bool { return strings.ContainsRune(" :,", r) })[0]) {
			t.Errorf("the manual lacks exit code %d: %s", e.code, e.meaning)
		}
	}
	for name := range (&program{flags: &flags{}}).commands() {
		if !strings.Contains(manual, "`"+name) {
			t.Errorf("the manual lacks the command %s", name)
		}
	}
}

func TestParseTable(t *testing.T) {
	for in, want := range map[string][2]string{
		"item": {"public", "item"}, "Shop.Item": {"shop", "item"}, `"Shop"."It.em"`: {"Shop", "It.em"}, `s."a""b"`: {"s", `a"b`},
		"Straße.ÜBER": {"straße", "Über"}, `"ÄÖ"."é"`: {"ÄÖ", "é"}, // only ASCII is folded
	} {
		schema, table, err := parseTable(in)
		if err != nil || schema != want[0] || table != want[1] {
			t.Errorf("%s = %q.%q, %v", in, schema, table, err)
		}
	}
	for _, in := range []string{"", "a.b.c", `"a`, "a."} {
		if _, _, err := parseTable(in); err == nil {
			t.Errorf("%q is taken for a table", in)
		}
	}
}

// TestACutSentinelIsNamed: each command that reads the repository says which file is broken and what to do.
func TestACutSentinelIsNamed(t *testing.T) {
	b := &bench{t: t, repo: filepath.Join(t.TempDir(), "repo"), env: []string{"DATA_SOURCE_NAME=postgres://nobody@127.0.0.1:1/x"}}
	b.must("init")
	write(t, filepath.Join(b.repo, "pg_reliability_backup.json"), []byte("{"))
	for _, args := range [][]string{{"list"}, {"show"}, {"verify"}, {"restore"}, {"bootstrap"}, {"prune"}, {"run"}, {"healthcheck"}} {
		out := b.want(exitRepository, args...)
		if !strings.Contains(out, "pg_reliability_backup.json is cut or garbled") ||
			!strings.Contains(out, "HINT: The backups beside it are untouched.") {
			t.Errorf("%v: %s", args, out)
		}
	}
}
