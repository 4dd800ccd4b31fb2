package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// as is the bench with the program logging in as another role.
func (b *bench) as(user string) *bench {
	c := *b
	c.env = append([]string{"DATA_SOURCE_NAME=" + b.pg.DSN(user, "postgres")}, b.env...)
	return &c
}

// says checks that an output has each of some texts.
func says(t *testing.T, out string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(out, text) {
			t.Errorf("no %q in:\n%s", text, out)
		}
	}
}

// TestADryRunSaysWhatTheLoginLacks: what --dry-run does not refuse, the restore does not refuse, and it is refused before anything is
// loaded, once.
func TestADryRunSaysWhatTheLoginLacks(t *testing.T) {
	b := newBench(t)
	b.run()
	b.exec("postgres", "CREATE ROLE plain LOGIN PASSWORD '"+pgtest.Password+"'",
		"CREATE ROLE maker LOGIN CREATEDB PASSWORD '"+pgtest.Password+"'")
	const noCreate = "role plain may not create databases"
	for name, tc := range map[string]struct {
		user string
		args []string
		want string
	}{
		"no CREATEDB":           {"plain", []string{"restore", "--database=shop", "--no-owner", "--as=copy"}, noCreate},
		"no CREATEDB, a table":  {"plain", []string{"restore", "--database=shop", "--no-owner", "--table=item"}, noCreate},
		"another's owner":       {"maker", []string{"restore", "--database=shop", "--as=copy"}, "role maker may not give it away"},
		"another's database":    {"maker", []string{"restore", "--database=shop", "--no-owner"}, "this login may not rename it"},
		"enough":                {"maker", []string{"restore", "--database=shop", "--no-owner", "--as=new"}, ""},
		"a database that isn't": {"maker", []string{"restore", "--database=shop", "--no-owner", "--table=item", "--as=none"}, "does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			p := b.as(tc.user)
			if tc.want == "" {
				dry := p.must(append(tc.args, "--dry-run")...)
				if strings.Contains(dry, "refused") {
					t.Errorf("%s", dry)
				}
				p.must(tc.args...)
				return
			}
			code := exitRestore
			if name == "a database that isn't" {
				code = exitRefused
			}
			dry, out := p.want(code, append(tc.args, "--dry-run")...), p.want(code, tc.args...)
			says(t, dry, "it would be refused", tc.want, "HINT: ")
			says(t, out, tc.want, "HINT: ")
			said := regexp.MustCompile(` err="(.*)"`)
			if d, o := said.FindStringSubmatch(dry), said.FindStringSubmatch(out); d == nil || o == nil || d[1] != o[1] {
				t.Errorf("the dry run says %q, the restore %q", d, o)
			}
			if strings.Contains(out, "workers") {
				t.Errorf("it was tried again:\n%s", out)
			}
		})
	}
}

// TestABootstrapsDryRunIsTheBootstrap: the same databases, the same rows, the same refusal.
func TestABootstrapsDryRunIsTheBootstrap(t *testing.T) {
	b := newBench(t)
	b.run("--verify")
	other := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	if err := other.Exec(t.Context(), "CREATE ROLE plain LOGIN PASSWORD '"+pgtest.Password+"'"); err != nil {
		t.Fatal(err)
	}
	p := *b
	p.pg = other
	says(t, p.as("plain").want(exitRestore, "bootstrap", "--dry-run"), "role plain may not create databases", "HINT: ")
	dry, done := p.super().must("bootstrap", "--dry-run"), p.super().must("bootstrap")
	line := regexp.MustCompile(`restored from .*: databases .*, \d+ rows`)
	if want, got := line.FindString(done), line.FindString(dry); got != want || !strings.Contains(got, "databases shop, 2000 rows") {
		t.Errorf("the dry run says %q, the bootstrap %q", got, want)
	}
}

// TestWordsForPeople: what an output says can be copied, is true, and names its remedy.
func TestWordsForPeople(t *testing.T) {
	b := newBench(t)
	s := b.super()
	b.exec("shop", `CREATE TABLE "Order" AS SELECT 1 AS id`)
	s.env = append(s.env, "DATA_SOURCE_NAME=host=/nowhere user=x dbname=postgres")
	if out, code := s.prog("run"); code != exitConnection {
		t.Fatalf("exit code %d:\n%s", code, out)
	}
	s = b.super()
	says(t, s.must("list"), "last failure: ")
	id := b.run()
	if out := s.must("list"); strings.Contains(out, "last failure") {
		t.Errorf("the failure before a success is told:\n%s", out)
	}
	says(t, s.must("verify", id, "--level=1"), "level 1  passed  rows not counted")
	says(t, s.must("verify", id), "level 3  passed  2001 rows")
	says(t, s.must("prune", "--dry-run"), "pg_dump of all databases, server "+b.list()[0].Manifest.Server.SystemIdentifier)
	says(t, s.must("restore", id, `--table="Order"`), `into public."Order_restored_`, "restored 1 rows")
	says(t, s.must("restore", id, "--yes"), `the old database is kept as "shop_before_`)
	says(t, s.must("accept", "--database=shop"), "database shop is gone for good", "deleted in their turn")
}
