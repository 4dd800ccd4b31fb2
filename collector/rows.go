package collector

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/common/model"
)

// rowDecoder makes samples of one collector's rows.
type rowDecoder struct {
	metrics []Metric
	columns []metricColumns // where each metric finds its parts; nil before the first row
	descs   map[string]*Desc
	sink    Sink
	rooms   []*room
	// err is the first thing wrong with a row; malformed counts them all.
	err       error
	malformed int
	// dropped counts samples that there was no room for, repeated those of a metric without labels behind its first.
	dropped, repeated int
}

type metricColumns struct {
	value, name, help int
	labels            []int
	desc              *Desc // of a metric with a fixed name
	single            bool  // there can be one sample of it
	there             bool  // and it is there
}

// newRowDecoder keeps as many samples as all of the rooms have place for.
func newRowDecoder(metrics []Metric, rooms ...*room) *rowDecoder {
	return &rowDecoder{metrics: metrics, rooms: rooms, descs: map[string]*Desc{}}
}

// row decodes one row; values are text, nil is NULL.
func (d *rowDecoder) row(fields []pgconn.FieldDescription, values [][]byte) {
	if d.columns == nil {
		d.locate(fields)
	}
	for i := range d.columns {
		c := &d.columns[i]
		if c.value < 0 || values[c.value] == nil {
			continue // unknown is absent
		}
		v, ok := parseValue(values[c.value])
		if !ok {
			d.fail(func() error {
				return fmt.Errorf("column %s: %q is not a number", d.metrics[i].Column, shortened(values[c.value], shownText))
			})
			continue
		}
		desc := c.desc
		if desc == nil {
			if desc = d.dynamicDesc(&d.metrics[i], c, values); desc == nil {
				continue
			}
		}
		if c.single && c.there {
			d.repeated++
			continue
		}
		text := 0
		for _, at := range c.labels {
			text += min(len(values[at]), labelLimit)
		}
		if !take(text, d.rooms...) {
			d.dropped++
			continue
		}
		c.there = true
		labels := make([]string, len(c.labels))
		for j, at := range c.labels {
			labels[j] = shortened(values[at], labelLimit)
		}
		d.sink.Add(desc, v, labels...)
	}
}

// locate finds each metric's columns once. One that is missing costs its metric and is an error.
func (d *rowDecoder) locate(fields []pgconn.FieldDescription) {
	at := make(map[string]int, len(fields))
	for i, f := range fields {
		at[f.Name] = i
	}
	find := func(column string) int {
		if i, ok := at[column]; ok {
			return i
		}
		d.fail(func() error { return fmt.Errorf("the query returns no column %q", column) })
		return -1
	}
	d.columns = make([]metricColumns, len(d.metrics))
	for i := range d.metrics {
		m, c := &d.metrics[i], &d.columns[i]
		c.value = find(m.Column)
		if m.Name != "" {
			c.desc = &Desc{Name: m.Name, Help: m.Help, Type: m.Type, Labels: m.Labels}
			c.single = len(m.Labels) == 0
		} else if c.name = find(m.NameColumn); c.name < 0 {
			c.value = -1
		}
		c.help = -1
		if m.HelpColumn != "" {
			c.help = find(m.HelpColumn)
		}
		for _, l := range m.Labels {
			j := find(l)
			if j < 0 {
				c.value = -1
			}
			c.labels = append(c.labels, j)
		}
	}
}

func (d *rowDecoder) dynamicDesc(m *Metric, c *metricColumns, values [][]byte) *Desc {
	name := m.NamePrefix + shortened(values[c.name], nameLimit)
	if desc, ok := d.descs[name]; ok {
		return desc
	}
	if !model.LegacyValidation.IsValidMetricName(name) {
		d.fail(func() error {
			return fmt.Errorf("column %s: %q can't be a metric's name", m.NameColumn, shortened([]byte(name), shownText))
		})
		return nil
	}
	if !take(len(name), d.rooms...) {
		d.dropped++
		return nil
	}
	desc := &Desc{Name: name, Help: m.Help, Type: m.Type, Labels: m.Labels}
	if c.help >= 0 && values[c.help] != nil {
		desc.Help = strings.ToValidUTF8(shortened(values[c.help], labelLimit), "\uFFFD")
	}
	d.descs[name] = desc
	return desc
}

// fail counts what is wrong with a row; the first time it also says it.
func (d *rowDecoder) fail(say func() error) {
	d.malformed++
	if d.err == nil {
		d.err = say()
	}
}

// shownText bounds a server's text in a message.
const shownText = 60

// shortened is at most limit bytes of a server's text. One that is cut may end in half a character, which Sink.Add mends.
func shortened(b []byte, limit int) string { return string(b[:min(len(b), limit)]) }

// parseValue takes a number or a boolean as PostgreSQL prints it.
func parseValue(b []byte) (float64, bool) {
	switch string(b) {
	case "t", "true":
		return 1, true
	case "f", "false":
		return 0, true
	}
	const longest = 400 // digits of a numeric that a float can hold
	if len(b) > longest {
		return 0, false
	}
	v, err := strconv.ParseFloat(string(b), 64)
	return v, err == nil
}
