package web

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
	"strings"

	"github.com/go-kit/log/level"

	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
)

//go:embed landing.html
var landingHTML string

// landing is the page at /, for people: the state of the database in a word, and where everything is.
type landing struct {
	health   *health
	options  Options // of which it shows where everything is
	template *template.Template
}

func newLanding(h *health, o Options) *landing {
	return &landing{health: h, options: o, template: template.Must(template.New("landing").Parse(landingHTML))}
}

func (l *landing) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	v := verdict{Verdict: probe.Verdict{Status: "running", Message: "this exporter has no server of its own, and judges none here: " +
		"how each of these fares is on its page (pg_up) and on Grafana's board Fleet"}}
	if l.health != nil {
		v = l.health.judge()
	}
	var page bytes.Buffer
	err := l.template.Execute(&page, map[string]any{
		"Version": l.options.Version,
		"Own":     l.health != nil,
		"Fleet":   l.options.fleetNames(),
		"Stories": l.options.FleetStories,
		"Status":  string(v.Status),
		"Message": v.Message,
		"Since":   timeOrNil(v.Since),
		"Role":    v.snapshot.Server.Role,
		"Metrics": strings.TrimPrefix(l.options.MetricsPath, "/"), // relative: a proxy may serve us below a path
		"PProf":   l.options.PProf,
	})
	if err != nil {
		level.Error(l.options.Logger).Log("msg", "the landing page can't be made", "err", err)
		http.Error(w, "The page can't be made; the exporter's log says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	_, _ = page.WriteTo(w)
}

// fleetNames are the listed targets of /probe.
func (o Options) fleetNames() []string {
	var names []string
	if o.Fleet != nil {
		for _, t := range o.Fleet.Listed() {
			names = append(names, t.Name)
		}
	}
	return names
}
