package docgen

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/collector"
	"github.com/pg-reliability/pg_reliability_exporter/collector/definition"
	"github.com/pg-reliability/pg_reliability_exporter/internal/declared"
	"github.com/pg-reliability/pg_reliability_exporter/internal/docgen/names"
	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

var update = flag.Bool("update", false, "rewrite docs/metrics.md and collector/sqlmetric/names.go")

func TestGeneratedFilesAreUpToDate(t *testing.T) {
	defs, err := collector.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	code, err := names.Render(defs)
	if err != nil {
		t.Fatal(err)
	}
	for file, got := range map[string][]byte{"docs/metrics.md": Metrics(defs, withoutSQL()), "collector/sqlmetric/names.go": code} {
		path := filepath.Join("../..", file)
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is stale. HINT: Run make docs and commit it", file)
		}
	}
}

// withoutSQL is every metric that no definition describes, but those of backups: docs/backup.md has them.
func withoutSQL() []declared.Room {
	return slices.DeleteFunc(declared.Rooms(), func(r declared.Room) bool { return r.Name == declared.Backups })
}

func TestDefinitionsAreDescribed(t *testing.T) {
	defs := []definition.Definition{{
		Name: "orders", Help: "Orders | by state.", Scope: definition.ScopeDatabase, Refresh: 2 * time.Minute, Timeout: 30 * time.Second,
		OffReason: "reads a table", Requires: definition.Requirements{Role: definition.RolePrimary, Extension: "citext"},
		Queries: []definition.Query{
			{Versions: definition.Range{Min: 130000, Max: 160000}}, {Versions: definition.Range{Min: 160000}},
		},
		Metrics: []definition.Metric{
			{Name: "shop_orders", Type: metric.Gauge, Help: "Orders now.", Labels: []string{"state", "kind"}},
			{NamePrefix: "shop_", Type: metric.Counter, Help: "By name.", Versions: definition.Range{Min: 170000}},
		},
	}}
	got := string(Metrics(defs,
		[]declared.Room{{Name: "The room", Metrics: []*metric.Desc{{Name: "up", Type: metric.Gauge, Help: "It is."}}}}))
	for _, want := range []string{
		"- [The room](#the-room)",
		"| `up` | gauge |  | It is. |",
		"| [orders](#orders) | Orders \\| by state. | >=13 | 2m | off |",
		"PostgreSQL >=13; refresh 2m; of each database; timeout 30s; only on a primary; needs the extension citext; off by default " +
			"(`--collector.orders`): reads a table.",
		"| `shop_orders` | gauge | `state`, `kind` | Orders now. |",
		"| `shop_*` | counter |  | By name. PostgreSQL >=17. |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}
