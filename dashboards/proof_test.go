package dashboards_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// proofSpan is how far back a person looks who opens a board after that minute: "last 5 minutes".
const proofSpan = 5 * time.Minute

// Every query of every board answers with data after a minute in which something of everything happened to real servers
// under our exporter, our backup job, Prometheus with our rules and Alertmanager with our routes. So do the queries of
// the variables and of the annotations.
//
// PG_RELIABILITY_KEEP=30m keeps all of it running for so long afterwards, to be looked at.
func TestEveryPanelHasData(t *testing.T) {
	boards := proofBoards(t)
	h := newHouse(t)
	h.minute()
	t.Cleanup(func() { h.keep() })

	var all []question
	for _, b := range boards {
		all = append(all, b.questions(t, h.prometheus)...)
	}
	failed := answers(h.prometheus, all)
	var names []string
	for _, q := range all {
		names = append(names, q.name)
	}
	for _, complaint := range complaints(names, failed, emptyByDesign) {
		t.Error(complaint)
	}
	for _, b := range boards {
		b.columns(t, h.prometheus)
		if b.UID == "pgr-overview" {
			b.listed(t, h.prometheus, "db4")
		}
	}
	t.Logf("%d queries of %d boards, %d of them empty by design", len(all), len(boards), len(emptyByDesign))
}

// complaints compares which queries had no data with which are meant to have none.
func complaints(names []string, failed map[string]error, design []emptyQuery) []string {
	reasons := map[string]string{}
	for _, e := range design {
		reasons[e.name()] = e.reason
	}
	var all []string
	for _, name := range names {
		reason, listed := reasons[name]
		switch err := failed[name]; {
		case err == nil && listed:
			all = append(all, fmt.Sprintf("%s has data, but is listed as empty by design (%s). HINT: Take it off emptyByDesign", name, reason))
		case err != nil && !listed:
			all = append(all, fmt.Sprintf("%s: %v", name, err))
		}
	}
	for name := range reasons {
		if !slices.Contains(names, name) {
			all = append(all, name+" is listed as empty by design, but no board has it. HINT: Take it off emptyByDesign")
		}
	}
	return all
}

// question is one query, in each form that a choice of variables gives it. One of them must have data: a person who sees
// nothing for one server finds it for another.
type question struct {
	name    string
	exprs   []string
	instant bool
	step    time.Duration
}

func (b proofBoard) questions(t *testing.T, p *proofPrometheus) []question {
	t.Helper()
	step := proofScrape
	builtin := builtins(proofSpan, step)
	choices, err := b.choices(p, builtin)
	if err != nil {
		t.Errorf("%s: %v", b.UID, err)
		return nil
	}
	forms := func(name, expr string, builtin map[string]string) (all []string) {
		for _, c := range choices {
			e, err := c.interpolate(expr, builtin)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return nil
			}
			all = append(all, e)
		}
		return all
	}
	var all []question
	for _, panel := range b.flat() {
		for _, target := range panel.Targets {
			name := strings.Join([]string{b.UID, panel.Title, target.RefID}, " / ")
			if target.Expr == "" || target.Datasource.Type != "" && target.Datasource.Type != "prometheus" {
				t.Errorf("%s asks no Prometheus. HINT: Teach this test to ask %q", name, target.Datasource.Type)
				continue
			}
			own := builtin
			if panel.TimeFrom != "" {
				span, err := grafanaDuration(panel.TimeFrom)
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
				own = builtins(span, step)
			}
			all = append(all, question{name, forms(name, target.Expr, own), target.Instant && !target.Range, step})
		}
	}
	for _, a := range b.Annotations.List {
		if a.Expr != "" {
			name := b.UID + " / annotation / " + a.Name
			all = append(all, question{name, forms(name, a.Expr, builtin), false, step})
		}
	}
	return all
}

// answers asks all questions until each has data, which takes a scrape or two after the minute, for statements their
// second refresh (each minute), and returns by name why those without have none. Those that are to be empty are not
// waited for.
func answers(p *proofPrometheus, all []question) map[string]error {
	hopeless := map[string]bool{}
	for _, e := range emptyByDesign {
		hopeless[e.name()] = true
	}
	failed := map[string]error{}
	deadline := time.Now().Add(75 * time.Second)
	for open := all; len(open) > 0; {
		var waiting []question
		for _, q := range open {
			if failed[q.name] = q.ask(p); failed[q.name] != nil && !hopeless[q.name] {
				waiting = append(waiting, q)
			}
		}
		if open = waiting; time.Now().After(deadline) {
			break
		}
		time.Sleep(time.Second)
	}
	return failed
}

func (q question) ask(p *proofPrometheus) error {
	var failed error
	for _, expr := range q.exprs {
		var found []proofSeries
		var err error
		if q.instant {
			found, err = p.instant(expr)
		} else {
			found, err = p.span(expr, proofSpan, q.step)
		}
		if err == nil && hasData(found) {
			return nil
		}
		failed = errors.Join(failed, err)
	}
	if failed == nil {
		failed = fmt.Errorf("no data for %s", strings.Join(q.exprs, "\nor for "))
	}
	return failed
}

// builtins are Grafana's own variables over a span that is drawn with a point a step.
func builtins(span, step time.Duration) map[string]string {
	rate := max(step+proofScrape, 4*proofScrape)
	return map[string]string{
		"__interval": grafanaText(step), "__interval_ms": strconv.FormatInt(step.Milliseconds(), 10), "__rate_interval": grafanaText(rate),
		"__range": grafanaText(span), "__range_s": strconv.Itoa(int(span.Seconds())), "__range_ms": strconv.FormatInt(span.Milliseconds(), 10),
	}
}

func grafanaText(d time.Duration) string { return strconv.Itoa(int(d.Seconds())) + "s" }

func grafanaDuration(text string) (time.Duration, error) {
	if days, found := strings.CutSuffix(text, "d"); found {
		n, err := strconv.Atoi(days)
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(text)
}

// keep leaves everything running for a while, for a person to look at.
func (h *house) keep() {
	text := os.Getenv("PG_RELIABILITY_KEEP")
	if text == "" {
		return
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		h.Errorf("PG_RELIABILITY_KEEP: %v", err)
		return
	}
	fmt.Fprintf(os.Stderr, "Prometheus %s  Alertmanager %s  until %s\n", h.prometheus.url, h.alertmanager.URL, time.Now().Add(d).
		Format(time.TimeOnly))
	time.Sleep(d)
}
