package definition

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

const queries = `
pg_orders:
  query: "SELECT state, count(*) AS total, 1 AS age, now() - now() AS wait FROM shop.orders GROUP BY 1;"
  master: true
  cache_seconds: 120
  runonserver: ">=9.4.0 <17.0.0"
  metrics:
    - state: {usage: "LABEL", description: "State."}
    - total:
        usage: "COUNTER"
        description: "Orders."
    - age: {usage: GAUGE}
    - wait: {usage: DURATION, description: x}
pg_database:
  query: SELECT datname, 1 AS size_bytes, 2 AS other FROM pg_database
  metrics:
    - datname: {usage: LABEL}
    - size_bytes: {usage: GAUGE, description: x}
    - other: {usage: GAUGE, description: x}
    - buckets: {usage: HISTOGRAM, description: x}
    - wrong: {usage: gauge}
old:
  query: SELECT 1 AS v
  runonserver: "<10.0.0"
  metrics: [{v: {usage: GAUGE}}]
two:
  query: SELECT 1 AS v; SELECT 2
  metrics: [{v: {usage: GAUGE}}]
"pg slow":
  query: SELECT 1 AS v
  metrics: [{v: {usage: GAUGE}}]
nothing:
  query: SELECT 1 AS v
`

// What postgres_exporter's users have written is read as it is; each piece that can't be is named with its line.
func TestQueriesOfPostgresExporterAreReadAsTheyAre(t *testing.T) {
	file := filepath.Join(t.TempDir(), "queries.yaml")
	if err := os.WriteFile(file, []byte(queries), 0o600); err != nil {
		t.Fatal(err)
	}
	taken := func(name string) string {
		if name == "pg_database_size_bytes" {
			return "collector database"
		}
		return ""
	}
	defs, refused, err := LoadQueries(file, taken)
	if err != nil || len(defs) != 2 {
		t.Fatalf("%d collectors, %v", len(defs), err)
	}
	if err := Validate(defs, nil); err != nil {
		t.Error(err)
	}
	d := defs[0]
	if d.Name != "queries_pg_orders" || d.Refresh != 2*time.Minute || d.Timeout != 10*time.Second ||
		d.Queries[0].Versions != (Range{0, 170000}) || d.Live() {
		t.Errorf("%+v", d)
	}
	if m := d.Metrics; len(m) != 2 || m[0].Name != "pg_orders_total" || m[0].Type != metric.Counter || m[0].Help != "Orders." ||
		m[1].Name != "pg_orders_age" || m[1].Type != metric.Gauge || strings.Join(m[1].Labels, ",") != "state" {
		t.Errorf("%+v", m)
	}
	if m := defs[1].Metrics; len(m) != 1 || m[0].Name != "pg_database_other" || defs[1].Refresh != 15*time.Second {
		t.Errorf("%+v", defs[1])
	}
	var got []string
	for _, err := range refused {
		if !strings.Contains(err.Error(), "HINT: ") {
			t.Errorf("no remedy: %v", err)
		}
		got = append(got, strings.TrimPrefix(err.Error(), file))
	}
	for _, want := range []string{
		":13: column wait of query pg_orders is a DURATION", ":18: metric pg_database_size_bytes is there already, from collector database",
		":20: column buckets of query pg_database is a HISTOGRAM", `:21: column wrong of query pg_database has the usage "gauge"`,
		":24: runonserver of query old: it is for versions before 13 alone", ":26: query two has 2 statements", `:29: query "pg slow" has a name`,
		":32: query nothing has no metrics",
	} {
		if !strings.Contains(strings.Join(got, "\n"), want) {
			t.Errorf("no %q in\n%s", want, strings.Join(got, "\n"))
		}
	}
	if len(refused) != 8 {
		t.Errorf("%d refused:\n%s", len(refused), strings.Join(got, "\n"))
	}
}

func TestRangesOfPostgresExporter(t *testing.T) {
	for text, want := range map[string]Range{
		"": {}, ">=10.0.0": {100000, 0}, "<14.0.0": {0, 140000}, ">=9.4.0": {}, ">=13.0.0 <14.3.0": {130000, 140003}, "14.2": {140002, 140003},
		"==14.2.0": {140002, 140003},
	} {
		if got, err := semverRange(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"<10.0.0 || >14.0.0", "!=13.0.0", "<9.6.0", "9.6.0", ">=10.0.0 <13.0.0", "x"} {
		if got, err := semverRange(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}
