//go:build !race

// The race detector allocates, too.

package metric_test

import (
	"fmt"
	"io"
	"runtime"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

// What a page costs in allocations, which are most of a scrape's garbage: for each sample that is live, and for each family of which all is
// kept. More than a tenth above what it was is a step back.
func TestAllocationsOfAPage(t *testing.T) {
	pages := metric.NewPages()
	var list metric.List
	var descs []*metric.Desc
	for i := range 20 {
		descs = append(descs, list.Gauge(fmt.Sprintf("family_%d", i), "F.", "datname", "relname"))
	}
	var samples []metric.Sample
	for _, d := range descs {
		for i := range 100 {
			samples = append(samples, metric.Sample{Desc: d, Value: float64(i), Labels: []string{"shop", fmt.Sprint("table_", i)}})
		}
	}
	batch := pages.Batch(samples, nil)
	refuse := func(s metric.Sample, p metric.Problem) { t.Fatalf("%s is refused: %s", s, p) }
	page := func(fill func(*metric.Page)) func() {
		return func() {
			p := pages.Page(metric.RoomFor(len(samples)))
			fill(p)
			if err := metric.OpenMetrics.Write(io.Discard, p.List()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tc := range []struct {
		what string
		run  func()
		of   int
		was  float64
	}{
		{"of a live sample", page(func(p *metric.Page) {
			for _, s := range samples {
				p.Add(s)
			}
		}), len(samples), 3.26},
		{"of a kept family", page(func(p *metric.Page) { p.AddBatch(batch, refuse) }), len(descs), 3.70},
		{"of a sample of a new batch", func() { pages.Batch(samples, batch) }, len(samples), 0.062},
	} {
		got := testing.AllocsPerRun(20, tc.run) / float64(tc.of)
		t.Logf("%s: %.3f allocations", tc.what, got)
		if got > 1.1*tc.was {
			t.Errorf("%s: %.3f allocations, at most a tenth more than %.3f", tc.what, got, tc.was)
		}
	}
}

// What the samples of a collector take while they are shown, beside their labels, and their text once it was on a page.
func TestMemoryOfABatch(t *testing.T) {
	pages := metric.NewPages()
	var list metric.List
	const families, rows = 400, 50
	var samples []metric.Sample
	for i := range families {
		d := list.Gauge(fmt.Sprintf("family_%d", i), "F.", "datname", "relname")
		for j := range rows {
			samples = append(samples, metric.Sample{Desc: d, Value: float64(j), Labels: []string{"shop", fmt.Sprint("table_", j)}})
		}
	}
	var batch *metric.Batch
	var size countingWriter
	show := func(w io.Writer) {
		p := pages.Page(metric.RoomFor(len(samples)))
		p.AddBatch(batch, func(s metric.Sample, p metric.Problem) { t.Fatalf("%s is refused: %s", s, p) })
		if err := metric.OpenMetrics.Write(w, p.List()); err != nil {
			t.Fatal(err)
		}
	}
	before := heap()
	batch = pages.Batch(samples, nil)
	made := float64(heap()-before) / float64(len(samples))
	before = heap()
	show(&size)
	written := float64(heap()-before) / float64(size)
	batch = pages.Batch(samples, nil) // of which no page was made yet
	before = heap()
	show(tenth{&size})
	compressed := float64(heap()-before) / float64(size) * 2 // the size is of both pages
	t.Logf("%.1f bytes a sample, and %.2f times the text, %.2f where it is compressed", made, written, compressed)
	if made > 12 {
		t.Errorf("a batch takes %.1f bytes a sample", made)
	}
	if written > 1.3 {
		t.Errorf("what a page leaves behind is %.2f times its text", written)
	}
	if compressed > 0.4 {
		t.Errorf("what a page that is compressed leaves behind is %.2f times its text", compressed)
	}
	runtime.KeepAlive(batch)
	runtime.KeepAlive(samples)
}

type countingWriter int

func (w *countingWriter) Write(b []byte) (int, error) {
	*w += countingWriter(len(b))
	return len(b), nil
}

// tenth is a Compressor whose compressed form is a tenth of the text.
type tenth struct{ *countingWriter }

func (c tenth) WriteAlone(texts ...[]byte) (metric.Compressed, error) {
	n := 0
	for _, text := range texts {
		n += len(text)
	}
	*c.countingWriter += countingWriter(n)
	return make([]byte, n/10), nil
}

func (c tenth) WriteAgain(metric.Compressed) error { return nil }

// heap is how many bytes are in use.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what pools had is freed by the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
