package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// TestTheCorpusComesBackWithEveryMajor makes what a version knows of the corpus on a server of it, and expects it back by that
// version's own programs.
func TestTheCorpusComesBackWithEveryMajor(t *testing.T) {
	if os.Getenv(pgtest.ClientDirs) == "" {
		t.Skip("not tried: no client tools of other versions are given by " + pgtest.ClientDirs)
	}
	pgtest.EachMajor(t, func(t *testing.T, in pgtest.Install, programs string) {
		b := newBenchOf(t, in, programs)
		b.makeCorpus()
		b.comesBack()
	})
}

// newBenchOf makes a bench of a version, with its programs from a directory of their own.
func newBenchOf(t *testing.T, in pgtest.Install, programs string) *bench {
	t.Helper()
	b := &bench{t: t, repo: filepath.Join(t.TempDir(), "repo"), bin: programs, install: in}
	b.pg = pgtest.New(t, pgtest.Options{NoMonitorRole: true, Install: in})
	b.env = []string{pgtest.ClientDirs + "=" + programs}
	b.must("init")
	return b
}

// TestLoginsThatWriteRowsChangeNoRestore: an event trigger on login, as PostgreSQL's own manual shows it, notes each session in a table.
// Sessions of a restore are none that it should note: the table would differ from the backup's.
func TestLoginsThatWriteRowsChangeNoRestore(t *testing.T) {
	if os.Getenv(pgtest.ClientDirs) == "" {
		t.Skip("not tried: no client tools of other versions are given by " + pgtest.ClientDirs)
	}
	pgtest.EachMajor(t, func(t *testing.T, in pgtest.Install, programs string) {
		const since = 17
		if in.Major < since {
			t.Skipf("PostgreSQL %d has no event triggers on login", in.Major)
		}
		b := newBenchOf(t, in, programs).super()
		b.exec("postgres", "CREATE DATABASE shop")
		b.exec("shop", "CREATE TABLE logins (who name)", "INSERT INTO logins VALUES ('the first')",
			`CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.logins VALUES (session_user); END $$`,
			"CREATE EVENT TRIGGER note ON login EXECUTE FUNCTION note()", "ALTER EVENT TRIGGER note ENABLE ALWAYS")
		b.must("run", "--verify")
		b.must("restore", "--database=shop", "--yes")
	})
}
