package collector

import (
	"hash/maphash"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
)

// families gathers the samples of one page by metric family. A sample that repeats another, or contradicts
// its family, is left out and reported: it must not cost the page.
type families struct {
	byName map[string]*family
	seed   maphash.Seed
	seen   map[uint64]struct{} // hashes of the names and labels so far
	room   *room
}

type family struct {
	dto    *dto.MetricFamily
	labels []string
}

// errorReason is what can be wrong with a sample; it becomes a reason beside postgres.Reasons().
type errorReason string

const (
	duplicateSample errorReason = "duplicate"
	malformedSample errorReason = "malformed"
	// tooManySamples: more than there is room for, or an answer that was cut off for its length.
	tooManySamples errorReason = "too_many"
)

func newFamilies(r *room) *families {
	const many = 2048 // samples of a usual page
	return &families{byName: map[string]*family{}, seed: maphash.MakeSeed(), seen: make(map[uint64]struct{}, many), room: r}
}

// add takes a sample and says what is wrong with it, if anything.
func (f *families) add(s sample) errorReason {
	fam, ok := f.byName[s.desc.Name]
	if !ok {
		fam = &family{
			dto: &dto.MetricFamily{
				Name: proto.String(s.desc.Name), Help: proto.String(s.desc.Help), Type: exposedType(s.desc).Enum(),
			},
			labels: s.desc.Labels,
		}
		f.byName[s.desc.Name] = fam
	}
	if len(s.labels) != len(s.desc.Labels) || *fam.dto.Type != exposedType(s.desc) || !slices.Equal(fam.labels, s.desc.Labels) {
		return malformedSample
	}
	var h maphash.Hash
	h.SetSeed(f.seed)
	_, _ = h.WriteString(s.desc.Name)
	for _, v := range s.labels {
		_ = h.WriteByte(0xff) // in no text
		_, _ = h.WriteString(v)
	}
	key := h.Sum64()
	if _, ok := f.seen[key]; ok {
		return duplicateSample
	}
	if !take(0, f.room) {
		return tooManySamples
	}
	f.seen[key] = struct{}{}
	fam.dto.Metric = append(fam.dto.Metric, dtoMetric(s))
	return ""
}

// list is what was gathered, by name.
func (f *families) list() []*dto.MetricFamily {
	out := make([]*dto.MetricFamily, 0, len(f.byName))
	for _, fam := range f.byName {
		if len(fam.dto.Metric) > 0 {
			out = append(out, fam.dto)
		}
	}
	slices.SortFunc(out, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return out
}

// exposedType is the type on the page. Names that users of postgres_exporter query are kept as they are, and where the
// type's rules for names forbid one (a counter without _total, a gauge that ends in _count), the family says no
// type rather than breaking them: queries don't care, and OpenMetrics would turn such a page down.
func exposedType(d *Desc) dto.MetricType {
	ends := func(suffixes ...string) bool {
		return slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(d.Name, s) })
	}
	switch {
	case ends("_count", "_sum", "_bucket"):
		return dto.MetricType_UNTYPED
	case d.Type == Counter && ends("_total"):
		return dto.MetricType_COUNTER
	case d.Type == Counter || ends("_total"):
		return dto.MetricType_UNTYPED
	}
	return dto.MetricType_GAUGE
}

// dtoMetric is a sample as the library wants it, in as few pieces of memory as that takes.
func dtoMetric(s sample) *dto.Metric {
	var m *dto.Metric
	switch exposedType(s.desc) {
	case dto.MetricType_COUNTER:
		one := &struct {
			dto     dto.Metric
			counter dto.Counter
			value   float64
		}{value: s.value}
		m = &one.dto
		one.counter.Value, m.Counter = &one.value, &one.counter
	case dto.MetricType_UNTYPED:
		one := &struct {
			dto     dto.Metric
			untyped dto.Untyped
			value   float64
		}{value: s.value}
		m = &one.dto
		one.untyped.Value, m.Untyped = &one.value, &one.untyped
	default:
		one := &struct {
			dto   dto.Metric
			gauge dto.Gauge
			value float64
		}{value: s.value}
		m = &one.dto
		one.gauge.Value, m.Gauge = &one.value, &one.gauge
	}
	if len(s.labels) > 0 {
		pairs := make([]dto.LabelPair, len(s.labels))
		m.Label = make([]*dto.LabelPair, len(s.labels))
		for i := range s.labels {
			pairs[i].Name, pairs[i].Value = &s.desc.Labels[i], &s.labels[i]
			m.Label[i] = &pairs[i]
		}
		// The text and protobuf formats both want labels sorted by name.
		slices.SortFunc(m.Label, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
	}
	return m
}
