package dashboards

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// columns of a table. Each value column is a query; all are grouped by the label columns, which join them to rows.
type columns struct {
	labels, names []string // label columns and their titles
	values        []string // titles of the value columns
	first         []string // labels that the first value column alone has
	each          bool     // a row for each distinct first value in the time shown, not for now
	early         string   // the value column that stands beside the first label
	sortBy        string
	up            bool // lowest first
}

// table shows rows as of now: for each set of the label columns' values one.
func table(title, about string) *panel {
	p := newPanel("table", title, about)
	p.table = &columns{}
	p.options = object{"showHeader": true}
	// displayMode is what Grafana 9.4 reads; newer ones turn it into cellOptions.
	p.custom = object{"align": "auto", "displayMode": "auto", "inspect": false, "filterable": false, "minWidth": 90}
	return p
}

// eachOf makes a table of what happened in the time shown: a row for each distinct first value, with the highest of the
// others. It asks for the end of the time as well: with steps of hours that is after the last one.
func (p *panel) eachOf() *panel { p.table.each = true; return p }

// label adds a label as a column.
func (p *panel) label(label, title string, properties ...property) *panel {
	p.table.labels = append(p.table.labels, label)
	p.table.names = append(p.table.names, title)
	if len(properties) > 0 {
		p.called(title, properties...)
	}
	return p
}

// sometimes adds a label as a column that the next column's query may have, and no other: where it has not, there is no such column.
func (p *panel) sometimes(label, title string) *panel {
	p.table.first = append(p.table.first, label)
	return p.label(label, title)
}

// column adds a query's values as a column. Label columns come first.
func (p *panel) column(title, expr string, properties ...property) *panel {
	labels := append(p.table.unseen(), p.table.labels...)
	if len(p.table.values) > 0 {
		labels = slices.DeleteFunc(labels, func(label string) bool { return slices.Contains(p.table.first, label) })
	}
	expr = fmt.Sprintf("max by (%s) (%s)", strings.Join(labels, ", "), expr)
	p.queries = append(p.queries, query{expr: expr, format: "table", instant: true, span: p.table.each})
	p.table.values = append(p.table.values, title)
	if len(properties) > 0 {
		p.called(title, properties...)
	}
	return p
}

// unseen are labels that keep servers of the same name apart and are no columns.
func (c *columns) unseen() []string {
	return slices.DeleteFunc([]string{"job", "cluster"}, func(label string) bool { return slices.Contains(c.labels, label) })
}

// beside puts a value column next to the first label: what a narrow screen has to show.
func (p *panel) beside(title string) *panel { p.table.early = title; return p }

// sorted puts the highest values of a column first.
func (p *panel) sorted(title string) *panel { p.table.sortBy = title; return p }

// emptyCell has no colour: what is not known is neither good nor bad. (null+nan would match every text.)
func emptyCell(match string) object {
	return object{"type": "special", "options": object{"match": match, "result": object{"text": "–", "color": "transparent", "index": 100}}}
}

// wordFor is what a table shows in the place of a label's value.
func wordFor(value, text, color string, index int) object {
	return object{"type": "value", "options": object{value: object{"text": text, "color": color, "index": index}}}
}

// wordForNone is what a table shows where there is no value.
func wordForNone(text string) object {
	return object{"type": "special", "options": object{"match": "null", "result": object{"text": text, "index": 0}}}
}

// sortedUp puts the lowest values, or the first in the alphabet, first.
func (p *panel) sortedUp(title string) *panel { p.table.sortBy, p.table.up = title, true; return p }

// filled colours the cell as its threshold or word says.
func filled() property { return property{"custom.displayMode", "color-background-solid"} }

// place of a column from the left, in whole numbers: Grafana puts others at the end.
func (c *columns) place(title string, n int) int {
	switch {
	case c.early == "" || n == 0:
		return n
	case title == c.early:
		return 1
	default: // the columns that the early one would stand behind make room, and a gap does no harm
		return n + 1
	}
}

// complete adds what turns queries into rows.
func (c *columns) complete(p *panel) {
	rename, order := object{}, object{}
	fields, excluded := object{}, object{"Time": true}
	for _, l := range c.unseen() {
		fields[l] = object{"aggregations": []string{}, "operation": "groupby"}
		excluded[l] = true
	}
	for i, l := range c.labels {
		rename[l], order[l] = c.names[i], c.place(c.names[i], i)
		fields[l] = object{"aggregations": []string{}, "operation": "groupby"}
	}
	for i, title := range c.values {
		names := []string{"Value #" + refID(i)}
		if i == 0 { // what Grafana calls it when no other query has data
			names = append(names, "Value")
		}
		for _, field := range names {
			fields[field] = object{"aggregations": []string{}, "operation": "groupby"}
			if c.each && i > 0 {
				fields[field] = object{"aggregations": []string{"max"}, "operation": "aggregate"}
				field += " (max)"
			}
			rename[field], order[field] = title, c.place(title, len(c.labels)+i)
		}
	}
	p.transformations = append(p.transformations, object{"id": "merge", "options": object{}})
	if c.each {
		p.transformations = append(p.transformations, object{"id": "groupBy", "options": object{"fields": fields}})
	}
	p.transformations = append(p.transformations, object{"id": "organize", "options": object{
		"excludeByName": excluded, "indexByName": order, "renameByName": rename,
	}})
	if c.sortBy != "" {
		p.options["sortBy"] = []object{{"displayName": c.sortBy, "desc": !c.up}}
	}
	p.mappings = append(p.mappings, emptyCell("null"), emptyCell("empty"))
	// Labels are text, whatever they look like: Grafana makes 15.2 of the version 15.18 where nobody says so.
	titles := make([]string, len(c.names))
	for i, name := range c.names {
		titles[i] = regexp.QuoteMeta(name)
	}
	p.overrides = slices.Insert(p.overrides, 0, override("byRegexp", "("+strings.Join(titles, "|")+")", []property{unit("string")}))
	for _, o := range p.overrides {
		for _, property := range o["properties"].([]object) {
			if words, ok := property["value"].([]object); ok && property["id"] == "mappings" {
				property["value"] = append(words, emptyCell("null"), emptyCell("empty"))
			}
		}
	}
}
