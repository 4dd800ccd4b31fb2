package metric

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
)

// Sample is one value of a metric.
type Sample struct {
	Desc   *Desc
	Labels []string // values, in the order of Desc.Labels
	Value  float64

	histogram *dto.Histogram // instead of a value
}

// String names a sample for the log.
func (s Sample) String() string { return fmt.Sprintf("%s%q", s.Desc.Name, s.Labels) }

// legible is the sample with labels of UTF-8. A database may have any bytes in its names, and a single label of others makes Prometheus
// refuse the whole page.
func (s Sample) legible() Sample {
	if !slices.ContainsFunc(s.Labels, func(label string) bool { return !utf8.ValidString(label) }) {
		return s
	}
	s.Labels = slices.Clone(s.Labels)
	for i, label := range s.Labels {
		s.Labels[i] = strings.ToValidUTF8(label, "\uFFFD")
	}
	return s
}

// Text is how much text the labels have, in bytes.
func (s Sample) Text() (bytes int) {
	for _, label := range s.Labels {
		bytes += len(label)
	}
	return bytes
}

// Sink takes the samples of one collection. What is not known is not added: 0 would be a claim.
type Sink struct {
	Samples []Sample
}

// Add takes one sample. labelValues are in the order of d.Labels.
func (s *Sink) Add(d *Desc, value float64, labelValues ...string) {
	s.Samples = append(s.Samples, Sample{Desc: d, Labels: labelValues, Value: value})
}

// Bool adds 1 for what holds, and 0 for what does not.
func (s *Sink) Bool(d *Desc, holds bool, labelValues ...string) {
	s.Add(d, Bool(holds), labelValues...)
}

// Time adds a moment in seconds since 1970, and nothing while it is zero, which is unknown.
func (s *Sink) Time(d *Desc, t time.Time, labelValues ...string) {
	if !t.IsZero() {
		s.Add(d, float64(t.UnixMicro())/1e6, labelValues...)
	}
}

// Histogram adds how often values were how large: buckets has the count of the values up to each bound.
func (s *Sink) Histogram(d *Desc, count uint64, sum float64, buckets map[float64]uint64, labelValues ...string) {
	h := &dto.Histogram{SampleCount: &count, SampleSum: &sum}
	for bound, n := range buckets {
		h.Bucket = append(h.Bucket, &dto.Bucket{UpperBound: proto.Float64(bound), CumulativeCount: proto.Uint64(n)})
	}
	slices.SortFunc(h.Bucket, func(a, b *dto.Bucket) int {
		if a.GetUpperBound() < b.GetUpperBound() {
			return -1
		}
		return 1
	})
	s.Samples = append(s.Samples, Sample{Desc: d, Labels: labelValues, histogram: h})
}

// OneOf adds a sample for each possible value, 1 for the one that holds and 0 for the others. The value is the last label.
func OneOf[T ~string](s *Sink, d *Desc, all []T, holds T, labelValues ...string) {
	for _, v := range all {
		s.Bool(d, v == holds, append(slices.Clone(labelValues), string(v))...)
	}
}

// Bool is 1 for what holds, and 0 for what does not.
func Bool(holds bool) float64 {
	if holds {
		return 1
	}
	return 0
}
