package web

import (
	"bytes"
	"net/http"
	"strings"
	"time"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/internal/fleet"
	"github.com/pg-reliability/pg_reliability_exporter/internal/incident"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status/page"
)

// Incidents tells what is known of each; *incident.Recorder is one. It answers at once.
type Incidents interface {
	List() []incident.Summary
	Get(id string) (incident.Window, incident.Story, bool)
	Target() string
}

// incidentsVersion is of the answers of /api/incidents: within one, fields are added alone.
const incidentsVersion = 1

// incidentsHandler serves /incidents and /api/incidents, of one server.
type incidentsHandler struct {
	incidents Incidents
	// below is how many parts of the path come before those two.
	below  int
	logger log.Logger
	page   *page.Incidents
	now    func() time.Time
}

// fleetStories serves the same of each listed target, below /targets/NAME/.
type fleetStories struct {
	fleet *fleet.Fleet
	incidentsHandler
}

// of answers for one target, or that there is none.
func (f *fleetStories) of(serve func(*incidentsHandler, http.ResponseWriter, *http.Request)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		recorder := f.fleet.Incidents(r.PathValue("target"))
		if recorder == nil {
			http.Error(w, "There is no such target, or it is a pooler. HINT: /api/targets lists those of --config.file; what is not listed "+
				"there has no stories", http.StatusNotFound)
			return
		}
		h := f.incidentsHandler
		h.incidents, h.below = recorder, 2
		serve(&h, w, r)
	})
}

// links lead from a page to the status page, and to the directory that has incidents: a proxy may serve us below a path.
func (h *incidentsHandler) links(r *http.Request) page.Links {
	up := func(n int) string {
		if n > 0 {
			return strings.Repeat("../", n)
		}
		return "./"
	}
	n := strings.Count(r.URL.Path, "/") - 1
	return page.Links{Status: up(n), Root: up(n - h.below)}
}

// serveList is GET /incidents.
func (h *incidentsHandler) serveList(w http.ResponseWriter, r *http.Request) {
	var document bytes.Buffer
	err := h.page.RenderList(&document, h.incidents.Target(), h.links(r), h.incidents.List(), h.now())
	writePage(w, h.logger, "a page of incidents", &document, err)
}

// serveOne is GET /incidents/ID, and /incidents/ID.md.
func (h *incidentsHandler) serveOne(w http.ResponseWriter, r *http.Request) {
	id, markdown := strings.CutSuffix(r.PathValue("id"), ".md")
	is, story, ok := h.incidents.Get(id)
	switch {
	case !ok:
		h.notFound(w)
	case markdown:
		w.Header().Set("Content-Type", "text/markdown; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write([]byte(incident.Markdown(&is, story, h.now()))) //nolint:gosec // no browser runs it: it is text/markdown, with nosniff
	default:
		var document bytes.Buffer
		err := h.page.RenderOne(&document, h.links(r), is, story, h.now())
		writePage(w, h.logger, "a page of incidents", &document, err)
	}
}

func (h *incidentsHandler) notFound(w http.ResponseWriter) {
	http.Error(w, "There is no such incident, or none any more. HINT: /api/incidents lists them", http.StatusNotFound)
}

// serveListJSON is GET /api/incidents.
func (h *incidentsHandler) serveListJSON(w http.ResponseWriter, _ *http.Request) {
	list := h.incidents.List()
	if list == nil {
		list = []incident.Summary{}
	}
	writeJSON(w, h.logger, "The incident", struct {
		SchemaVersion int                `json:"schema_version"`
		GeneratedAt   time.Time          `json:"generated_at"`
		Target        string             `json:"target"`
		Incidents     []incident.Summary `json:"incidents"`
	}{incidentsVersion, h.now().UTC(), h.incidents.Target(), list})
}

// serveOneJSON is GET /api/incidents/ID.
func (h *incidentsHandler) serveOneJSON(w http.ResponseWriter, r *http.Request) {
	is, story, ok := h.incidents.Get(r.PathValue("id"))
	if !ok {
		h.notFound(w)
		return
	}
	writeJSON(w, h.logger, "The incident", struct {
		SchemaVersion int             `json:"schema_version"`
		GeneratedAt   time.Time       `json:"generated_at"`
		Story         incident.Story  `json:"story"`
		Window        incident.Window `json:"window"`
	}{incidentsVersion, h.now().UTC(), story, is})
}
