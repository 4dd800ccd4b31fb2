package metric

import (
	"slices"

	dto "github.com/prometheus/client_model/go"
)

// Batch makes one of samples. Of a family that is as it was in the previous batch, what was done there is kept.
func (p Pages) Batch(samples []Sample, previous *Batch) *Batch {
	if len(samples) == 0 {
		return nil
	}
	m := maker{pages: p, byName: map[string]*family{}, before: previous.byName()}
	for _, s := range samples {
		m.add(s)
	}
	for _, f := range m.families {
		m.settle(f)
	}
	b := m.batch // alone: nothing else of the maker is kept
	return &b
}

// byName is the batch's rows by their metric's name.
func (b *Batch) byName() map[string]*rows {
	if b == nil {
		return nil
	}
	out := make(map[string]*rows, len(b.families))
	for _, r := range b.families {
		out[r.desc.Name] = r
	}
	return out
}

// maker makes a batch.
type maker struct {
	pages    Pages
	batch    Batch
	byName   map[string]*family
	families []*family
	before   map[string]*rows // of the previous batch
	stands   []stand
	alike    []alike
	seen     map[uint64]struct{}
}

// stand is the label values of samples that come one after another: those of one row of an answer.
type stand struct {
	given, labels []string // as they came, and legible
	key           uint64
}

// family is what has come of one metric: at are the places of its samples among the stands.
type family struct {
	*rows
	at []int32
}

// alike is families with the same label values.
type alike struct {
	at     []int32
	places *places
}

// mostCompared bounds how many lists of places a family is compared with: an answer may have as many metrics as samples.
const mostCompared = 8

// add takes a sample.
func (m *maker) add(s Sample) {
	f, ok := m.byName[s.Desc.Name]
	if !ok {
		f = &family{rows: &rows{desc: s.Desc, exposed: s.Desc.Exposed()}}
		if old := m.before[s.Desc.Name]; old != nil { // as many as before are likely to come
			f.at, f.values = make([]int32, 0, len(old.values)), make([]float64, 0, len(old.values))
		}
		m.byName[s.Desc.Name] = f
		m.families = append(m.families, f)
	}
	if len(s.Labels) != len(s.Desc.Labels) || !f.desc.fits(s.Desc) {
		m.batch.rejected = append(m.batch.rejected, rejected{s.legible(), Malformed})
		return
	}
	if last := len(m.stands) - 1; last < 0 || !sameTexts(m.stands[last].given, s.Labels) {
		labels := s.legible().Labels
		m.stands = append(m.stands, stand{s.Labels, labels, hash(m.pages.seed, labels)})
	}
	if s.histogram != nil && f.histograms == nil {
		f.histograms = make([]*dto.Histogram, len(f.values))
	}
	if f.histograms != nil {
		f.histograms = append(f.histograms, s.histogram)
	}
	f.at, f.values = append(f.at, int32(len(m.stands)-1)), append(f.values, s.Value) //nolint:gosec // there are not so many
}

// sameTexts is slices.Equal that needs no look at texts which are one list.
func sameTexts(a, b []string) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}

// settle adds a family to the batch when all its samples have come.
func (m *maker) settle(f *family) {
	if len(f.values) == 0 {
		return
	}
	old := m.before[f.desc.Name]
	f.places = m.placesOf(f, old)
	m.batch.samples += len(f.values)
	for _, labels := range f.places.labels {
		m.batch.text += Sample{Labels: labels}.Text()
	}
	if old != nil && f.same(old) {
		m.batch.families = append(m.batch.families, old)
		return
	}
	if cap(f.values) > len(f.values) { // they are kept for minutes
		f.values = fitted(f.values)
	}
	m.batch.families = append(m.batch.families, f.rows)
}

// placesOf are those of another family or of the previous batch, where they are the same, so that the new texts can be freed.
func (m *maker) placesOf(f *family, old *rows) *places {
	for i := len(m.alike) - 1; i >= max(0, len(m.alike)-mostCompared); i-- {
		if slices.EqualFunc(m.alike[i].at, f.at, m.sameStand) {
			return m.alike[i].places
		}
	}
	m.tellApart(f)
	p := &places{labels: make([][]string, len(f.at)), keys: make([]uint64, len(f.at))}
	for i, at := range f.at {
		p.labels[i], p.keys[i] = m.stands[at].labels, m.stands[at].key
	}
	if old != nil && p.equal(old.places) {
		p = old.places
	}
	m.alike = append(m.alike, alike{f.at, p})
	return p
}

func (m *maker) sameStand(a, b int32) bool {
	x, y := &m.stands[a], &m.stands[b]
	return a == b || x.key == y.key && slices.Equal(x.labels, y.labels)
}

// tellApart takes out samples that repeat an earlier one.
func (m *maker) tellApart(f *family) {
	if m.seen == nil {
		m.seen = make(map[uint64]struct{}, len(f.at))
	}
	clear(m.seen)
	n := 0
	for i, at := range f.at {
		st := &m.stands[at]
		if _, twice := m.seen[st.key]; twice {
			s := Sample{Desc: f.desc, Labels: st.labels, Value: f.values[i]}
			m.batch.rejected = append(m.batch.rejected, rejected{s, Duplicate})
			continue
		}
		m.seen[st.key] = struct{}{}
		f.at[n], f.values[n] = at, f.values[i]
		if f.histograms != nil {
			f.histograms[n] = f.histograms[i]
		}
		n++
	}
	f.at, f.values = f.at[:n], f.values[:n]
	if f.histograms != nil {
		f.histograms = f.histograms[:n]
	}
}
