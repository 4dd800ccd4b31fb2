package metric

import (
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
)

// Family is all samples of one metric on a page: in parts, as those of a batch are kept in the form that they are written in.
type Family struct {
	Name, Help string
	Type       dto.MetricType
	unit       *string // which only the library's families have

	desc  *Desc // of the first sample; nil where the library has made the family
	order []int // its labels by name
	parts []part
	// seen has the hashes of the label values so far; nil while a batch's are the only ones, which are told apart already.
	seen map[uint64]struct{}
	// last is the newest part's place among rows that are known to have none of each other's label values; mixed is that there are others.
	last  *link
	mixed bool
}

// link is a place in a row of parts that have none of each other's label values, behind another one. Most pages have the same rows as the
// one before: there they need not be told apart again.
type link struct{ before *link }

// part is some of a family's samples.
type part interface {
	metrics() []*dto.Metric
	// write writes the part in one of the text formats; the first of its family with the lines that tell of the family.
	write(out *output, f *Family, t TextFormat, first bool) error
}

// single is the samples of a family that were added one by one.
type single struct{ dto []*dto.Metric }

func (s *single) metrics() []*dto.Metric { return s.dto }

func (s *single) write(out *output, f *Family, t TextFormat, first bool) error {
	if err := out.flush(); err != nil { // which may need the memory, too
		return err
	}
	out.memory.Reset()
	err := t.render(&out.memory, &dto.MetricFamily{Name: &f.Name, Help: &f.Help, Type: &f.Type, Unit: f.unit, Metric: s.dto})
	if err != nil {
		return err
	}
	text := out.memory.Bytes()
	if !first {
		text = text[header(text):]
	}
	_, err = out.to.Write(text)
	return err
}

// FromDTO makes families of the library's.
func FromDTO(list []*dto.MetricFamily) []*Family {
	out := make([]*Family, 0, len(list))
	for _, f := range list {
		if f == nil || len(f.Metric) == 0 { // the text format has no empty family
			continue
		}
		out = append(out, &Family{Name: f.GetName(), Help: f.GetHelp(), Type: f.GetType(), unit: f.Unit, parts: []part{&single{f.Metric}}})
	}
	return out
}

// DTO is the families as the library has them. What it points to may be on other pages: it is read only.
func DTO(families []*Family) []*dto.MetricFamily {
	out := make([]*dto.MetricFamily, len(families))
	for i, f := range families {
		out[i] = f.DTO()
	}
	return out
}

// DTO is the family as the library has it; see there.
func (f *Family) DTO() *dto.MetricFamily {
	out := &dto.MetricFamily{Name: proto.String(f.Name), Help: proto.String(f.Help), Type: f.Type.Enum(), Unit: f.unit}
	for _, p := range f.parts {
		out.Metric = append(out.Metric, p.metrics()...)
	}
	return out
}

// has is whether there is a sample with these label values.
func (f *Family) has(key uint64) bool {
	f.remember()
	_, ok := f.seen[key]
	return ok
}

// takes is whether there is no sample with the label values of any of these rows, which are to be added then.
func (f *Family) takes(r *rows) bool {
	if l := r.link.Load(); l != nil && l.before == f.last && !f.mixed {
		f.last = l
		return true
	}
	if f.hasAny(r.places.keys) {
		return false
	}
	if !f.mixed {
		f.last = &link{f.last}
		r.link.Store(f.last)
	}
	return true
}

// hasAny is whether there is a sample with the label values of any of these.
func (f *Family) hasAny(keys []uint64) bool {
	if len(f.parts) == 0 {
		return false
	}
	f.remember()
	for _, key := range keys {
		if _, ok := f.seen[key]; ok {
			return true
		}
	}
	return false
}

// remember begins to keep in mind which label values there are.
func (f *Family) remember() {
	if f.seen != nil {
		return
	}
	n := 0
	for _, p := range f.parts {
		if r, ok := p.(*rows); ok {
			n += 2 * len(r.places.keys) // as many are likely to come
		}
	}
	f.seen = make(map[uint64]struct{}, n)
	for _, p := range f.parts {
		if r, ok := p.(*rows); ok {
			f.note(r.places.keys)
		}
	}
}

func (f *Family) note(keys []uint64) {
	for _, key := range keys {
		f.seen[key] = struct{}{}
	}
}

// add takes a sample that it does not have yet.
func (f *Family) add(s Sample, key uint64) {
	f.seen[key], f.mixed = struct{}{}, true
	m := dtoMetric(s, f.Type, f.order)
	if n := len(f.parts); n > 0 {
		if last, ok := f.parts[n-1].(*single); ok {
			last.dto = append(last.dto, m)
			return
		}
	}
	f.parts = append(f.parts, &single{[]*dto.Metric{m}})
}

// addRows takes rows none of which it has.
func (f *Family) addRows(r *rows) {
	f.parts = append(f.parts, r)
	if f.seen != nil {
		f.note(r.places.keys)
	}
}
