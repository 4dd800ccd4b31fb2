package collector

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/common/model"
)

// rowDecoder makes samples of one collector's rows.
type rowDecoder struct {
	metrics []Metric
	columns []metricColumns // where each metric finds its parts; nil before the first row
	descs   map[string]*Desc
	sink    Sink
	// err is the first thing wrong with a row; malformed counts them all.
	err       error
	malformed int
}

type metricColumns struct {
	value, name, help int
	labels            []int
	desc              *Desc // of a metric with a fixed name
}

func newRowDecoder(metrics []Metric) *rowDecoder {
	return &rowDecoder{metrics: metrics, descs: map[string]*Desc{}}
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
		v, err := parseValue(values[c.value])
		if err != nil {
			d.fail(fmt.Errorf("column %s: %w", d.metrics[i].Column, err))
			continue
		}
		desc := c.desc
		if desc == nil {
			if desc = d.dynamicDesc(&d.metrics[i], c, values); desc == nil {
				continue
			}
		}
		labels := make([]string, len(c.labels))
		for j, at := range c.labels {
			labels[j] = string(values[at])
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
		d.fail(fmt.Errorf("the query returns no column %q", column))
		return -1
	}
	d.columns = make([]metricColumns, len(d.metrics))
	for i := range d.metrics {
		m, c := &d.metrics[i], &d.columns[i]
		c.value = find(m.Column)
		if m.Name != "" {
			c.desc = &Desc{Name: m.Name, Help: m.Help, Type: m.Type, Labels: m.Labels}
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
	name := m.NamePrefix + string(values[c.name])
	if desc, ok := d.descs[name]; ok {
		return desc
	}
	if !model.LegacyValidation.IsValidMetricName(name) {
		d.fail(fmt.Errorf("column %s: %q is no name for a metric", m.NameColumn, name))
		return nil
	}
	desc := &Desc{Name: name, Help: m.Help, Type: m.Type, Labels: m.Labels}
	if c.help >= 0 && values[c.help] != nil {
		desc.Help = string(values[c.help])
	}
	d.descs[name] = desc
	return desc
}

func (d *rowDecoder) fail(err error) {
	d.malformed++
	if d.err == nil {
		d.err = err
	}
}

var errNotANumber = errors.New("is not a number")

// parseValue takes a number or a boolean as PostgreSQL prints it.
func parseValue(b []byte) (float64, error) {
	switch string(b) {
	case "t", "true":
		return 1, nil
	case "f", "false":
		return 0, nil
	}
	v, err := strconv.ParseFloat(string(b), 64)
	if err != nil {
		return 0, fmt.Errorf("%q %w", b, errNotANumber)
	}
	return v, nil
}
