package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// The corpus is testdata/corpus: one difficult database a file, made by psql. What comes back is compared by means that are
// not ours: the text of pg_dump and pg_dumpall, and a hash of each table's rows made by the server.

// documentedDifferences are lines of pg_dump's and pg_dumpall's text that may differ, each with its reason in docs/backup.md.
var documentedDifferences = []*regexp.Regexp{
	// The text's own frame: versions, and a random key since PostgreSQL 15.14.
	regexp.MustCompile(`^(--.*|\\(un)?restrict .*|)$`),
	// A tablespace that the new server lacks: everything goes into the default one, with a warning.
	regexp.MustCompile(`^SET default_tablespace = .*;$`),
	regexp.MustCompile(`^(CREATE|ALTER) TABLESPACE c36_ssd .*;$`),
}

// fingerprint is everything that is compared of a server: what it is about, and its text.
type fingerprint map[string]string

// takeFingerprint reads the server as pg_dump, pg_dumpall and the server's own hash function see it.
func (b *bench) takeFingerprint() fingerprint {
	b.t.Helper()
	f := fingerprint{"globals": b.text("pg_dumpall", "--globals-only", "--database=postgres")}
	names := b.column("postgres", `SELECT datname FROM pg_database WHERE datallowconn AND datname NOT IN ('template0', 'template1')
		AND datname !~ '_before_' ORDER BY 1`)
	for _, name := range names {
		f["schema of "+name] = b.text("pg_dump", "--schema-only", "--create", "--dbname="+b.pg.SocketDSN(pgtest.Superuser, quoteValue(name)))
		for what, hash := range b.rows(name) {
			f["rows of "+name+"."+what] = hash
		}
	}
	return f
}

func quoteValue(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// client is the path of one of the client tools.
func (b *bench) client(program string) string {
	if b.bin != "" {
		return filepath.Join(b.bin, program)
	}
	return b.pg.Install.Bin(program)
}

// text is a client program's output without what may differ.
func (b *bench) text(program string, args ...string) string {
	b.t.Helper()
	cmd := exec.Command(b.client(program), args...)
	cmd.Env = append(os.Environ(), "PGHOST="+b.pg.Dir, fmt.Sprint("PGPORT=", b.pg.Port), "PGUSER="+pgtest.Superuser, "LC_ALL=C",
		"PGCLIENTENCODING=", "PGOPTIONS=-c statement_timeout=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		b.t.Fatalf("%s %v: %v\n%s", program, args, err, stderr.String())
	}
	var kept []string
lines:
	for _, line := range strings.Split(strings.ReplaceAll(string(out), " TABLESPACE = c36_ssd", ""), "\n") {
		for _, d := range documentedDifferences {
			if d.MatchString(line) {
				continue lines
			}
		}
		if b.pg.Install.Major < 15 && strings.Contains(line, " ON SCHEMA public ") { // its owner is not dumped before 15
			continue
		}
		kept = append(kept, line)
	}
	return strings.Join(sortSettings(kept), "\n")
}

// settingLine is a setting of a database or role. In which order they were made means nothing, and a restore makes those last
// that would be in its way.
var settingLine = regexp.MustCompile(`^ALTER (DATABASE|ROLE) .* SET `)

// sortSettings sorts each run of settings.
func sortSettings(lines []string) []string {
	for i := 0; i < len(lines); i++ {
		j := i
		for j < len(lines) && settingLine.MatchString(lines[j]) {
			j++
		}
		sort.Strings(lines[i:j])
		i = max(i, j)
	}
	return lines
}

func (b *bench) connect(database string) *pgx.Conn {
	b.t.Helper()
	cfg, err := pgx.ParseConfig(b.pg.DSN(pgtest.Superuser, "postgres"))
	if err != nil {
		b.t.Fatal(err)
	}
	cfg.Database = database
	cfg.RuntimeParams = map[string]string{
		"client_encoding": "UTF8", "search_path": "pg_catalog", "statement_timeout": "0", "lock_timeout": "0", "idle_session_timeout": "0",
		"idle_in_transaction_session_timeout": "0", "extra_float_digits": "1", "DateStyle": "ISO", "IntervalStyle": "postgres", "TimeZone": "UTC",
		"bytea_output": "hex", "lc_monetary": "C", "quote_all_identifiers": "off", "standard_conforming_strings": "on",
		"default_transaction_isolation": "read committed",
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	conn, err := pgx.ConnectConfig(context.Background(), cfg)
	if err != nil {
		b.t.Fatalf("connect to %s: %v", database, err)
	}
	b.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	// Since 17.
	if _, err := conn.Exec(context.Background(),
		`SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout'`); err != nil {
		b.t.Fatal(err)
	}
	return conn
}

func (b *bench) column(database, sql string) []string {
	b.t.Helper()
	conn := b.connect(database)
	defer conn.Close(context.Background())
	rows, err := conn.Query(context.Background(), sql)
	if err != nil {
		b.t.Fatalf("%s: %v", database, err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		b.t.Fatalf("%s: %v", database, err)
	}
	return out
}

// rows hashes the rows of each table and materialized view, each sequence's state, and each large object.
func (b *bench) rows(database string) map[string]string {
	b.t.Helper()
	conn := b.connect(database)
	defer conn.Close(context.Background())
	ctx := context.Background()
	relations, err := conn.Query(ctx, `
		SELECT format('%I.%I', n.nspname, c.relname), c.relkind::text
		  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		 WHERE c.relkind IN ('r', 'S') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
		    OR c.relkind = 'm' AND c.relispopulated
		 ORDER BY 1`)
	if err != nil {
		b.t.Fatalf("%s: %v", database, err)
	}
	type relation struct{ Name, Kind string }
	list, err := pgx.CollectRows(relations, pgx.RowToStructByPos[relation])
	if err != nil {
		b.t.Fatalf("%s: %v", database, err)
	}
	hashes := map[string]string{}
	for _, r := range list {
		sql := `SELECT count(*) || ' rows, hash ' || coalesce(sum(hashtextextended(the_row::text, 0)), 0) FROM ONLY ` + r.Name + ` AS the_row`
		if r.Kind == "S" {
			sql = `SELECT last_value || ', called ' || is_called FROM ` + r.Name
		}
		var hash string
		if err := conn.QueryRow(ctx, sql).Scan(&hash); err != nil {
			b.t.Fatalf("%s: %s: %v", database, r.Name, err)
		}
		hashes[r.Name] = hash
	}
	var large string
	if err := conn.QueryRow(ctx,
		`SELECT coalesce(string_agg(oid || ' ' || md5(lo_get(oid)), ', ' ORDER BY oid), 'none') FROM pg_largeobject_metadata`).
		Scan(&large); err != nil {
		b.t.Fatalf("%s: large objects: %v", database, err)
	}
	hashes["large objects"] = large
	return hashes
}

// same reports every difference between two servers, each with its first lines.
func (f fingerprint) same(t *testing.T, when string, got fingerprint) {
	t.Helper()
	var keys []string
	for k := range f {
		keys = append(keys, k)
	}
	for k := range got {
		if _, ok := f[k]; !ok {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	for _, k := range keys {
		if f[k] != got[k] {
			t.Errorf("%s: %s differs:\n%s", when, k, firstDifference(f[k], got[k]))
		}
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	i := 0
	for i < len(w) && i < len(g) && w[i] == g[i] {
		i++
	}
	return "before: " + strings.Join(w[i:min(i+4, len(w))], " | ") + "\nafter:  " + strings.Join(g[i:min(i+4, len(g))], " | ")
}

// makeCorpus makes the difficult databases of testdata/corpus on the bench's server. They are written for PostgreSQL 15: what an older
// server does not know of a file, and what comes after that, is left out and logged. Newer servers get testdata/corpus_newer, too.
func (b *bench) makeCorpus() {
	b.t.Helper()
	major := b.pg.Install.Major
	tablespace := filepath.Join(b.pg.Dir, "tablespace")
	if out, err := pgtest.Command("mkdir", "-m", "700", tablespace).CombinedOutput(); err != nil {
		b.t.Fatalf("mkdir: %v %s", err, out)
	}
	files, err := filepath.Glob("testdata/corpus/*.sql")
	if err != nil || len(files) < 40 {
		b.t.Fatalf("the corpus has %d files: %v", len(files), err)
	}
	for since := 16; since <= major; since++ {
		files = append(files, fmt.Sprintf("testdata/corpus_newer/%d.sql", since))
	}
	for _, file := range files {
		cmd := exec.Command(b.client("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-v", "tablespace="+tablespace, "-f", file, "postgres")
		cmd.Env = append(os.Environ(), "PGHOST="+b.pg.Dir, fmt.Sprint("PGPORT=", b.pg.Port), "PGUSER="+pgtest.Superuser, "PGCLIENTENCODING=UTF8")
		out, err := cmd.CombinedOutput()
		switch {
		case err != nil && major < 15:
			b.t.Logf("PostgreSQL %d knows a part of %s: %s", major, file, out)
		case err != nil:
			b.t.Fatalf("%s: %v\n%s", file, err, out)
		}
	}
}

// comesBack backs up, verifies, destroys the server, bootstraps a new one and restores by swap what the corpus made on the
// bench's server, and expects what is there to be equal by its own text each time.
func (b *bench) comesBack() {
	t := b.t
	t.Helper()
	before := b.takeFingerprint()
	if out, code := b.super().prog("run", "--verify"); code != 0 {
		t.Fatalf("run --verify: exit code %d\n%s", code, out)
	}
	before.same(t, "after the backup", b.takeFingerprint())

	b.destroy()
	outcome, logs := b.bootstrapJSON()
	t.Logf("bootstrap: %d databases, %d rows in %.1f s\n%s", len(outcome.Databases), outcome.Rows, outcome.Seconds, warnings(logs))
	restored := b.takeFingerprint()
	before.same(t, "after the bootstrap", restored)

	names := b.column("postgres", `SELECT datname FROM pg_database WHERE datname ~ '^c[0-9_]' ORDER BY 1`)
	for _, name := range names {
		if out, code := b.super().prog("restore", "--database="+name); code != 0 {
			t.Errorf("restore %s: exit code %d\n%s", name, code, out)
		}
	}
	restored.same(t, "after the restores by swap", b.takeFingerprint())
}

func TestTheCorpusComesBackAsItWas(t *testing.T) {
	b := newBench(t)
	b.makeCorpus()
	b.comesBack()
	if got := b.column("postgres", `SELECT rolname FROM pg_roles WHERE rolname ~ 'pwned' OR rolsuper AND rolname ~ 'mallory'`); len(got) > 0 {
		t.Errorf("roles that a stranger made, or made superuser: %q", got)
	}
}

// warnings are the lines of a log that warn.
func warnings(logs string) string {
	var out []string
	for _, line := range strings.Split(logs, "\n") {
		if strings.Contains(line, "level=warn") || strings.Contains(line, "level=error") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}
