//go:build linux

package compose_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// page is one scrape of the exporter, asked from Prometheus' container, as Prometheus asks it.
type page map[string]float64

func (s *stack) page() (page, error) {
	text, err := s.try("exec", s.container("prometheus"), "wget", "-q", "-T", "10", "-O", "-", "http://exporter:9187/metrics")
	if err != nil {
		return nil, fmt.Errorf("scrape: %s", tail(err.Error(), 300))
	}
	p := page{}
	for line := range strings.Lines(text) {
		at := strings.LastIndexByte(strings.TrimSpace(line), ' ')
		if at < 0 || line[0] == '#' {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(line)[at+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("%q is no sample: %w", line, err)
		}
		p[line[:at]] = v
	}
	return p, nil
}

// sum adds up a metric over its labels.
func (p page) sum(name string) float64 {
	var total float64
	for k, v := range p {
		if k == name || strings.HasPrefix(k, name+"{") {
			total += v
		}
	}
	return total
}

// has returns an error unless each of the samples has its value.
func (p page) has(want map[string]float64) error {
	for name, w := range want {
		if got, ok := p[name]; !ok || got != w {
			return fmt.Errorf("%s is %v (there: %v), want %v", name, got, ok, w)
		}
	}
	return nil
}

// shows waits for nothing: it is the error of now.
func (s *stack) shows(want map[string]float64) error {
	p, err := s.page()
	if err != nil {
		return err
	}
	return p.has(want)
}

// prometheus asks Prometheus' API.
func (s *stack) prometheus(path string, query url.Values, into any) error {
	u := "http://127.0.0.1:9090/api/v1/" + path
	if len(query) > 0 {
		u += "?" + query.Encode()
	}
	text, err := s.try("exec", s.container("prometheus"), "wget", "-q", "-T", "10", "-O", "-", u)
	if err != nil {
		return fmt.Errorf("ask Prometheus for %s %s: %s", path, query.Get("query"), tail(err.Error(), 300))
	}
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil || answer.Status != "success" {
		return fmt.Errorf("ask Prometheus for %s: %w %s %s", path, err, answer.Error, tail(text, 300))
	}
	return json.Unmarshal(answer.Data, into)
}

type sample struct {
	Metric map[string]string
	Value  []any
}

func (s *stack) query(promql string) ([]sample, error) {
	var data struct{ Result []sample }
	err := s.prometheus("query", url.Values{"query": {promql}}, &data)
	return data.Result, err
}

// targets returns an error unless every target is up, and there are as many as the services that are scraped.
func (s *stack) targets() error {
	var data struct {
		ActiveTargets []struct {
			Health, LastError string
			Labels            map[string]string
		}
	}
	if err := s.prometheus("targets", url.Values{"state": {"active"}}, &data); err != nil {
		return err
	}
	jobs := map[string]bool{}
	for _, t := range data.ActiveTargets {
		jobs[t.Labels["job"]] = true
		if t.Health != "up" {
			return fmt.Errorf("target %v is %s: %s", t.Labels, t.Health, t.LastError)
		}
	}
	for _, job := range []string{"postgres", "backup", "prometheus", "alertmanager"} {
		if !jobs[job] {
			return fmt.Errorf("job %s has no target", job)
		}
	}
	return nil
}

// firing returns an error unless Alertmanager holds the alert.
func (s *stack) firing(alert string) error {
	text, err := s.try("exec", s.container("alertmanager"), "wget", "-q", "-O", "-", "http://127.0.0.1:9093/api/v2/alerts?filter=alertname%3D"+
		alert)
	if err != nil {
		return err
	}
	var alerts []json.RawMessage
	if err := json.Unmarshal([]byte(text), &alerts); err != nil {
		return fmt.Errorf("Alertmanager says %s: %w", tail(text, 300), err)
	}
	if len(alerts) == 0 {
		return fmt.Errorf("%s is not firing", alert)
	}
	return nil
}
