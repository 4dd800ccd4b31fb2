package definition

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/common/model"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

// Decoder makes samples of one collector's rows.
type Decoder struct {
	metrics []Metric
	columns []metricColumns // where each metric finds its parts; nil before the first row
	descs   map[string]*metric.Desc
	newest  []string // text of each column that is a label, of the newest row
	sink    metric.Sink
	rooms   []*metric.Room
	// Err is the first thing wrong with a row; Malformed counts them all.
	Err       error
	Malformed int
	// Lacks is set where the query returns no column of a name that a metric asks for: its samples can't be there.
	Lacks bool
	// Dropped counts samples that there was no room for, Starved those that there was no memory for, and Repeated those of a metric without
	// labels behind its first.
	Dropped, Starved, Repeated int
	run                        *metric.Run
	text                       int // of the labels of those that were kept, and of the starved ones, in bytes
}

type metricColumns struct {
	value, name, help int
	labels            []int
	desc              *metric.Desc // of a metric with a fixed name
	single            bool         // there can be one sample of it
	there             bool         // and it is there
}

// NewDecoder keeps as many samples as all of the rooms have place for.
func NewDecoder(metrics []Metric, rooms ...*metric.Room) *Decoder {
	return &Decoder{metrics: metrics, rooms: rooms, descs: map[string]*metric.Desc{}}
}

// Within makes the decoder keep no more than the run may.
func (d *Decoder) Within(run *metric.Run) *Decoder {
	d.run = run
	return d
}

// Want is the memory of the samples that there would be without the run's bound, in bytes.
func (d *Decoder) Want() int64 { return metric.Cost(len(d.sink.Samples)+d.Starved, d.text) }

// take keeps a sample's place.
func (d *Decoder) take(text int) bool {
	if !metric.Take(text, d.rooms...) {
		d.Dropped++
		return false
	}
	d.text += text
	if !d.run.Take(text) {
		d.Starved++
		return false
	}
	return true
}

// Row decodes one row; values are text, nil is NULL.
func (d *Decoder) Row(fields []pgconn.FieldDescription, values [][]byte) {
	if d.columns == nil {
		d.locate(fields)
	}
	var last *metricColumns // the newest one that was kept, and its labels
	var labels []string
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
			d.Repeated++
			continue
		}
		text := 0
		for _, at := range c.labels {
			text += min(len(values[at]), labelLimit)
		}
		if !d.take(text) {
			continue
		}
		c.there = true
		if last == nil || !slices.Equal(last.labels, c.labels) { // a row's metrics mostly have the same labels, and share them
			last, labels = c, make([]string, len(c.labels))
			for j, at := range c.labels {
				labels[j] = d.label(at, values[at])
			}
		}
		d.sink.Add(desc, v, labels...)
	}
}

// label is a label's text. That of the row before is taken where it is the same, as a database's name mostly is.
func (d *Decoder) label(at int, value []byte) string {
	value = value[:min(len(value), labelLimit)]
	if d.newest[at] != string(value) {
		d.newest[at] = string(value)
	}
	return d.newest[at]
}

// Expect makes room for so many samples, as there are likely to come.
func (d *Decoder) Expect(samples int) *Decoder {
	d.sink.Samples = make([]metric.Sample, 0, samples)
	return d
}

// locate finds each metric's columns once. One that is missing costs its metric and is an error.
func (d *Decoder) locate(fields []pgconn.FieldDescription) {
	at := make(map[string]int, len(fields))
	for i, f := range fields {
		at[f.Name] = i
	}
	find := func(column string) int {
		if i, ok := at[column]; ok {
			return i
		}
		d.Lacks = true
		d.fail(func() error {
			return fmt.Errorf("the query returns no column %q. HINT: Name it so with AS, or correct the metric's", column)
		})
		return -1
	}
	d.newest = make([]string, len(fields))
	d.columns = make([]metricColumns, len(d.metrics))
	for i := range d.metrics {
		m, c := &d.metrics[i], &d.columns[i]
		c.value = find(m.Column)
		if m.Name != "" {
			c.desc = m.desc()
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

func (d *Decoder) dynamicDesc(m *Metric, c *metricColumns, values [][]byte) *metric.Desc {
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
	if !d.take(len(name)) {
		return nil
	}
	n := named{name, m.Help}
	if c.help >= 0 && values[c.help] != nil {
		n.help = strings.ToValidUTF8(shortened(values[c.help], labelLimit), "\uFFFD")
	}
	desc := m.descOf(n)
	d.descs[name] = desc
	return desc
}

// Samples are those of the rows so far.
func (d *Decoder) Samples() []metric.Sample { return d.sink.Samples }

// fail counts what is wrong with a row; the first time it also says it.
func (d *Decoder) fail(say func() error) {
	d.Malformed++
	if d.Err == nil {
		d.Err = say()
	}
}

const (
	// shownText bounds a server's text in a message.
	shownText = 60
	// labelLimit bounds one label's text, in bytes: a name in PostgreSQL has 63.
	labelLimit = 1000
	// nameLimit bounds a metric's name that comes from a column.
	nameLimit = 200
)

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
