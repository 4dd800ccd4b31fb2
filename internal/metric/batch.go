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
	samples []Sample
	keys    []uint64
	// link is where these rows stood among those of a family that are known to be different.
	link atomic.Pointer[link]
	// written is the rows in each of the text formats, once one was asked for.
	written [textFormats]atomic.Pointer[rendering]
}

// Batch makes one of samples. Of a family that is as it was in the previous batch, what was done there is kept.
func (p Pages) Batch(samples []Sample, previous *Batch) *Batch {
	if len(samples) == 0 {
		return nil
	}
	type family struct {
		*rows
		seen map[uint64]struct{}
	}
	b := &Batch{}
	byName := map[string]family{}
	for _, s := range samples {
		s = s.legible()
		f, ok := byName[s.Desc.Name]
		if !ok {
			f = family{&rows{desc: s.Desc, exposed: s.Desc.Exposed()}, map[uint64]struct{}{}}
			byName[s.Desc.Name] = f
			b.families = append(b.families, f.rows)
		}
		if len(s.Labels) != len(s.Desc.Labels) || !f.desc.fits(s.Desc) {
			b.rejected = append(b.rejected, rejected{s, Malformed})
			continue
		}
		key := hash(p.seed, s.Labels)
		if _, twice := f.seen[key]; twice {
			b.rejected = append(b.rejected, rejected{s, Duplicate})
			continue
		}
		f.seen[key] = struct{}{}
		f.samples, f.keys = append(f.samples, s), append(f.keys, key)
		b.samples++
		b.text += s.Text()
	}
	b.families = slices.DeleteFunc(b.families, func(r *rows) bool { return len(r.samples) == 0 })
	b.keep(previous)
	for _, r := range b.families {
		r.fit()
	}
	return b
}

// fit gives back the room that is left behind new rows: they are kept for minutes. Those of an earlier batch have none.
func (r *rows) fit() {
	if cap(r.samples) > len(r.samples) {
		r.samples = fitted(r.samples)
	}
	if cap(r.keys) > len(r.keys) {
		r.keys = fitted(r.keys)
	}
}

// fitted is a copy with no room behind it, which slices.Clone may leave.
func fitted[T any](s []T) []T { return append(make([]T, 0, len(s)), s...) }

// keep takes what is the same from the previous batch.
func (b *Batch) keep(previous *Batch) {
	if previous == nil {
		return
	}
	before := make(map[string]*rows, len(previous.families))
	for _, r := range previous.families {
		before[r.desc.Name] = r
	}
	for i, r := range b.families {
		old := before[r.desc.Name]
		if old == nil || !r.desc.same(old.desc) || !slices.Equal(r.keys, old.keys) {
			continue
		}
		r.keys = old.keys
		changed := false
		for j := range r.samples {
			n, o := &r.samples[j], &old.samples[j]
			if !slices.Equal(n.Labels, o.Labels) {
				changed = true // two texts with one hash
				continue
			}
			n.Labels = o.Labels // so that the new texts can be freed
			changed = changed || math.Float64bits(n.Value) != math.Float64bits(o.Value) || n.histogram != o.histogram
		}
		if !changed {
			b.families[i] = old
		}
	}
}

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
		for ; n < len(r.samples); n++ {
			more := r.samples[n].Text()
			if Cost(first.samples+n+1, first.text+text+more) > most {
				break
			}
			text += more
		}
		first.samples, first.text = first.samples+n, first.text+text
		if n == len(r.samples) {
			first.families = append(first.families, r)
		} else if n > 0 { // copied, so that the others can be freed
			first.families = append(first.families, &rows{desc: r.desc, exposed: r.exposed, samples: fitted(r.samples[:n]),
				keys: fitted(r.keys[:n])})
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
	out := make([]*dto.Metric, len(r.samples))
	for i, s := range r.samples {
		out[i] = dtoMetric(s, r.exposed, order)
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
	if done == nil || done.text == nil {
		var err error
		if done, err = r.render(out, t, done); err != nil {
			return err
		}
		r.written[t].Store(done)
	}
	c, err := out.put(piece{done, first})
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
	text := bytes.Clone(out.memory.Bytes()) // the buffer has room that is not needed
	done := &rendering{text: text, header: header(text)}
	if before != nil {
		done.whole, done.body = before.whole, before.body
	}
	return done, nil
}
