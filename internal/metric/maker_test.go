package metric_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

// Whatever a batch shares among its families and takes of the batch before, its page and what it refuses are those of the samples one by
// one.
func TestABatchIsItsSamples(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	pages := metric.NewPages()
	var previous *metric.Batch
	for round := range 300 {
		samples := randomSamples(r)
		batch := pages.Batch(samples, previous)
		previous = batch
		var refused, refusedAlone []string
		shown, alone := pages.Page(metric.RoomFor(1000)), pages.Page(metric.RoomFor(1000))
		shown.AddBatch(batch, func(s metric.Sample, p metric.Problem) { refused = append(refused, fmt.Sprint(p, s)) })
		for _, s := range samples {
			if p := alone.Add(s); p != "" {
				refusedAlone = append(refusedAlone, fmt.Sprint(p, s.Desc.Name))
			}
		}
		if len(refused) != len(refusedAlone) {
			t.Fatalf("round %d: the batch refuses %q, and one by one it is %q", round, refused, refusedAlone)
		}
		if batch.Len() != len(samples)-len(refused) {
			t.Fatalf("round %d: %d samples, of %d of which %d are refused", round, batch.Len(), len(samples), len(refused))
		}
		if got, want := written(t, shown), written(t, alone); got != want {
			t.Fatalf("round %d: the batch has\n%s\nand the samples have\n%s", round, got, want)
		}
		for range 2 { // what was compressed for the first is written again
			var c upperCase
			if err := metric.Text.Write(&c, shown.List()); err != nil {
				t.Fatal(err)
			}
			if want := strings.ToUpper(written(t, alone)); c.out.String() != want {
				t.Fatalf("round %d: compressed it is\n%s\nwant\n%s", round, c.out.String(), want)
			}
		}
		first, out := batch.First(batch.Cost() / 2)
		if first.Len()+out != batch.Len() || first.Cost() > batch.Cost()/2 {
			t.Fatalf("round %d: %d samples and %d left out of %d", round, first.Len(), out, batch.Len())
		}
		part := pages.Page(metric.RoomFor(1000))
		part.AddBatch(first, func(metric.Sample, metric.Problem) {})
		for line := range strings.Lines(written(t, part)) {
			if !strings.Contains(written(t, alone), line) {
				t.Fatalf("round %d: %q is on no whole page", round, line)
			}
		}
	}
}

func written(t *testing.T, p *metric.Page) string {
	t.Helper()
	var b bytes.Buffer
	if err := metric.Text.Write(&b, p.List()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// randomSamples has rows of several metrics with the same labels, gaps, repeated labels, some that are no UTF-8, and histograms.
func randomSamples(r *rand.Rand) (out []metric.Sample) {
	var list metric.List
	help := strings.Repeat("What it tells. ", 50)
	gauges := []*metric.Desc{list.Gauge("a", help, "db", "table"), list.Gauge("b", help, "db", "table"), list.Gauge("c", help, "db", "table")}
	alone, times := list.Gauge("d", help), list.Histogram("e_seconds", "E.", "db")
	other := metric.Desc{Name: "a", Help: "A.", Type: metric.Gauge, Labels: []string{"db"}}
	for range 1 + r.IntN(20) {
		labels := []string{[]string{"shop", "shop\xff", ""}[r.IntN(3)], fmt.Sprint("t", r.IntN(12))}
		for _, d := range gauges {
			if r.IntN(6) > 0 {
				out = append(out, metric.Sample{Desc: d, Labels: labels, Value: []float64{0, 1, math.Inf(1)}[r.IntN(3)]})
			}
		}
		switch r.IntN(10) {
		case 0:
			out = append(out, metric.Sample{Desc: alone, Value: 1})
		case 1:
			var s metric.Sink
			s.Histogram(times, 1, 2, map[float64]uint64{1: 1}, labels[0])
			out = append(out, s.Samples...)
		case 2:
			out = append(out, metric.Sample{Desc: &other, Labels: labels[:1], Value: 1})
		}
	}
	if r.IntN(2) == 0 {
		slices.Reverse(out)
	}
	return out
}
