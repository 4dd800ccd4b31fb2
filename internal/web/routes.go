package web

import (
	"context"
	"fmt"
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"

	"github.com/pg-reliability/pg_reliability_exporter/internal/httpserver"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status/page"
)

// routes is every path there is. Each is served with and without a slash at its end.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	add := func(path string, h http.Handler, methods ...string) {
		h = allow(h, methods...)
		path = strings.TrimSuffix(path, "/")
		if path != "" {
			mux.Handle(path, h)
		}
		mux.Handle(path+"/{$}", h)
	}
	var (
		o     = s.options
		pages = newPages(o.TimeoutOffset, o.Processors, o.Logger)
		// Scrapes and people's pages don't take each other's places. Health endpoints need none: their answers are short.
		scrapes = httpserver.NewLimit(o.MaxRequests)
		probes  = httpserver.NewLimit(o.MaxProbes)
		others  = httpserver.NewLimit(o.MaxRequests)
		// named is what a browser could be misused for: it is served under known names only. Prometheus and load balancers
		// ask under any.
		named  = func(h http.Handler) http.Handler { return s.hosts.Wrap(others.Wrap(h)) }
		people = func(h http.Handler) http.Handler { return named(pages.once(h)) }
		read   = []string{http.MethodGet, http.MethodHead}
		check  = []string{http.MethodGet, http.MethodHead, http.MethodOptions}
	)
	add(o.MetricsPath, newMetricsHandler(o.Metrics, pages, scrapes), read...)
	if o.Fleet != nil {
		add("/probe", probes.Wrap(&probeHandler{fleet: o.Fleet, pages: pages}), read...)
		add("/api/targets", named(&targetsHandler{fleet: o.Fleet}), read...)
	}

	// Of the exporter itself.
	add("/-/healthy", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		text(w, http.StatusOK, "The exporter is healthy.")
	}), check...)
	add("/-/ready", http.HandlerFunc(s.exporterReady), check...)
	if o.Reload != nil {
		add("/-/reload", named(reloadHandler(func(ctx context.Context) error {
			defer pages.shared.forgetAll() // who reloads and then scrapes sees what has become of it
			return o.Reload(ctx)
		})), http.MethodPost, http.MethodPut)
	}

	var own *health // nil without a server of our own
	if o.Prober != nil {
		own = &health{prober: o.Prober, now: s.now}
		add("/api/health/", ask(own.ready), check...)
		add("/api/health/detailed", ask(own.detailed), check...)
		add("/api/health/ready", ask(own.ready), check...)
		add("/api/health/live", ask(own.live), check...)
		add("/primary", ask(own.primary), check...)
		add("/replica", ask(own.replica), check...)
	}

	if o.PProf {
		for path, h := range map[string]http.HandlerFunc{
			"": pprof.Index, "cmdline": pprof.Cmdline, "profile": pprof.Profile, "symbol": pprof.Symbol, "trace": pprof.Trace,
		} {
			mux.Handle("/debug/pprof/"+path, s.hosts.Wrap(h)) // no Limit: profiles set deadlines of their own
		}
	}
	if o.Incidents != nil {
		h := &incidentsHandler{incidents: o.Incidents, logger: o.Logger, page: page.NewIncidents(), now: s.now}
		add("/incidents", people(http.HandlerFunc(h.serveList)), read...)
		add("/incidents/{id}", people(http.HandlerFunc(h.serveOne)), read...)
		add("/api/incidents", people(http.HandlerFunc(h.serveListJSON)), read...)
		add("/api/incidents/{id}", people(http.HandlerFunc(h.serveOneJSON)), read...)
		if o.Sessions != nil {
			add("/api/sessions", people(sessionsHandler(o.People, o.Logger, s.now)), read...)
		}
	}
	if o.Fleet != nil && o.FleetStories {
		f := &fleetStories{o.Fleet, incidentsHandler{logger: o.Logger, page: page.NewIncidents(), now: s.now}}
		for path, serve := range map[string]func(*incidentsHandler, http.ResponseWriter, *http.Request){
			"incidents": (*incidentsHandler).serveList, "incidents/{id}": (*incidentsHandler).serveOne,
			"api/incidents": (*incidentsHandler).serveListJSON, "api/incidents/{id}": (*incidentsHandler).serveOneJSON,
		} {
			add("/targets/{target}/"+path, people(f.of(serve)), read...)
		}
	}
	var front http.Handler
	if o.Status != nil && own != nil {
		h := newStatusHandler(own, o)
		add("/api/status", people(http.HandlerFunc(h.serveJSON)), read...)
		front = http.HandlerFunc(h.servePage)
	} else {
		front = newLanding(own, o)
	}
	if o.MetricsPath != "/" {
		add("/", people(front), read...)
	}
	mux.HandleFunc("/", s.notFound)
	return mux
}

// exporterReady says whether scrapes are answered: always, also while the database is down, until we are told to stop.
func (s *Server) exporterReady(w http.ResponseWriter, _ *http.Request) {
	if s.stopping.Load() {
		text(w, http.StatusServiceUnavailable, "The exporter is shutting down.")
		return
	}
	text(w, http.StatusOK, "The exporter is ready.")
}

func (s *Server) notFound(w http.ResponseWriter, r *http.Request) {
	where := "the state of the database at /api/health/"
	switch o := s.options; {
	case o.Prober == nil && o.Fleet == nil:
		where = "this exporter watches no PostgreSQL server"
	case o.Prober == nil:
		where = "those of each server at /probe?target=NAME; this exporter has no server of its own"
	}
	http.Error(w, fmt.Sprintf("There is nothing at %.100q. Metrics are at %s, %s.", r.URL.Path, s.options.MetricsPath, where),
		http.StatusNotFound)
}

// allow turns other methods away, saying which are right.
func allow(h http.Handler, methods ...string) http.Handler {
	list := strings.Join(methods, ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(methods, r.Method) {
			w.Header().Set("Allow", list)
			http.Error(w, fmt.Sprintf("%.20q is not for this address. Use %s.", r.Method, list), http.StatusMethodNotAllowed)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func text(w http.ResponseWriter, status int, line string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, line) // the client may have left; there is nobody to tell
}
