package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// TestTheCorpusComesBackInNewerMajors is the move to a newer PostgreSQL by a backup: the corpus of one server is bootstrapped into servers
// of each newer major version and restored there by swap. The newer pg_dump reads both servers, and its texts are compared.
func TestTheCorpusComesBackInNewerMajors(t *testing.T) {
	if os.Getenv(pgtest.ClientDirs) == "" {
		t.Skip("not tried: no client tools of other versions are given by " + pgtest.ClientDirs)
	}
	old := newBench(t)
	old.makeCorpus()
	if out, code := old.super().prog("run", "--verify"); code != 0 {
		t.Fatalf("run --verify: exit code %d\n%s", code, out)
	}
	pgtest.EachMajor(t, func(t *testing.T, in pgtest.Install, programs string) {
		if in.Major <= old.pg.Install.Major {
			t.Skip("not newer than the backup's server")
		}
		old.comesBackIn(t, in, programs)
	})
}

// TestTheCorpusOfTheOldestMajorComesBackInANewer is the longest way: from the oldest version whose programs are here, to the newest that
// takes all names.
func TestTheCorpusOfTheOldestMajorComesBackInANewer(t *testing.T) {
	if os.Getenv(pgtest.ClientDirs) == "" {
		t.Skip("not tried: no client tools of other versions are given by " + pgtest.ClientDirs)
	}
	const newest = 18 // 19 takes no line breaks in names: the test above has them renamed
	tried := false
	pgtest.EachMajor(t, func(t *testing.T, in pgtest.Install, programs string) {
		if tried || in.Major >= newest {
			t.Skip("not the oldest")
		}
		tried = true
		to, err := pgtest.Find(newest)
		if err != nil {
			t.Skipf("not tried: %v", err)
		}
		old := newBenchOf(t, in, programs)
		old.makeCorpus()
		if out, code := old.super().prog("run", "--verify"); code != 0 {
			t.Fatalf("run --verify: exit code %d\n%s", code, out)
		}
		old.comesBackIn(t, to, pgtest.Programs(t, to))
	})
}

// comesBackIn moves what the bench's newest backup holds to a server of a newer version.
func (old *bench) comesBackIn(t *testing.T, in pgtest.Install, programs string) {
	b := newBenchOf(t, in, programs)
	from := *b
	from.pg, b.repo = old.pg, old.repo
	if in.Major >= 19 {
		b.takesNoLineBreaks(old)
	}
	before := from.takeFingerprint().acrossMajors(old.pg.Install.Major)
	outcome, logs := b.bootstrapJSON()
	t.Logf("bootstrap: %d databases, %d rows in %.1f s\n%s", len(outcome.Databases), outcome.Rows, outcome.Seconds, warnings(logs))
	restored := b.takeFingerprint()
	before.same(t, "after the bootstrap", restored.acrossMajors(old.pg.Install.Major))
	for _, name := range []string{"c14", "c24", "c35"} { // the path is the bootstrap's; of each, its swap
		if out, code := b.super().prog("restore", "--database="+name, "--yes"); code != 0 {
			t.Errorf("restore %s: exit code %d\n%s", name, code, out)
		}
	}
	restored.same(t, "after the restores by swap", b.takeFingerprint())
}

// takesNoLineBreaks: since 19 no role has a name with a line break, and the corpus has one that owns a table. The bootstrap says which and
// what to do; that is done then.
func (b *bench) takesNoLineBreaks(old *bench) {
	b.t.Helper()
	out, code := b.super().prog("bootstrap")
	if want := `no role of the name \"c02 line\\nbreak\"`; code == 0 || !strings.Contains(out, want) || !strings.Contains(out, "Rename it") {
		b.t.Errorf("bootstrap with a role that the server does not take: exit code %d, want one that says %s\n%s", code, want, out)
	}
	if err := old.pg.Exec(b.t.Context(), "ALTER ROLE \"c02 line\nbreak\" RENAME TO \"c02 line break\""); err != nil {
		b.t.Fatal(err)
	}
	for _, part := range []struct{ probe, database, without string }{
		{`SELECT '<a/>'::xml`, "c23", "ALTER TABLE t DROP COLUMN x"},
		{`SELECT 'a' < 'b' COLLATE "und-x-icu"`, "postgres", "DROP DATABASE c40"},
	} {
		if _, err := b.pg.Query(b.t.Context(), "postgres", part.probe); err != nil {
			b.t.Logf("a part of this build of PostgreSQL %d is missing, and %s: %s: %v", b.pg.Install.Major, part.database, part.without, err)
			if err := old.pg.ExecIn(b.t.Context(), part.database, part.without); err != nil {
				b.t.Fatal(err)
			}
		}
	}
	if out, code := old.super().prog("run"); code != 0 {
		b.t.Fatalf("run: exit code %d\n%s", code, out)
	}
	if newest := old.list()[0]; newest.Health == catalog.IsSuspect { // a database was dropped
		old.must("accept", newest.ID)
	}
}

// versionDifferences are what newer majors write otherwise of the same objects, each on both sides.
var versionDifferences = []struct {
	pattern *regexp.Regexp
	becomes string
}{
	// Since 16 a membership has options and a grantor, and columns of views are qualified only where they must be.
	{regexp.MustCompile(`(?m)( WITH ADMIN OPTION)?(,| WITH) INHERIT TRUE GRANTED BY .*;$`), "$1;"},
	// A subscription of before 16 runs as its owner in the text of newer programs.
	{regexp.MustCompile(`, run_as_owner = true`), ""},
	// Since 18 a subscription streams in parallel where nothing is said, and older pg_dumps say nothing of the default of their time.
	{regexp.MustCompile(`, streaming = (off|parallel)`), ""},
	// Since 17 "all" of a table's privileges has one more, so that the programs write the older ones out.
	{regexp.MustCompile(`GRANT SELECT,INSERT,REFERENCES,DELETE,TRIGGER,TRUNCATE,UPDATE ON TABLE`), "GRANT ALL ON TABLE"},
	// Since 19 strings are standard whatever is set, so that setting it otherwise is refused.
	{regexp.MustCompile(`(?m)^ALTER DATABASE c13 SET standard_conforming_strings TO 'off';\n`), ""},
}

// backslashed is a text with backslashes in the older way of writing.
var backslashed = regexp.MustCompile(`E('(?:[^'\\]|''|\\\\)*')`)

var qualified = regexp.MustCompile(`\b[a-z_0-9]+\.`)

// ofPublic is what pg_dump leaves out of a server before 15: the schema public's owner, comment and privileges.
var ofPublic = regexp.MustCompile(`(?m)^(ALTER SCHEMA public OWNER TO |COMMENT ON SCHEMA public |(GRANT|REVOKE) .* ON SCHEMA public ).*\n?`)

// acrossMajors is the fingerprint without what differs between servers of two versions that hold the same, the older of a major version.
func (f fingerprint) acrossMajors(from int) fingerprint {
	out := fingerprint{}
	for what, text := range f {
		if from < 15 {
			text = ofPublic.ReplaceAllString(text, "")
		}
		for _, d := range versionDifferences {
			text = d.pattern.ReplaceAllString(text, d.becomes)
		}
		text = backslashed.ReplaceAllStringFunc(text, func(s string) string { return strings.ReplaceAll(s[1:], `\\`, `\`) })
		lines := strings.Split(text, "\n")
		for i, line := range lines {
			if strings.HasPrefix(line, " ") {
				lines[i] = qualified.ReplaceAllString(line, "")
			}
		}
		out[what] = strings.Join(lines, "\n")
	}
	return out
}
