package metric_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

// What is long and stays the same is compressed for the first page only; what changed is compressed anew.
func TestWhatStaysIsCompressedOnce(t *testing.T) {
	pages := metric.NewPages()
	var previous, other *metric.Batch
	for round, wanted := range []int{4, 0, 2} { // parts of families compressed anew
		var list metric.List
		stays, changes := list.Gauge("stays", "S.", "l"), list.Gauge("changes", "C.", "l")
		var samples, others []metric.Sample
		for i := range 200 {
			label := []string{fmt.Sprintf("the value of label %d", i)}
			samples = append(samples, metric.Sample{Desc: stays, Value: 1, Labels: label},
				metric.Sample{Desc: changes, Value: float64(round / 2), Labels: label})
			label = []string{fmt.Sprintf("another database's %d", i)}
			others = append(others, metric.Sample{Desc: stays, Value: 1, Labels: label},
				metric.Sample{Desc: changes, Value: float64(round / 2), Labels: label})
		}
		previous, other = pages.Batch(samples, previous), pages.Batch(others, other)
		page := pages.Page(metric.RoomFor(1000))
		for _, b := range []*metric.Batch{previous, other} {
			page.AddBatch(b, func(s metric.Sample, p metric.Problem) { t.Errorf("%s is refused: %s", s, p) })
		}
		var plain bytes.Buffer
		if err := metric.Text.Write(&plain, page.List()); err != nil {
			t.Fatal(err)
		}
		var c upperCase
		if err := metric.Text.Write(&c, page.List()); err != nil {
			t.Fatal(err)
		}
		if want := bytes.ToUpper(plain.Bytes()); !bytes.Equal(c.out.Bytes(), want) {
			t.Errorf("round %d: the page is %q, want %q", round, c.out.String(), want)
		}
		if c.anew != wanted {
			t.Errorf("round %d: %d families were compressed, want %d", round, c.anew, wanted)
		}
	}
}

// Small families that stand one after another are compressed together, and for the first page only: until one of them changes, or
// something else stands among them.
func TestSmallFamiliesAreCompressedTogether(t *testing.T) {
	pages := metric.NewPages()
	var list metric.List
	var descs []*metric.Desc
	for i := range 100 {
		descs = append(descs, list.Gauge(fmt.Sprintf("small_%02d", i), "A small family, of which there are many.", "l"))
	}
	live := list.Gauge("small_50_live", "L.")
	var batch *metric.Batch
	for round, tc := range []struct {
		changes, live bool
		anew          int
	}{{anew: 1}, {}, {changes: true, anew: 1}, {}, {live: true, anew: 2}, {live: true}, {anew: 1}} {
		var samples []metric.Sample
		for i, d := range descs {
			v := 0.0
			if i == 70 && round > 1 {
				v = 1
			}
			samples = append(samples, metric.Sample{Desc: d, Value: v, Labels: []string{"x"}})
		}
		batch = pages.Batch(samples, batch)
		page := pages.Page(metric.RoomFor(1000))
		page.AddBatch(batch, func(s metric.Sample, p metric.Problem) { t.Errorf("%s is refused: %s", s, p) })
		if tc.live {
			page.Add(metric.Sample{Desc: live, Value: float64(round)})
		}
		var plain bytes.Buffer
		var c upperCase
		if err := errors.Join(metric.OpenMetrics.Write(&plain, page.List()), metric.OpenMetrics.Write(&c, page.List())); err != nil {
			t.Fatal(err)
		}
		if want := bytes.ToUpper(plain.Bytes()); !bytes.Equal(c.out.Bytes(), want) {
			t.Errorf("round %d: the page is %q, want %q", round, c.out.String(), want)
		}
		if c.anew != tc.anew {
			t.Errorf("round %d: compressed %d times, want %d", round, c.anew, tc.anew)
		}
	}
}

// What is on one page of two batches is told apart anew when one of them changes: a label set that both have then is there once.
func TestBatchesThatAreKnownToDiffer(t *testing.T) {
	pages := metric.NewPages()
	var list metric.List
	d := list.Gauge("f", "F.", "l")
	of := func(labels ...string) *metric.Batch {
		var samples []metric.Sample
		for _, l := range labels {
			samples = append(samples, metric.Sample{Desc: d, Labels: []string{l}})
		}
		return pages.Batch(samples, nil)
	}
	a, b, c, ac := of("a"), of("b", "b2"), of("c"), of("a", "c")
	for i, tc := range []struct {
		batches  []*metric.Batch
		rejected int
	}{
		{[]*metric.Batch{a, b, c}, 0}, {[]*metric.Batch{a, b, c}, 0}, {[]*metric.Batch{ac, b, c}, 1}, {[]*metric.Batch{b, c}, 0},
		{[]*metric.Batch{a, b, c, ac}, 2}, {[]*metric.Batch{a, c, b}, 0}, {[]*metric.Batch{a, b, b}, 2}, {[]*metric.Batch{a, a}, 1},
		{[]*metric.Batch{a, b, c}, 0}, {[]*metric.Batch{ac, b, c}, 1},
	} {
		page := pages.Page(metric.RoomFor(100))
		rejected := 0
		for _, batch := range tc.batches {
			page.AddBatch(batch, func(_ metric.Sample, p metric.Problem) {
				if rejected++; p != metric.Duplicate {
					t.Errorf("page %d: %s", i, p)
				}
			})
		}
		if rejected != tc.rejected {
			t.Errorf("page %d: %d samples are refused, want %d", i, rejected, tc.rejected)
		}
	}
}

// upperCase is a Compressor whose compressed form is easily told.
type upperCase struct {
	out  bytes.Buffer
	anew int
}

func (c *upperCase) Write(text []byte) (int, error) { return c.out.Write(bytes.ToUpper(text)) }

func (c *upperCase) WriteAlone(texts ...[]byte) (metric.Compressed, error) {
	c.anew++
	compressed := bytes.ToUpper(bytes.Join(texts, nil))
	return compressed, c.WriteAgain(compressed)
}

func (c *upperCase) WriteAgain(compressed metric.Compressed) error {
	_, err := c.out.Write(compressed.([]byte))
	return err
}
