// Package page draws the status page: one HTML document without any outside part, made of a status.Status alone. It works
// without JavaScript; with it, updates keep the place one has scrolled to.
package page

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/incident"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

//go:embed page.html
var source string

//go:embed style.css
var style string

//go:embed script.js
var script string

// refreshSeconds is the time between two updates of an open page.
const refreshSeconds = 10

// Page draws. It is safe for concurrent use.
type Page struct {
	template func() *template.Template
}

// View is what a page shows beside the status.
type View struct {
	// Paused: the page does not update itself.
	Paused bool
	// PProf links to the exporter's profiles.
	PProf bool
	// Fleet are the names of the servers whose metrics are at /probe.
	Fleet []string
	// Incidents are those that are kept, newest first.
	Incidents []incident.Summary
	// DiskWarning, DiskCritical and ConnectionsHigh are the ratios at which a bar changes its colour.
	DiskWarning, DiskCritical, ConnectionsHigh float64
}

// New makes one. The template is read at the first page: an exporter that nobody looks at need not remember it.
func New() *Page { return &Page{template: sync.OnceValue(parse)} }

func parse() *template.Template {
	functions := template.FuncMap{
		"lasting": status.Lasting, "size": status.Size, "percent": status.Percent, "moment": status.Moment,
		"ago":   func(now, then time.Time) string { return status.Lasting(max(1, math.Round(now.Sub(then).Seconds()))) },
		"words": func(word string) string { return strings.ReplaceAll(word, "_", " ") },
		"brief": status.Brief, "rows": func(now time.Time, list []status.Outage, kept []incident.Summary) rows { return rows{now, list, kept} },
		"restarts": splitRestarts,
		"date":     func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"plot":     newPlot, "states": states, "title": title, "firstTen": firstTen[status.Outage], "firstSlots": firstTen[status.Slot],
		"more": more, "indent": indent, "firstBlocking": firstTen[status.Blocking],
		"meter": meter, "kind": restartKind, "deref": func(p *bool) bool { return p != nil && *p },
		"gone":  func(alive *bool) bool { return alive != nil && !*alive },
		"ratio": func(part, whole int64) float64 { return float64(part) / float64(max(whole, 1)) },
		"whole": func(ratio float64) string { return fmt.Sprintf("%.0f %%", 100*ratio) },
		"some":  func(n int64) bool { return n > 0 },
		"minus": func(n float64) float64 { return -n },
	}
	return template.Must(template.New("page").Funcs(functions).Parse(source))
}

// ContentSecurityPolicy allows the page's own style and script, by their hashes, and nothing else.
func ContentSecurityPolicy() string {
	return fmt.Sprintf("default-src 'none'; style-src 'sha256-%s'; script-src 'sha256-%s'; connect-src 'self'; img-src data:; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'", hash(style), hash(script))
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Render writes the document.
func (p *Page) Render(w io.Writer, s status.Status, v View) error {
	err := p.template().Execute(plain{w}, map[string]any{
		"S": s, "V": v, "Now": s.GeneratedAt, "RefreshSeconds": refreshSeconds,
		"Style": template.CSS(style), "Script": template.JS(script), //nolint:gosec // our own, embedded
		"Windows": []window{
			{"Last hour", "hour", s.Availability.Hour, s.History.Hour, "60 min ago"},
			{"Last day", "day", s.Availability.Day, s.History.Day, "24 h ago"},
			{"Last 30 days", "month", s.Availability.Month, s.History.Month, "30 d ago"},
		},
	})
	if err != nil {
		return fmt.Errorf("draw the status page: %w", err)
	}
	return nil
}

// window is one of the three plots.
type window struct {
	Title, ID string
	Sum       status.Window
	Series    status.Series
	From      string
}

// rows are outages of a table.
type rows struct {
	Now  time.Time
	List []status.Outage
	kept []incident.Summary
}

// Story is the incident that is kept of an outage; nil where none is.
func (r rows) Story(start time.Time) *incident.Summary {
	for i, s := range r.kept {
		if s.Kind == incident.Outage && s.Start.Sub(start).Abs() < time.Millisecond {
			return &r.kept[i]
		}
	}
	return nil
}

// Going is the story of the outage in progress, where one is known.
func (v View) Going() *incident.Summary {
	for i, s := range v.Incidents {
		if s.Kind == incident.Outage && s.End.IsZero() && s.Cause != incident.Unknown {
			return &v.Incidents[i]
		}
	}
	return nil
}

// restarts are split into those that were seen, those that were not, and those that can't be told.
type restarts struct {
	Seen         []status.Restart
	None, Hidden string
}

func splitRestarts(all []status.Restart) restarts {
	var out restarts
	var none, hidden []string
	for _, r := range all {
		switch {
		case r.Count == nil:
			hidden = append(hidden, r.Kind)
		case *r.Count > 0:
			out.Seen = append(out.Seen, r)
		default:
			none = append(none, r.Kind)
		}
	}
	out.None, out.Hidden = strings.Join(none, ", "), strings.Join(hidden, ", ")
	return out
}

// title begins a sentence.
func title(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// restartKind says in words what each kind is.
func restartKind(kind string) string {
	switch kind {
	case "restart":
		return "server restarted"
	case "crash":
		return "a process crashed, server recovered"
	case "failover":
		return "address led to another server"
	case "promotion":
		return "standby promoted"
	case "demotion":
		return "primary became a standby"
	case "container":
		return "container started again"
	}
	return kind
}

// firstTen splits a list into what is shown and what is folded away.
func firstTen[T any](list []T) [2][]T {
	n := min(len(list), 10)
	return [2][]T{list[:n], list[n:]}
}

// more is how many of all are not in a list.
func more(all *int64, listed int) int64 {
	if all == nil {
		return 0
	}
	return max(0, *all-int64(listed))
}
