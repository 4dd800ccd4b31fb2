package declared

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
)

// Names, units and types keep Prometheus' rules, and no two rooms have one name.
func TestWhatIsDeclaredKeepsTheRules(t *testing.T) {
	rooms := map[string]string{}
	var families []*dto.MetricFamily
	for _, r := range Rooms() {
		if len(r.Metrics) == 0 {
			t.Errorf("%s declares nothing", r.Name)
		}
		for _, d := range r.Metrics {
			if first, twice := rooms[d.Name]; twice {
				t.Errorf("%s is declared by %s and by %s", d.Name, first, r.Name)
			}
			rooms[d.Name] = r.Name
			families = append(families, &dto.MetricFamily{Name: &d.Name, Help: proto.String(d.Help), Type: d.Exposed().Enum()})
		}
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) <= len(rooms) || all["pg_stat_activity_count"].Desc == nil {
		t.Errorf("%d metrics, and %d without SQL", len(all), len(rooms))
	}
	for version, on := range map[int]bool{13: false, 16: true} {
		if got := all["pg_reliability_io_reads_total"].On(version); got != on {
			t.Errorf("pg_stat_io on %d: %v", version, got)
		}
	}
}
