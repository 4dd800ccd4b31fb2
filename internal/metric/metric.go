// Package metric is what a metric is: its description, its samples, where they are put, and the form the library encodes.
//
// Each room describes its metrics once, as variables of type *Desc made by a List, and returns that list from a function Declared.
// What fills a page, what writes the catalogue of metrics, what reserves names, and what checks boards and alerts reads these.
package metric

import "slices"

// Type is a metric's Prometheus type.
type Type string

// The types there are: what goes up and down, what only grows, and how often values were how large.
const (
	Gauge     Type = "gauge"
	Counter   Type = "counter"
	Histogram Type = "histogram"
)

// Desc describes one metric. It is never written to once it is made.
type Desc struct {
	// Name ends in the unit, as Prometheus' rules for names have it: _seconds, _bytes, _ratio, and _total for what is counted.
	Name   string
	Help   string
	Type   Type
	Labels []string
}

// List is the metrics of one room, in the order in which they are described.
type List []*Desc

// Gauge describes what goes up and down.
func (l *List) Gauge(name, help string, labels ...string) *Desc {
	return l.add(name, help, Gauge, labels)
}

// Counter describes what only grows.
func (l *List) Counter(name, help string, labels ...string) *Desc {
	return l.add(name, help, Counter, labels)
}

// Histogram describes how often values were how large.
func (l *List) Histogram(name, help string, labels ...string) *Desc {
	return l.add(name, help, Histogram, labels)
}

func (l *List) add(name, help string, typ Type, labels []string) *Desc {
	d := &Desc{Name: name, Help: help, Type: typ, Labels: labels}
	*l = append(*l, d)
	return d
}

// same is whether another description says the same.
func (d *Desc) same(o *Desc) bool {
	return d == o || d.Name == o.Name && d.Help == o.Help && d.Type == o.Type && slices.Equal(d.Labels, o.Labels)
}
