package pgbouncer

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// mostRows is how many rows of an answer become samples.
const mostRows = 200

// table is a question to the console and what its answer becomes: rows whose columns are metrics, or pairs of a key and a value.
type table struct {
	question string
	// called is the answer's name in our label.
	called string

	labels  []string
	columns []column
	// busiest are the columns by which rows are put in order, the largest first, where not all of them fit.
	busiest []string

	key, value string
	keys       map[string]*metric.Desc
}

// column is one metric of a row.
type column struct {
	from  []string // the first of these columns that there is
	micro string   // a further column, of microseconds, that is added
	scale float64  // 0 is 1
	desc  *metric.Desc
}

// emit adds what it finds. An answer without the columns that its rows are told apart by is none.
func (t table) emit(out *metric.Sink, answer postgres.Table) error {
	at := make(map[string]int, len(answer.Columns))
	for i, c := range answer.Columns {
		at[c] = i
	}
	get := func(row []*string, column string) *string {
		if i, ok := at[column]; ok {
			return row[i]
		}
		return nil
	}
	if t.key != "" {
		for _, row := range answer.Rows {
			if desc := t.keys[name(get(row, t.key))]; desc != nil {
				if v, ok := number(get(row, t.value)); ok {
					out.Add(desc, v)
				}
			}
		}
		return t.need(at, t.key, t.value)
	}
	if err := t.need(at, t.labels[0], t.columns[0].from[0]); err != nil {
		return err
	}
	rows := answer.Rows
	if len(rows) > mostRows {
		slices.SortStableFunc(rows, func(a, b []*string) int {
			for _, c := range t.busiest {
				x, _ := number(get(a, c))
				y, _ := number(get(b, c))
				if order := cmp.Compare(y, x); order != 0 {
					return order
				}
			}
			return 0
		})
		rows = rows[:mostRows]
	}
	out.Add(LeftOut, float64(len(answer.Rows)-len(rows)), t.called)
	for _, row := range rows {
		for _, c := range t.columns {
			if v, ok := c.read(func(column string) *string { return get(row, column) }); ok {
				labels := make([]string, len(t.labels))
				for i, l := range t.labels {
					labels[i] = name(get(row, l))
				}
				out.Add(c.desc, v, labels...)
			}
		}
	}
	return nil
}

// need says that columns are there.
func (t table) need(at map[string]int, columns ...string) error {
	for _, c := range columns {
		if _, ok := at[c]; !ok {
			return fmt.Errorf("the answer to %s has no column %s: is it PgBouncer?", t.question, c)
		}
	}
	return nil
}

// read is the metric's value in a row; false where the row has none.
func (c column) read(get func(column string) *string) (float64, bool) {
	for _, from := range c.from {
		if v, ok := number(get(from)); ok {
			if c.micro != "" {
				us, _ := number(get(c.micro))
				v += us * perMicrosecond
			}
			return v * cmp.Or(c.scale, 1), true
		}
	}
	return 0, false
}
