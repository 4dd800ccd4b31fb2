package metric

import (
	"hash/maphash"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// Pages makes pages, and batches of samples that are shown on many of them.
type Pages struct{ seed maphash.Seed }

// NewPages is for one set of pages: a batch fits the pages of the Pages that made it.
func NewPages() Pages { return Pages{seed: maphash.MakeSeed()} }

// Page gathers the samples of one page by metric family. A sample that repeats another, or contradicts
// its family, is left out and reported: it must not cost the page.
type Page struct {
	byName map[string]*Family
	seed   maphash.Seed
	// Room is what there is place for; more is refused as TooMany.
	Room *Room
}

// Problem is what can be wrong with a sample; it becomes a reason beside postgres.Reasons().
type Problem string

const (
	Duplicate Problem = "duplicate"
	Malformed Problem = "malformed"
	// TooMany: more than there is room for, or an answer that was cut off for its length.
	TooMany Problem = "too_many"
	// NoMemory: all servers together have as much as the process's Budget allows, and this one has its share of it.
	NoMemory Problem = "no_memory"
)

// Page is an empty page with so much room.
func (p Pages) Page(r *Room) *Page { return &Page{byName: map[string]*Family{}, seed: p.seed, Room: r} }

// family is the one that a metric's samples belong to, or nil where its description contradicts that of others with its name.
func (p *Page) family(d *Desc) *Family {
	f, ok := p.byName[d.Name]
	if !ok {
		f = &Family{Name: d.Name, Help: d.Help, Type: d.Exposed(), desc: d, order: d.order()}
		p.byName[d.Name] = f
	}
	if !f.desc.fits(d) {
		return nil
	}
	return f
}

// Add takes a sample and says what is wrong with it, if anything.
func (p *Page) Add(s Sample) Problem {
	f := p.family(s.Desc)
	if f == nil || len(s.Labels) != len(s.Desc.Labels) {
		return Malformed
	}
	s = s.legible()
	key := hash(p.seed, s.Labels)
	if f.has(key) {
		return Duplicate
	}
	if !Take(0, p.Room) {
		return TooMany
	}
	f.add(s, key)
	return ""
}

// AddBatch takes a batch's samples and tells reject what is wrong with those that it does not take.
func (p *Page) AddBatch(b *Batch, reject func(Sample, Problem)) {
	if b == nil {
		return
	}
	for _, r := range b.rejected {
		reject(r.sample, r.problem)
	}
	for _, rows := range b.families {
		f := p.family(rows.desc)
		if f != nil && len(rows.values) <= p.Room.Samples && f.takes(rows) {
			p.Room.Samples -= len(rows.values)
			f.addRows(rows)
			continue
		}
		for i := range rows.values {
			s := rows.sample(i)
			if problem := p.Add(s); problem != "" {
				reject(s, problem)
			}
		}
	}
}

// List is what was gathered, by name.
func (p *Page) List() []*Family {
	out := make([]*Family, 0, len(p.byName))
	for _, f := range p.byName {
		if len(f.parts) > 0 {
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(a, b *Family) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// hash tells label values of one family apart.
func hash(seed maphash.Seed, labels []string) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	for _, v := range labels {
		_, _ = h.WriteString(v)
		_ = h.WriteByte(0xff) // in no text
	}
	return h.Sum64()
}

// Exposed is the type on the page. Names that users of postgres_exporter query are kept as they are, and where the
// type's rules for names forbid one (a counter without _total, a gauge that ends in _count), the family says no
// type rather than breaking them: queries don't care, and OpenMetrics would turn such a page down.
func (d *Desc) Exposed() dto.MetricType {
	ends := func(suffixes ...string) bool {
		return slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(d.Name, s) })
	}
	switch {
	case d.Type == Histogram:
		return dto.MetricType_HISTOGRAM
	case ends("_count", "_sum", "_bucket"):
		return dto.MetricType_UNTYPED
	case d.Type == Counter && ends("_total"):
		return dto.MetricType_COUNTER
	case d.Type == Counter || ends("_total"):
		return dto.MetricType_UNTYPED
	}
	return dto.MetricType_GAUGE
}

// fits is whether a sample with another description of this name may be in one family with those of this one.
func (d *Desc) fits(o *Desc) bool {
	return d == o || d.Exposed() == o.Exposed() && slices.Equal(d.Labels, o.Labels)
}

// order is the places of a metric's labels by name: the text and protobuf formats both want them sorted.
func (d *Desc) order() []int {
	out := make([]int, len(d.Labels))
	for i := range out {
		out[i] = i
	}
	slices.SortFunc(out, func(a, b int) int { return strings.Compare(d.Labels[a], d.Labels[b]) })
	return out
}

// dtoMetric is a sample as the library wants it, in as few pieces of memory as that takes.
func dtoMetric(s Sample, exposed dto.MetricType, order []int) *dto.Metric {
	var m *dto.Metric
	switch exposed {
	case dto.MetricType_HISTOGRAM:
		m = &dto.Metric{Histogram: s.histogram}
	case dto.MetricType_COUNTER:
		one := &struct {
			dto     dto.Metric
			counter dto.Counter
			value   float64
		}{value: s.Value}
		m = &one.dto
		one.counter.Value, m.Counter = &one.value, &one.counter
	case dto.MetricType_UNTYPED:
		one := &struct {
			dto     dto.Metric
			untyped dto.Untyped
			value   float64
		}{value: s.Value}
		m = &one.dto
		one.untyped.Value, m.Untyped = &one.value, &one.untyped
	default:
		one := &struct {
			dto   dto.Metric
			gauge dto.Gauge
			value float64
		}{value: s.Value}
		m = &one.dto
		one.gauge.Value, m.Gauge = &one.value, &one.gauge
	}
	if len(s.Labels) > 0 {
		pairs := make([]dto.LabelPair, len(s.Labels))
		m.Label = make([]*dto.LabelPair, len(s.Labels))
		for i, at := range order {
			pairs[i].Name, pairs[i].Value = &s.Desc.Labels[at], &s.Labels[at]
			m.Label[i] = &pairs[i]
		}
	}
	return m
}
