package docgen

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pg-reliability/pg_reliability_exporter/collector"
	"github.com/pg-reliability/pg_reliability_exporter/internal/fleet"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
	"github.com/pg-reliability/pg_reliability_exporter/internal/web"
)

var update = flag.Bool("update", false, "rewrite docs/metrics.md")

const catalogue = "../../docs/metrics.md"

func TestCatalogueIsUpToDate(t *testing.T) {
	defs, err := collector.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	got := Metrics(defs, withoutSQL(t))
	if *update {
		if err := os.WriteFile(catalogue, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(catalogue)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("docs/metrics.md is stale. HINT: Run go test ./internal/docgen -update and commit it")
	}
}

// withoutSQL is every metric that no definition describes.
func withoutSQL(t *testing.T) []Metric {
	t.Helper()
	connector, err := postgres.NewConnector(postgres.ConnectorOptions{DSN: "postgres://nobody@127.0.0.1:1/none"})
	must(t, err)
	prober, err := probe.New(probe.Options{Connector: connector, Target: "none", Write: true, Instance: "docs", Logger: log.NewNopLogger()})
	must(t, err)
	volumes, err := collector.NewVolumes([]string{"data=/"})
	must(t, err)
	container, err := collector.NewContainer(collector.ContainerOptions{Name: "db"})
	must(t, err)

	out, err := FromCollector("Availability", prober, "pg_reliability_probe_duration_seconds")
	must(t, err)
	out = append(out, FromDescs("Volumes", volumes.Descs())...)
	out = append(out, FromDescs("Container", container.Descs())...)
	reload, err := FromCollector("The exporter itself", web.NewReloader(log.NewNopLogger(), nil))
	must(t, err)
	many, err := fleet.New(fleet.Options{Config: &fleet.Config{}, Logger: log.NewNopLogger()})
	must(t, err)
	servers, err := FromCollector("Fleet", many)
	must(t, err)
	return append(append(append(out, FromDescs("The exporter itself", collector.EngineDescs())...), reload...), servers...)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestDefinitionsAreDescribed(t *testing.T) {
	defs := []collector.Definition{{
		Name: "orders", Help: "Orders | by state.", Scope: collector.ScopeDatabase, Refresh: 2 * time.Minute, Timeout: 30 * time.Second,
		OffReason: "reads a table", Requires: collector.Requirements{Role: collector.RolePrimary, Extension: "citext"},
		Queries: []collector.Query{
			{Versions: collector.Range{Min: 130000, Max: 160000}}, {Versions: collector.Range{Min: 160000}},
		},
		Metrics: []collector.Metric{
			{Name: "shop_orders", Type: collector.Gauge, Help: "Orders now.", Labels: []string{"state", "kind"}},
			{NamePrefix: "shop_", Type: collector.Counter, Help: "By name.", Versions: collector.Range{Min: 170000}},
		},
	}}
	got := string(Metrics(defs, []Metric{{Name: "up", Type: "gauge", Help: "It is.", Room: "The room"}}))
	for _, want := range []string{
		"- [The room](#the-room)",
		"| `up` | gauge |  | It is. |",
		"| [orders](#orders) | Orders \\| by state. | >=13 | 2m | off |",
		"PostgreSQL >=13; refresh 2m; of the connected database; timeout 30s; only on a primary; needs the extension citext; off by default (`--collector.orders`): reads a table.",
		"| `shop_orders` | gauge | `state`, `kind` | Orders now. |",
		"| `shop_*` | counter |  | By name. PostgreSQL >=17. |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestCollectorsAreDescribed(t *testing.T) {
	c := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "h_seconds", Help: `A "quoted" help.`}, []string{"a", "b"})
	for _, sample := range []bool{false, true} {
		if sample {
			c.WithLabelValues("1", "2").Observe(1)
		}
		got, err := FromCollector("Room", c, "h_seconds")
		if err != nil || len(got) != 1 {
			t.Fatalf("%v, %v", got, err)
		}
		if m := got[0]; m.Name != "h_seconds" || m.Type != "histogram" || m.Help != `A "quoted" help.` || strings.Join(m.Labels, " ") != "a b" || m.Room != "Room" {
			t.Errorf("%+v", m)
		}
	}
}
