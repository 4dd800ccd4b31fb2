package definition

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Each file of testdata/bad has one mistake, or as many as its name says; beside it stands what a
// user is told.
func TestMistakesAreExplained(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no bad files: %v", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".yml"), func(t *testing.T) {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			defs, err := Parse(filepath.Base(f), data)
			if err == nil {
				err = Validate(defs, map[string]string{"pg_up": "the prober"})
			}
			if err == nil {
				t.Fatal("no mistake was found")
			}
			got := err.Error() + "\n"
			golden := strings.TrimSuffix(f, ".yml") + ".err"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got:\n%swant:\n%s", got, want)
			}
		})
	}
}

func TestLoadReadsEveryKey(t *testing.T) {
	defs, err := Load("testdata/good")
	if err != nil {
		t.Fatal(err)
	}
	if err := Validate(defs, nil); err != nil {
		t.Fatal(err)
	}
	want := []Definition{{
		Name: "orders", Help: "Orders by state.", Scope: ScopeCluster, Refresh: 2 * time.Minute, Timeout: 30 * time.Second,
		OffReason: "reads a table of the application",
		Requires:  Requirements{Role: RolePrimary, Extension: "citext"},
		Queries: []Query{
			{Versions: Range{130000, 160000}, SQL: "SELECT state, count(*) AS n, 7 AS oldest FROM shop.orders GROUP BY state;", Line: 13},
			{Versions: Range{160002, 0}, SQL: "-- A semicolon in a comment; no second statement.\nSELECT state, count(*) AS n FROM shop.orders " +
				"GROUP BY state", Line: 15},
		},
		Metrics: []Metric{
			{Name: "shop_orders", Column: "n", Type: metric.Gauge, Help: "Orders now.", Labels: []string{"state"}, Line: 19},
			{Name: "shop_orders_oldest", Column: "oldest", Type: metric.Gauge, Help: "Age of the oldest order.", Labels: []string{},
				Versions: Range{0, 160000}, Line: 20},
		},
		File: "testdata/good/shop.yml", Line: 2,
	}, {
		Name: "totals", Help: "Totals by name.", Scope: ScopeCluster, Enabled: true,
		Queries: []Query{{SQL: "SELECT name, value, help FROM shop.totals", Line: 25}},
		Metrics: []Metric{{NamePrefix: "shop_total_", NameColumn: "name", HelpColumn: "help", Column: "value", Type: metric.Counter,
			Help: "The shop's totals.", Line: 27}},
		File: "testdata/good/shop.yml", Line: 21,
	}}
	if !reflect.DeepEqual(defs, want) {
		t.Errorf("got  %+v\nwant %+v", defs, want)
	}
	for version, found := range map[int]bool{120022: false, 130000: true, 150099: true, 160001: false, 160002: true, 180001: true} {
		if _, ok := defs[0].SQLFor(version); ok != found {
			t.Errorf("SQLFor(%d) found %v, want %v", version, ok, found)
		}
	}
	if got := len(defs[0].MetricsFor(160002)); got != 1 {
		t.Errorf("%d metrics on 16, want 1", got)
	}
}

func TestLoadOfAMissingDirectorySaysSo(t *testing.T) {
	if _, err := Load("testdata/none"); err == nil || !strings.Contains(err.Error(), "HINT") {
		t.Errorf("err = %v", err)
	}
}

func TestLoadWaitsForNoPipe(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "a.yml"), 0o600); err != nil {
		t.Fatal(err)
	}
	loaded := make(chan error, 1)
	go func() { _, err := Load(dir); loaded <- err }()
	select {
	case err := <-loaded:
		if err == nil || !strings.Contains(err.Error(), "a.yml: is no regular file. HINT: ") {
			t.Errorf("%v", err)
		}
	case <-time.After(pgtest.Patience(5 * time.Second)):
		t.Fatal("it waits for a pipe that nobody writes to")
	}
}

func TestRanges(t *testing.T) {
	for in, want := range map[string]Range{
		">=13":          {130000, 0},
		">= 13 < 17":    {130000, 170000},
		">=14, <17":     {140000, 170000},
		"<17":           {0, 170000},
		">16":           {170000, 0},
		"<=16":          {0, 170000},
		"16":            {160000, 170000},
		"=16":           {160000, 170000},
		">=16.4 <=16.8": {160004, 160009},
	} {
		got, err := ParseRange(in)
		if err != nil || got != want {
			t.Errorf("ParseRange(%q) = %v, %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "13+", ">=17 <13", "9", ">=x", "13..17"} {
		if r, err := ParseRange(in); err == nil {
			t.Errorf("ParseRange(%q) = %v, want an error", in, r)
		}
	}
	if got := (Range{160004, 180000}).String(); got != ">=16.4 <18" {
		t.Errorf("String() = %q", got)
	}
}

func TestStatementsAreCounted(t *testing.T) {
	for sql, want := range map[string]int{
		"":                                   0,
		" ;; -- nothing\n /* ; /* ; */ ; */": 0,
		"SELECT 1":                           1,
		"SELECT 1; -- done;":                 1,
		"SELECT ';', \";\", $$;$$, $a$;$$;$a$, E'\\';'": 1,
		"SELECT 'it''s; fine'":                          1,
		"SELECT 1; SELECT 2":                            2,
		"SELECT $1; DELETE FROM t":                      2,
	} {
		if got := statements(sql); got != want {
			t.Errorf("%q has %d statements, want %d", sql, got, want)
		}
	}
}

func TestAnOptionalFunctionMustBeInTheQuery(t *testing.T) {
	dir := t.TempDir()
	text := `
- name: a
  help: For a test.
  refresh: live
  queries:
    - sql: SELECT pg_ls_waldir() AS v
      optional:
        - {function: pg_ls_logdir(), otherwise: "NULL"}
        - {function: pg_ls_waldir, otherwise: "NULL"}
        - {function: pg_ls_waldir()}
  metrics:
    - {name: test_a, column: v, type: gauge, help: For a test.}
- name: b
  help: For a test.
  refresh: live
  scope: database
  queries:
    - sql: SELECT 1 AS v
  metrics:
    - {name: test_b, column: v, type: gauge, help: For a test.}
`
	if err := os.WriteFile(filepath.Join(dir, "a.yml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(dir)
	for _, want := range []string{
		`a.yml:8: "pg_ls_logdir()" is not in the query. HINT: Say with "text: "`,
		`a.yml:9: "pg_ls_waldir" is not a function with the types of its arguments. HINT: Write it such as`,
		`a.yml:10: no otherwise. HINT: Say what stands in the query`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in\n%v", want, err)
		}
	}
}

// What runs in each database must tell whose its series are, and a scrape visits none; a limit stands where it is used.
func TestCollectorsOfEachDatabase(t *testing.T) {
	const good = `
- name: b
  help: For a test.
  refresh: 1m
  scope: database
  top: 5
  labels: [datname]
  queries:
    - sql: SELECT current_database() AS datname, 1 AS v LIMIT @top@
  metrics:
    - {name: test_b, column: v, type: gauge, help: For a test.}
`
	load := func(text string) ([]Definition, error) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "b.yml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return Load(dir)
	}
	defs, err := load(good)
	if err != nil {
		t.Fatal(err)
	}
	if sql, _ := defs[0].SQLFor(150000); !strings.HasSuffix(sql, "LIMIT 5") {
		t.Errorf("SQL is %s", sql)
	}
	if err := SetTops(defs, map[string]int{"b": 7}); err != nil || defs[0].Top != 7 {
		t.Errorf("top is %d: %v", defs[0].Top, err)
	}
	for _, x := range []struct{ from, to, want string }{
		{"refresh: 1m", "refresh: live", "b.yml:2: scope: database with refresh: live"},
		{"labels: [datname]", "labels: []", "b.yml:11: a metric of each database without the label datname"},
		{"  top: 5\n", "", "b.yml:2: @top@ in a query of a collector without top"},
		{"LIMIT @top@", "LIMIT 5", "b.yml:2: top without @top@ in a query"},
		{"top: 5", "top: many", `b.yml:6: top "many" is no number of rows`},
		{"top: 5", "top: 0", `b.yml:6: top "0" is no number of rows`},
		{"top: 5", "top_of: others", "b.yml:2: top_of: others names no collector with a top"},
	} {
		if _, err := load(strings.Replace(good, x.from, x.to, 1)); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: err = %v, want %s", x.to, err, x.want)
		}
	}
}
