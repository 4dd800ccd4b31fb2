package metric_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

func TestEachFormOfASampleIsOnThePage(t *testing.T) {
	var declared metric.List
	is := declared.Gauge("is", "A gauge.", "of")
	many := declared.Counter("many_total", "A counter.")
	named := declared.Gauge("restart_count", "A gauge whose name the rules leave to histograms.")
	state := declared.Gauge("state", "States.", "of", "state")
	at := declared.Gauge("at_seconds", "A time.")
	took := declared.Histogram("took_seconds", "A histogram.", "of")
	counted := declared.Counter("counted_total", "Counted as it happens.", "why")
	instrument := counted.CounterVec()
	instrument.WithLabelValues("x").Inc()
	fill := func(out *metric.Sink) {
		out.Add(is, 1.5, "\xff")
		out.Add(many, 2)
		out.Add(named, 3)
		metric.OneOf(out, state, []string{"on", "off"}, "off", "a")
		out.Time(at, time.Time{})
		out.Time(at, time.Unix(1, 5e8))
		out.Histogram(took, 3, 7, map[float64]uint64{10: 3, 1: 1}, "a")
	}
	want := `# HELP at_seconds A time.
# TYPE at_seconds gauge
at_seconds 1.5
# HELP counted_total Counted as it happens.
# TYPE counted_total counter
counted_total{why="x"} 1
# HELP is A gauge.
# TYPE is gauge
is{of="` + "\uFFFD" + `"} 1.5
# HELP many_total A counter.
# TYPE many_total counter
many_total 2
# HELP restart_count A gauge whose name the rules leave to histograms.
# TYPE restart_count untyped
restart_count 3
# HELP state States.
# TYPE state gauge
state{of="a",state="off"} 1
state{of="a",state="on"} 0
# HELP took_seconds A histogram.
# TYPE took_seconds histogram
took_seconds_bucket{of="a",le="1"} 1
took_seconds_bucket{of="a",le="10"} 3
took_seconds_bucket{of="a",le="+Inf"} 3
took_seconds_sum{of="a"} 7
took_seconds_count{of="a"} 3
`
	if err := testutil.CollectAndCompare(metric.NewCollector(declared, fill, instrument), strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

func TestWhatIsNotDeclaredFailsTheCollection(t *testing.T) {
	var declared, another metric.List
	known := declared.Gauge("known", "Known.", "of")
	unknown := another.Gauge("unknown", "Unknown.")
	for name, fill := range map[string]func(*metric.Sink){
		"metric unknown is not declared":       func(out *metric.Sink) { out.Add(unknown, 1) },
		`metric known["a" "b"] has the labels`: func(out *metric.Sink) { out.Add(known, 1, "a", "b") },
	} {
		r := prometheus.NewPedanticRegistry()
		if err := r.Register(metric.NewCollector(declared, fill)); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Gather(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("err = %v, want %q", err, name)
		}
	}
}
