package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// watch sees the database through the exporter alone, as its users do.
type watch struct {
	console    *console
	exporter   *exporter
	prometheus *prometheus
	started    time.Time

	was     string // status and reason of the newest look
	scrape  string // what Prometheus said
	counted counts
}

// counts are read from the exporter's metrics.
type counts struct {
	outages, restarts, downtime float64
	// good and verified backups; negative while there is no repository.
	good, verified float64
}

func newWatch(c *console, e *exporter, p *prometheus) *watch {
	return &watch{console: c, exporter: e, prometheus: p, started: time.Now(), scrape: "unknown", counted: counts{good: -1}}
}

// health is what the demo needs of /api/health/detailed.
type health struct {
	Status, Reason string
	Outage         *struct{ Seconds float64 }
	Checks         []struct {
		Name, Status string
		Latency      *float64 `json:"latency_seconds"`
	}
}

// look writes one status line.
func (w *watch) look(ctx context.Context) {
	var h health
	err := get(ctx, "http://"+w.exporter.address+"/api/health/detailed", func(resp *http.Response) error {
		return json.NewDecoder(resp.Body).Decode(&h)
	})
	if err != nil {
		w.console.status("the exporter does not answer: " + err.Error())
		return
	}
	w.counted = w.count(ctx)
	now := h.Status
	if h.Status != "up" {
		now += ": " + h.Reason
	}
	if now != w.was && w.was != "" {
		w.console.event("%s", w.console.paint(now, h.Status == "up"))
	}
	w.was = now

	parts := []string{now}
	if h.Outage != nil {
		parts[0] += fmt.Sprintf(" for %.0f s", h.Outage.Seconds)
	}
	for _, c := range h.Checks {
		if c.Status == "up" && c.Latency != nil {
			parts = append(parts, fmt.Sprintf("%s %.1f ms", c.Name, *c.Latency*1000))
		}
	}
	parts = append(parts, w.counted.String())
	if w.prometheus.missing == "" {
		parts = append(parts, w.scraped(ctx))
	}
	w.console.status(strings.Join(parts, " | "))
}

func (c counts) String() string {
	text := fmt.Sprintf("outages %.0f (%.1f s) | restarts %.0f", c.outages, c.downtime, c.restarts)
	if c.good >= 0 {
		text += fmt.Sprintf(" | backups %.0f, verified %.0f", c.good, c.verified)
	}
	return text
}

func (w *watch) count(ctx context.Context) counts {
	c := w.counted
	_ = get(ctx, "http://"+w.exporter.address+"/metrics", func(resp *http.Response) error {
		parser := expfmt.NewTextParser(model.LegacyValidation)
		families, err := parser.TextToMetricFamilies(resp.Body)
		if err != nil {
			return err
		}
		sum := func(name string) (total float64) {
			for _, m := range families[name].GetMetric() {
				total += m.GetCounter().GetValue()
			}
			return total
		}
		c = counts{
			outages:  sum("pg_reliability_outages_total"),
			restarts: sum("pg_reliability_restarts_total"),
			downtime: sum("pg_reliability_downtime_seconds_total"),
			good:     -1,
		}
		for _, m := range families["pg_reliability_backup_count"].GetMetric() {
			c.good = max(c.good, 0)
			switch state := m.GetLabel()[0].GetValue(); state {
			case "verified":
				c.good += m.GetUntyped().GetValue()
				c.verified = m.GetUntyped().GetValue()
			case "unverified":
				c.good += m.GetUntyped().GetValue()
			}
		}
		return nil
	})
	return c
}

// scraped says a change of Prometheus' mind once.
func (w *watch) scraped(ctx context.Context) string {
	health, lastError := w.prometheus.scrape(ctx)
	if health != w.scrape && health == "down" {
		w.console.event("Prometheus can't scrape: %s", lastError)
	}
	w.scrape = health
	switch health {
	case "up":
		return "scrape ok"
	case "unknown":
		return "no scrape yet"
	}
	return "scrape fails"
}

func (w *watch) summary() {
	line := fmt.Sprintf("Ran %s: %s", time.Since(w.started).Round(time.Second), w.counted)
	if w.prometheus.missing == "" {
		line += ", Prometheus' newest scrape " + w.scrape
	}
	w.console.end(line)
}
