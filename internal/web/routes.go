package web

import (
	"fmt"
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"
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
		pages = newPages(o)
		read  = []string{http.MethodGet, http.MethodHead}
		check = []string{http.MethodGet, http.MethodHead, http.MethodOptions}
	)
	add(o.MetricsPath, newMetricsHandler(o, pages), read...)
	if o.Fleet != nil {
		add("/probe", &probeHandler{fleet: o.Fleet, pages: pages}, read...)
		add("/api/targets", &targetsHandler{fleet: o.Fleet}, read...)
	}

	// Of the exporter itself.
	add("/-/healthy", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		text(w, http.StatusOK, "The exporter is healthy.")
	}), check...)
	add("/-/ready", http.HandlerFunc(s.exporterReady), check...)
	if o.Reload != nil {
		add("/-/reload", reloadHandler(o.Reload), http.MethodPost, http.MethodPut)
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
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	var front http.Handler
	if o.Status != nil && own != nil {
		h := newStatusHandler(own, o)
		add("/api/status", http.HandlerFunc(h.serveJSON), read...)
		front = http.HandlerFunc(h.servePage)
	} else {
		front = newLanding(own, o)
	}
	if o.MetricsPath != "/" {
		add("/", front, read...)
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
	if s.options.Prober == nil {
		where = "those of each server at /probe?target=NAME; this exporter has no server of its own"
	}
	http.Error(w, fmt.Sprintf("There is nothing at %.100q. Metrics are at %s, %s.", r.URL.Path, s.options.MetricsPath, where), http.StatusNotFound)
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
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, line) // the client may have left; there is nobody to tell
}
