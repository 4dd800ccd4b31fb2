package metric_test

import (
	"bytes"
	"fmt"
	"math"
	"net/http"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/proto"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

// What is written in parts is to the letter what the library writes of the whole.
func TestPartsAreWrittenAsTheLibraryWritesTheWhole(t *testing.T) {
	unit := "percent"
	families := append(mixedPage(t).List(), metric.FromDTO([]*dto.MetricFamily{{Name: &unit, Unit: &unit, Type: dto.MetricType_GAUGE.Enum(),
		Metric: []*dto.Metric{{Gauge: &dto.Gauge{Value: proto.Float64(1)}}}}})...)
	for _, accept := range []string{
		"", "text/plain;version=0.0.4", "application/openmetrics-text;version=1.0.0", "application/openmetrics-text;version=0.0.1",
		"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=1.0.0;escaping=values;q=0.2",
	} {
		format := expfmt.NegotiateAccept(http.Header{"Accept": {accept}}, expfmt.DefaultOpenMetricsAcceptedFormats()...)
		text, ok := metric.TextFormatOf(format)
		if !ok {
			t.Errorf("Accept %q: %s is not written by us", accept, format)
			continue
		}
		for _, again := range []bool{false, true} { // the second time the batch's text is there
			var ours, library bytes.Buffer
			if err := text.Write(&ours, families); err != nil {
				t.Error(err)
			}
			e := expfmt.NewEncoder(&library, format)
			for _, f := range metric.DTO(families) {
				if err := e.Encode(f); err != nil {
					t.Error(err)
				}
			}
			if c, ok := e.(expfmt.Closer); ok {
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			}
			if ours.String() != library.String() {
				t.Errorf("Accept %q, again %t:\n%s\nthe library:\n%s", accept, again, ours.String(), library.String())
			}
		}
	}
	if _, ok := metric.TextFormatOf(expfmt.NewFormat(expfmt.TypeProtoDelim)); ok {
		t.Error("protobuf is no text")
	}
	if _, ok := metric.TextFormatOf(expfmt.FmtOpenMetrics_2_0_0); ok {
		t.Error("OpenMetrics 2.0 is not what we write")
	}
}

// mixedPage has families of a batch alone, of two batches, of a batch and single samples, and of single samples alone.
func mixedPage(t *testing.T) *metric.Page {
	t.Helper()
	var list metric.List
	alone := list.Gauge("alone_bytes", "Help with a \\ and a\nbreak.", "z", "a")
	shared := list.Counter("shared_total", "Of two batches.", "datname")
	both := list.Gauge("both", "Of a batch and single ones.", "v")
	single := list.Gauge("one_count", "No batch.")
	took := list.Histogram("took_seconds", "A histogram.", "of")
	var first, second metric.Sink
	first.Add(alone, 1.5, "quote \" and \\ and\nbreak", "\xff")
	first.Add(alone, math.Inf(1), "", "é")
	first.Add(shared, 1e9, "a")
	first.Add(both, math.NaN(), "1")
	first.Histogram(took, 3, 7, map[float64]uint64{10: 3, 1: 1}, "a")
	second.Add(shared, 2, "b")
	pages := metric.NewPages()
	page := pages.Page(metric.RoomFor(100))
	none := func(s metric.Sample, p metric.Problem) { t.Errorf("%s is refused: %s", s, p) }
	page.AddBatch(pages.Batch(first.Samples, nil), none)
	page.AddBatch(pages.Batch(second.Samples, nil), none)
	page.AddBatch(nil, none)
	for _, s := range []metric.Sample{
		{Desc: both, Value: 2, Labels: []string{"2"}}, {Desc: both, Value: 4, Labels: []string{"d\xff"}}, {Desc: single, Value: 3},
	} {
		if p := page.Add(s); p != "" {
			none(s, p)
		}
	}
	return page
}

// Whatever is wrong with a sample is found whether it is in a batch, between batches, or among single ones.
func TestABatchsSamplesAreCheckedAsSingleOnesAre(t *testing.T) {
	var list, other metric.List
	d := list.Gauge("d", "D.", "l")
	contrary := other.Gauge("d", "D with other labels.", "m")
	s := func(d *metric.Desc, labels ...string) metric.Sample { return metric.Sample{Desc: d, Labels: labels} }
	pages := metric.NewPages()
	for name, tc := range map[string]struct {
		batches [][]metric.Sample
		room    int
		want    string
	}{
		"twice in one batch":     {[][]metric.Sample{{s(d, "a"), s(d, "a")}}, 9, "1 [duplicate]"},
		"twice in two batches":   {[][]metric.Sample{{s(d, "a"), s(d, "b")}, {s(d, "b"), s(d, "c")}}, 9, "3 [duplicate]"},
		"labels are missing":     {[][]metric.Sample{{s(d), s(d, "a")}}, 9, "1 [malformed]"},
		"contrary in one batch":  {[][]metric.Sample{{s(d, "a"), s(contrary, "b")}}, 9, "1 [malformed]"},
		"contrary in two":        {[][]metric.Sample{{s(d, "a")}, {s(contrary, "b")}}, 9, "1 [malformed]"},
		"no room for all":        {[][]metric.Sample{{s(d, "a"), s(d, "b"), s(d, "c")}}, 2, "2 [too_many]"},
		"no room for the second": {[][]metric.Sample{{s(d, "a")}, {s(d, "b")}}, 1, "1 [too_many]"},
	} {
		t.Run(name, func(t *testing.T) {
			page := pages.Page(metric.RoomFor(tc.room))
			var problems []metric.Problem
			for _, samples := range tc.batches {
				page.AddBatch(pages.Batch(samples, nil), func(_ metric.Sample, p metric.Problem) { problems = append(problems, p) })
			}
			n := 0
			for _, f := range metric.DTO(page.List()) {
				n += len(f.Metric)
			}
			if got := fmt.Sprint(n, " ", problems); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

// A new batch keeps what did not change, and shows what did.
func TestABatchShowsWhatChanged(t *testing.T) {
	pages := metric.NewPages()
	var previous *metric.Batch
	for _, v := range []float64{1, 1, 2, math.NaN(), math.NaN(), 0} {
		var list metric.List // made anew for each run, as a decoder does
		d, fixed := list.Gauge("d", "D.", "l"), list.Gauge("fixed", "F.", "l")
		samples := []metric.Sample{{Desc: d, Value: v, Labels: []string{"x"}}, {Desc: fixed, Value: 1, Labels: []string{"x"}}}
		previous = pages.Batch(samples, previous)
		page := pages.Page(metric.RoomFor(9))
		page.AddBatch(previous, func(s metric.Sample, p metric.Problem) { t.Errorf("%s is refused: %s", s, p) })
		var out bytes.Buffer
		if err := metric.Text.Write(&out, page.List()); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("# HELP d D.\n# TYPE d gauge\nd{l=\"x\"} %v\n# HELP fixed F.\n# TYPE fixed gauge\nfixed{l=\"x\"} 1\n", v)
		if out.String() != want {
			t.Errorf("page %q, want %q", out.String(), want)
		}
	}
}
