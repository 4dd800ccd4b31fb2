package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// TestNoBackupGoesIntoAnOlderMajor: the server would understand a part of it. Each command says so before anything happens.
func TestNoBackupGoesIntoAnOlderMajor(t *testing.T) {
	if os.Getenv(pgtest.ClientDirs) == "" {
		t.Skip("not tried: no client tools of other versions are given by " + pgtest.ClientDirs)
	}
	var newer pgtest.Install
	for _, major := range pgtest.Supported() { // the newest that there is
		if in, err := pgtest.Find(major); err == nil {
			newer = in
		}
	}
	b := newBenchOf(t, newer, pgtest.Programs(t, newer))
	b.exec("postgres", "CREATE DATABASE shop", "CREATE ROLE shop_owner")
	b.exec("shop", "CREATE TABLE item AS SELECT g AS id FROM generate_series(1, 10) g")
	if out, code := b.super().prog("run", "--verify"); code != 0 {
		t.Fatalf("run --verify: exit code %d\n%s", code, out)
	}

	older := *b
	older.pg = pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	if older.pg.Install.Major >= newer.Major {
		t.Skipf("not tried: there is nothing newer than PostgreSQL %d", older.pg.Install.Major)
	}
	older.env = []string{pgtest.ClientDirs + "=" + older.pg.Install.BinDir}
	older.exec("postgres", "CREATE DATABASE shop_before_all")
	before := older.column("postgres", "SELECT 'database ' || datname FROM pg_database UNION ALL SELECT rolname FROM pg_roles ORDER BY 1")
	older.exec("postgres", "DROP DATABASE shop_before_all")
	for _, args := range [][]string{
		{"bootstrap"}, {"bootstrap", "--dry-run"},
		{"restore", "--database=shop", "--yes"}, {"restore", "--database=shop", "--as=other"},
		{"restore", "--database=shop", "--table=item", "--as=postgres"},
	} {
		out, code := older.super().prog(args...)
		if code != 8 || !strings.Contains(out, "nothing was changed") || !strings.Contains(out, "or newer") {
			t.Errorf("%v: exit code %d, want 8 and words\n%s", args, code, out)
		}
	}
	out, code := older.super().prog("restore", "--database=shop", "--dry-run")
	if code != 8 || !strings.Contains(out, "it would be refused: ") || !strings.Contains(out, "or newer") {
		t.Errorf("restore --dry-run: exit code %d\n%s", code, out)
	}
	after := older.column("postgres", "SELECT 'database ' || datname FROM pg_database UNION ALL SELECT rolname FROM pg_roles ORDER BY 1")
	if want := strings.ReplaceAll(strings.Join(before, ","), "database shop_before_all,", ""); strings.Join(after, ",") != want {
		t.Errorf("the server has %q, want %q", after, want)
	}
	for _, id := range b.checkStates() {
		t.Error(id)
	}
}

// checkStates returns a sentence for each backup that is not verified.
func (b *bench) checkStates() (wrong []string) {
	for _, x := range b.list() {
		if x.Health != "verified" {
			wrong = append(wrong, filepath.Base(x.Dir)+" is "+string(x.Health)+": "+x.Problem)
		}
	}
	return wrong
}
