package metric

import (
	"bytes"
	"math"
	"slices"
	"sync/atomic"

	dto "github.com/prometheus/client_model/go"
)

// Batch is the samples of one run of a collector, which are on all pages until its next run. What each page would have to do anew is
// done once: they are checked, told apart, and written. A batch is never written to once it is made; a nil one has no samples.
type Batch struct {
	families []*rows
	rejected []rejected
	samples  int
	text     int
}

type rejected struct {
	sample  Sample
	problem Problem
}

// rows is the samples of one metric in a batch.
type rows struct {
	desc    *Desc
	exposed dto.MetricType
	places  *places
	values  []float64
	// histograms are there instead of values; nil where the metric is none.
	histograms []*dto.Histogram
	// link is where these rows stood among those of a family that are known to be different.
	link atomic.Pointer[link]
	// written is the rows in each of the text formats, once one was asked for.
	written [textFormats]atomic.Pointer[rendering]
}

// places are the label values of a metric's samples, all different. Metrics of one query mostly have the same, and share them: they are
// most of what samples take.
type places struct {
	labels [][]string
	keys   []uint64
}

// equal is whether the others have the same label values in the same order.
func (p *places) equal(o *places) bool {
	return p == o || slices.Equal(p.keys, o.keys) && slices.EqualFunc(p.labels, o.labels, slices.Equal)
}

// sample is one of the rows.
func (r *rows) sample(i int) Sample {
	s := Sample{Desc: r.desc, Labels: r.places.labels[i], Value: r.values[i]}
	if r.histograms != nil {
		s.histogram = r.histograms[i]
	}
	return s
}

// same is whether other rows of the metric have the same label values and values.
func (r *rows) same(o *rows) bool {
	return r.desc.same(o.desc) && r.places.equal(o.places) && slices.Equal(r.histograms, o.histograms) &&
		slices.EqualFunc(r.values, o.values, func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) })
}

// first is the first n rows, which keep nothing of the others.
func (r *rows) first(n int) *rows {
	f := &rows{desc: r.desc, exposed: r.exposed, values: fitted(r.values[:n]),
		places: &places{labels: fitted(r.places.labels[:n]), keys: fitted(r.places.keys[:n])}}
	if r.histograms != nil {
		f.histograms = fitted(r.histograms[:n])
	}
	return f
}

// fitted is a copy with no room behind it, which slices.Clone may leave.
func fitted[T any](s []T) []T { return append(make([]T, 0, len(s)), s...) }

// Len is how many samples there are.
func (b *Batch) Len() int {
	if b == nil {
		return 0
	}
	return b.samples
}

// Cost is the memory that the samples take, as a Budget reckons.
func (b *Batch) Cost() int64 { return Cost(b.Len(), b.Text()) }

// First is a batch of the first samples that cost no more than most, and how many are left out.
func (b *Batch) First(most int64) (first *Batch, out int) {
	if b.Cost() <= most {
		return b, 0
	}
	first = &Batch{rejected: b.rejected}
	for _, r := range b.families {
		n, text := 0, 0
		for ; n < len(r.values); n++ {
			more := r.sample(n).Text()
			if Cost(first.samples+n+1, first.text+text+more) > most {
				break
			}
			text += more
		}
		first.samples, first.text = first.samples+n, first.text+text
		if n == len(r.values) {
			first.families = append(first.families, r)
		} else if n > 0 {
			first.families = append(first.families, r.first(n))
		}
	}
	return first, b.samples - first.samples
}

// Text is how much text their labels have, in bytes.
func (b *Batch) Text() int {
	if b == nil {
		return 0
	}
	return b.text
}

func (r *rows) metrics() []*dto.Metric {
	order := r.desc.order()
	out := make([]*dto.Metric, len(r.values))
	for i := range r.values {
		out[i] = dtoMetric(r.sample(i), r.exposed, order)
	}
	return out
}

func (r *rows) write(out *output, _ *Family, t TextFormat, first bool) error {
	done := r.written[t].Load()
	if done != nil && out.compress != nil {
		if c := done.compressed(first); c != nil {
			return out.again(c)
		}
	}
	if done == nil || done.text == nil && done.forms != nil {
		var err error
		if done, err = r.render(out, t, done); err != nil {
			return err
		}
		r.written[t].Store(done)
	}
	c, err := out.put(piece{done, r, t, first})
	if err == nil && c != nil {
		r.written[t].Store(done.pressed(first, c))
	}
	return err
}

// render makes the rows' text, beside what is compressed of it; before may be nil.
func (r *rows) render(out *output, t TextFormat, before *rendering) (*rendering, error) {
	out.memory.Reset()
	err := t.render(&out.memory, &dto.MetricFamily{Name: &r.desc.Name, Help: &r.desc.Help, Type: &r.exposed, Metric: r.metrics()})
	if err != nil {
		return nil, err
	}
	text := bytes.Clone(out.memory.Bytes())                                             // the buffer has room that is not needed
	done := &rendering{text: text, size: int32(len(text)), header: int32(header(text))} //nolint:gosec // no page is so long
	if before != nil {
		done.forms = before.forms
	}
	return done, nil
}
