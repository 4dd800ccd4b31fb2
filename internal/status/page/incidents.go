package page

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/incident"
	"github.com/pg-reliability/pg_reliability_exporter/internal/sessions"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

//go:embed incidents.html
var incidentsSource string

// Incidents draws the list of incidents and one of them. It is safe for concurrent use.
type Incidents struct {
	template func() *template.Template
}

// NewIncidents makes one. The template is read at the first page.
func NewIncidents() *Incidents {
	return &Incidents{template: sync.OnceValue(func() *template.Template {
		functions := template.FuncMap{
			"lasting": status.Lasting, "moment": status.Moment, "title": title, "offset": incident.Offset,
			"words": func(word string) string { return strings.ReplaceAll(word, "_", " ") },
			"date":  func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
			"day":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }, // under a heading that says UTC
			"waits": waits,
			"clock": func(t time.Time) string { return t.UTC().Format("15:04:05.000") },
		}
		return template.Must(template.New("incidents").Funcs(functions).Parse(incidentsSource))
	})}
}

// listed is one incident of the list.
type listed struct {
	incident.Summary
	Seconds float64
}

// Links lead away from a page: to the status page, and to the directory that has incidents and api/incidents, such as "../".
type Links struct{ Status, Root string }

// RenderList writes the list.
func (p *Incidents) RenderList(w io.Writer, target string, links Links, list []incident.Summary, now time.Time) error {
	var lines []listed
	for _, s := range list {
		end := s.End
		if end.IsZero() {
			end = now
		}
		lines = append(lines, listed{s, max(0, end.Sub(s.Start).Seconds())})
	}
	return p.render(w, "list", map[string]any{"Style": template.CSS(style), "Target": target, "Root": links.Root, "Status": links.Status, "Lines": lines, "Now": now}) //nolint:gosec // our own
}

// RenderOne writes one incident.
func (p *Incidents) RenderOne(w io.Writer, links Links, is incident.Window, story incident.Story, now time.Time) error {
	return p.render(w, "one", map[string]any{
		"Style": template.CSS(style), "Root": links.Root, "Status": links.Status, "W": is, "S": story, "Now": now, "Seconds": is.Seconds(now), "Going": is.End.IsZero(), //nolint:gosec // our own
		"Plot": newTimeline(&is, now), "Changes": changes(is.Probes),
	})
}

func (p *Incidents) render(w io.Writer, name string, data any) error {
	if err := p.template().ExecuteTemplate(plain{w}, name, data); err != nil {
		return fmt.Errorf("draw the page of incidents: %w", err)
	}
	return nil
}

// waits says what sessions waited for.
func waits(of []sessions.Wait) string {
	var parts []string
	for _, w := range of {
		parts = append(parts, fmt.Sprintf("%s %d", strings.Replace(w.Event, "none", "running", 1), w.Sessions))
	}
	return strings.Join(parts, ", ")
}

// changes are the probes whose reason is not that of the one before, of each kind.
func changes(probes []incident.Probe) (out []incident.Probe) {
	last := map[string]string{}
	for _, p := range probes {
		if last[p.Probe] != p.Reason || p.Stalled {
			out = append(out, p)
		}
		last[p.Probe] = p.Reason
	}
	return out
}

// timeline is a window as a drawing: the latency of reads, when probes failed, and when the server's log said something.
type timeline struct {
	Width, Height, Strip float64
	From, To             time.Time
	// Latency is a line of the reads that succeeded; empty where there are fewer than two.
	Latency template.HTMLAttr
	Top     float64 // seconds at its upper edge
	Down    []bar
	Marks   []mark
	// Used, Active and Blocked are lines of sessions; empty without samples, and of what there was none. Most is at their upper edge.
	Used, Active, Blocked template.HTMLAttr
	Most, MostBlocked     int
	// Start and Width of the incident.
	X, Span     float64
	Alternative string
}

// sessions draws what was seen of them.
func (t *timeline) sessions(samples []incident.Sample, x func(time.Time) float64) {
	for _, s := range samples {
		t.Most, t.MostBlocked = max(t.Most, s.Used), max(t.MostBlocked, s.Blocked)
	}
	line := func(value func(incident.Sample) int) template.HTMLAttr {
		var points strings.Builder
		pen, last, most := "M", time.Time{}, 0
		for _, s := range samples {
			if s.At.Before(t.From) || s.At.After(t.To) {
				continue
			}
			if s.At.Sub(last) > sampleGap {
				pen = "M"
			}
			fmt.Fprintf(&points, "%s%.1f %.1f", pen, x(s.At), plotHeight-1-(plotHeight-2)*float64(value(s))/float64(t.Most))
			pen, last, most = "L", s.At, max(most, value(s))
		}
		if most == 0 {
			return ""
		}
		return template.HTMLAttr(`d="` + points.String() + `"`) //nolint:gosec // numbers alone
	}
	if t.Most > 0 {
		t.Used = line(func(s incident.Sample) int { return s.Used })
		t.Active = line(func(s incident.Sample) int { return s.Active })
		t.Blocked = line(func(s incident.Sample) int { return s.Blocked })
	}
}

// sampleGap is a time without samples in which nothing is known.
const sampleGap = 5 * time.Second

// mark is a line of the log.
type mark struct {
	X     float64
	Title string
}

// longestDrawn is how much of an incident is drawn: its beginning tells why it came.
const longestDrawn = 10 * time.Minute

func newTimeline(w *incident.Window, now time.Time) timeline {
	end := w.End
	if end.IsZero() {
		end = now
	}
	t := timeline{Width: plotWidth, Height: plotHeight, Strip: stripHeight, From: w.Start.Add(-incident.Before), To: end.Add(incident.After)}
	if latest := w.Start.Add(longestDrawn); t.To.After(latest) {
		t.To, end = latest, latest
	}
	x := func(at time.Time) float64 {
		return min(max(0, at.Sub(t.From).Seconds()/t.To.Sub(t.From).Seconds()*plotWidth), plotWidth)
	}
	t.X, t.Span = x(w.Start), max(1, x(end)-x(w.Start))
	for _, p := range w.Probes {
		if p.Probe == "read" && p.Reason == "ok" && p.At.Before(t.To) {
			t.Top = max(t.Top, p.Seconds)
		}
	}
	var points strings.Builder
	drawn, pen := 0, "M"
	failed := 0
	for _, p := range w.Probes {
		if p.At.Before(t.From) || p.At.After(t.To) {
			continue
		}
		if p.Reason != "ok" {
			failed++
			t.Down = append(t.Down, bar{X: x(p.At.Add(-time.Duration(p.Seconds * float64(time.Second)))), Width: 3,
				Title: fmt.Sprintf("%s: %s", p.Probe, p.Reason)})
			if p.Probe == "read" {
				pen = "M"
			}
			continue
		}
		if p.Probe == "read" && t.Top > 0 {
			fmt.Fprintf(&points, "%s%.1f %.1f", pen, x(p.At), plotHeight-1-(plotHeight-2)*p.Seconds/t.Top)
			drawn, pen = drawn+1, "L"
		}
	}
	if drawn > 1 {
		t.Latency = template.HTMLAttr(`d="` + points.String() + `"`) //nolint:gosec // numbers alone
	}
	for _, e := range w.Log {
		if !e.At.Before(t.From) && !e.At.After(t.To) {
			t.Marks = append(t.Marks, mark{X: x(e.At), Title: incident.Offset(e.At, w.Start) + " " + e.Message})
		}
	}
	t.sessions(w.Samples, x)
	t.Alternative = fmt.Sprintf("%d probes failed, and %d lines of the server's log are known, from a minute before to half a minute after",
		failed, len(t.Marks))
	return t
}
