package page

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/incident"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

// TestIncidentsEscape: what a server said is text, wherever it is shown.
func TestIncidentsEscape(t *testing.T) {
	const bad = `"><script>alert(1)</script>'|` + "`*_[x](javascript:y)\x1b]0;pwn\a"
	var w incident.Window
	var s incident.Story
	var list incident.Summary
	fill(reflect.ValueOf(&w).Elem(), bad)
	fill(reflect.ValueOf(&s).Elem(), bad)
	fill(reflect.ValueOf(&list).Elem(), bad)
	now := time.Date(2026, 5, 4, 12, 0, 30, 0, time.UTC)
	p := NewIncidents()
	var one, all bytes.Buffer
	if err := p.RenderOne(&one, Links{"../", "../"}, w, s, now); err != nil {
		t.Fatal(err)
	}
	if err := p.RenderList(&all, bad, Links{"./", "./"}, []incident.Summary{list, list}, now); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"one": one.String(), "list": all.String()} {
		if strings.Contains(text, "<script>alert") || strings.Contains(text, `href="javascript:`) {
			t.Errorf("%s: what a server said is markup:\n%s", name, text)
		}
		if strings.ContainsAny(text, "\x1b\a") {
			t.Errorf("%s: what a server said moves a terminal", name)
		}
		if !strings.Contains(text, "&lt;script&gt;") {
			t.Errorf("%s: what a server said is not shown", name)
		}
	}
	if text := incident.Markdown(&w, s, now); strings.ContainsAny(text, "\x1b\a") {
		t.Error("Markdown: what a server said moves a terminal")
	} else if strings.Contains(text, "\n# "+bad) || strings.Contains(text, "[x](") &&
		!strings.Contains(text, `\[x\](`) {
		t.Errorf("what a server said is markup:\n%s", text)
	}
}

// TestTimeline draws what is in the window, within its edges.
func TestTimeline(t *testing.T) {
	start := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	w := incident.Window{Start: start, End: start.Add(10 * time.Second)}
	for i := -100; i < 100; i++ {
		reason := "ok"
		if i >= 0 && i < 10 {
			reason = "refused"
		}
		w.Probes = append(w.Probes, incident.Probe{At: start.Add(time.Duration(i) * time.Second), Probe: "read", Reason: reason, Seconds: 0.002})
	}
	p := newTimeline(&w, start)
	if len(p.Down) != 10 || p.Top != 0.002 || p.X != 360 || p.Span != 60 || strings.Count(string(p.Latency), "M") != 2 {
		t.Errorf("%+v", p)
	}
	w.End = time.Time{}
	if p := newTimeline(&w, start.Add(24*time.Hour)); p.To.Sub(p.From) > longestDrawn+time.Minute {
		t.Errorf("%s are drawn", p.To.Sub(p.From))
	}
	if p := newTimeline(&incident.Window{Start: start}, start); p.Latency != "" || p.Top != 0 {
		t.Errorf("of nothing there is %+v", p)
	}
}

// TestNobodyWaitsInNoLine: a red line at nought looks like an alarm, and a screen reader says who waited, too.
func TestNobodyWaitsInNoLine(t *testing.T) {
	start := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	for blocked, want := range map[int]int{0: 0, 2: 2} { // the line, and its key in the legend
		w := incident.Window{Start: start, End: start.Add(time.Second)}
		for i := range 5 {
			w.Samples = append(w.Samples, incident.Sample{At: start.Add(time.Duration(i) * time.Second), Used: 3, Blocked: blocked * i / 4})
		}
		var b bytes.Buffer
		if err := NewIncidents().RenderOne(&b, Links{"../", "../"}, w, incident.Story{}, start); err != nil {
			t.Fatal(err)
		}
		_, text, _ := strings.Cut(b.String(), "</style>")
		lines := strings.Count(text, `class="blocked"`) + strings.Count(text, `class="key blocked"`)
		if said := strings.Contains(text, "3 connections in use, 2 waiting for a lock"); lines != want || said != (blocked > 0) {
			t.Errorf("%d wait: %d lines and keys, said: %t", blocked, lines, said)
		}
	}
}

// TestAnOutageLeadsToItsStory: the status page says why, while it lasts and afterwards.
func TestAnOutageLeadsToItsStory(t *testing.T) {
	start := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	s := status.Status{GeneratedAt: start.Add(time.Minute), State: status.State{Status: status.Down, Reason: "refused"}}
	s.Outages.Recent = []status.Outage{{Start: start, Reason: "refused"}, {Start: start.Add(-time.Hour), Reason: "refused"}}
	kept := []incident.Summary{{ID: "20260504T120000.000Z-outage", Kind: incident.Outage, Start: start, Cause: incident.Stopped,
		Sure: incident.Certain, Sentence: "It was <told> to stop."}}
	page := draw(t, s, View{Incidents: kept})
	for _, want := range []string{`<p class="why">It was &lt;told&gt; to stop. (certain)</p>`,
		`<a href="incidents/20260504T120000.000Z-outage">stopped</a>`, `<a href="incidents">Incidents</a>`} {
		if strings.Count(page, want) != 1 {
			t.Errorf("%d times on the page: %s", strings.Count(page, want), want)
		}
	}
	if page := draw(t, s, View{}); strings.Contains(page, "incidents") {
		t.Error("there are no incidents, and a link to them")
	}
}
