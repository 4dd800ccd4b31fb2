package docgen

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// client_golang shows a description's parts only in its text.
var descText = regexp.MustCompile(`^Desc\{fqName: ("(?:[^"\\]|\\.)*"), help: ("(?:[^"\\]|\\.)*"),.* variableLabels: \{([^}]*)\}\}$`)

// FromCollector turns what a Prometheus collector describes into metrics of a room. The type is that of
// a sample it collects now; of metrics without a sample a histogram must be named, the others are told
// by their names.
func FromCollector(room string, c prometheus.Collector, histograms ...string) ([]Metric, error) {
	types, err := collectedTypes(c)
	if err != nil {
		return nil, err
	}
	var out []Metric
	for _, d := range drain(c.Describe) {
		m := descText.FindStringSubmatch(d.String())
		if m == nil {
			return nil, fmt.Errorf("read a description of %s: unknown form %s", room, d)
		}
		name, nameErr := strconv.Unquote(m[1])
		help, helpErr := strconv.Unquote(m[2])
		if nameErr != nil || helpErr != nil {
			return nil, fmt.Errorf("read a description of %s: bad quotes in %s", room, d)
		}
		var labels []string
		if m[3] != "" {
			labels = strings.Split(m[3], ",")
		}
		kind := types[d.String()]
		switch {
		case kind != "":
		case slices.Contains(histograms, name):
			kind = "histogram"
		case strings.HasSuffix(name, "_total"):
			kind = "counter"
		default:
			kind = "gauge"
		}
		out = append(out, Metric{Name: name, Type: kind, Help: help, Labels: labels, Room: room})
	}
	return out, nil
}

func collectedTypes(c prometheus.Collector) (map[string]string, error) {
	types := map[string]string{}
	for _, m := range drain(c.Collect) {
		var d dto.Metric
		if err := m.Write(&d); err != nil {
			return nil, fmt.Errorf("read a sample of %s: %w", m.Desc(), err)
		}
		kind := ""
		switch {
		case d.Counter != nil:
			kind = "counter"
		case d.Histogram != nil:
			kind = "histogram"
		case d.Summary != nil:
			kind = "summary"
		case d.Gauge != nil:
			kind = "gauge"
		}
		types[m.Desc().String()] = kind
	}
	return types, nil
}

// drain runs a producer that sends on a channel and returns what it sent.
func drain[T any](produce func(chan<- T)) []T {
	ch := make(chan T)
	go func() {
		produce(ch)
		close(ch)
	}()
	var out []T
	for v := range ch {
		out = append(out, v)
	}
	return out
}
