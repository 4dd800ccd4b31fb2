package collector

import (
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
)

// families gathers the samples of one page by metric family. A sample that repeats another, or contradicts
// its family, is left out and reported: it must not cost the page.
type families struct {
	byName map[string]*family
}

type family struct {
	dto    *dto.MetricFamily
	labels []string
	seen   map[string]struct{}
}

// errorReason is what can be wrong with a sample; it becomes a reason beside postgres.Reasons().
type errorReason string

const (
	duplicateSample errorReason = "duplicate"
	malformedSample errorReason = "malformed"
)

func newFamilies() *families { return &families{byName: map[string]*family{}} }

// add takes a sample and says what is wrong with it, if anything.
func (f *families) add(s sample) errorReason {
	fam, ok := f.byName[s.desc.Name]
	if !ok {
		fam = &family{
			dto: &dto.MetricFamily{
				Name: proto.String(s.desc.Name), Help: proto.String(s.desc.Help), Type: exposedType(s.desc).Enum(),
			},
			labels: s.desc.Labels,
			seen:   map[string]struct{}{},
		}
		f.byName[s.desc.Name] = fam
	}
	if len(s.labels) != len(s.desc.Labels) || *fam.dto.Type != exposedType(s.desc) || !slices.Equal(fam.labels, s.desc.Labels) {
		return malformedSample
	}
	for i, v := range s.labels {
		s.labels[i] = strings.ToValidUTF8(v, "\uFFFD") // a database may have any bytes in its names
	}
	key := strings.Join(s.labels, "\xff")
	if _, ok := fam.seen[key]; ok {
		return duplicateSample
	}
	fam.seen[key] = struct{}{}
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

func dtoMetric(s sample) *dto.Metric {
	m := &dto.Metric{}
	if len(s.labels) > 0 {
		pairs := make([]dto.LabelPair, len(s.labels))
		m.Label = make([]*dto.LabelPair, len(s.labels))
		for i, v := range s.labels {
			pairs[i].Name, pairs[i].Value = &s.desc.Labels[i], proto.String(v)
			m.Label[i] = &pairs[i]
		}
		// The text and protobuf formats both want labels sorted by name.
		slices.SortFunc(m.Label, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
	}
	switch exposedType(s.desc) {
	case dto.MetricType_COUNTER:
		m.Counter = &dto.Counter{Value: proto.Float64(s.value)}
	case dto.MetricType_UNTYPED:
		m.Untyped = &dto.Untyped{Value: proto.Float64(s.value)}
	default:
		m.Gauge = &dto.Gauge{Value: proto.Float64(s.value)}
	}
	return m
}
