// Package web serves the exporter over HTTP: /metrics within the time Prometheus gives, health endpoints that answer
// from the prober's last state without asking the server, a page for people, and reload. Paths below /-/ speak of the
// exporter; /api/health/, /primary and /replica speak of the database.
package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pg-reliability/pg_reliability_exporter/internal/fleet"
	"github.com/pg-reliability/pg_reliability_exporter/internal/httpserver"
	"github.com/pg-reliability/pg_reliability_exporter/internal/quiet"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status/page"
)

const defaultTimeoutOffset = 500 * time.Millisecond

// Options of a server. Gatherer and Logger are required, and so are Engine, or Fleet, or both.
type Options struct {
	Logger log.Logger
	Listen
	Metrics
	People
	// Prober is of the exporter's own server, and comes with Engine; nil where it has none.
	Prober Prober
	// Fleet, if set, has the servers of /probe.
	Fleet *fleet.Fleet
	// Reload, if set, is what /-/reload does: Reloader.Reload.
	Reload func(context.Context) error
	// PProf serves profiles below /debug/pprof/.
	PProf bool
}

// Listen is where and for whom is served.
type Listen struct {
	// Addresses to listen on, such as ":9187"; not used with SystemdSocket.
	Addresses []string
	// SystemdSocket takes the sockets that systemd passes.
	SystemdSocket bool
	// ConfigFile is exporter-toolkit's, with TLS and basic auth; empty is plain HTTP for all.
	ConfigFile string
	// OnListen, if set, is told each address when it is served.
	OnListen func(net.Addr)
	// MaxRequests is how many scrapes of /metrics are answered at once, and how many other pages; more get 503. Zero means no
	// bound.
	MaxRequests int
	// MaxProbes is the same of /probe.
	MaxProbes int
	// AllowedHosts are further names under which pages for people and /-/reload are served, as httpserver.NewHosts has them.
	AllowedHosts []string
	// ShutdownGrace is how long requests under way may take to end when we stop; zero means 5 s.
	ShutdownGrace time.Duration
}

// Metrics is what the page of metrics is made of.
type Metrics struct {
	// Engine collects what a scrape asks the exporter's own server for; nil where it has none.
	Engine Engine
	// Gatherer has the metrics that are on every page: the prober's, the process', our own.
	Gatherer prometheus.Gatherer
	// Registerer takes the page's own metrics; nil leaves them out.
	Registerer prometheus.Registerer
	// MetricsPath is where metrics are; empty means /metrics.
	MetricsPath string
	// TimeoutOffset is what is kept of Prometheus' scrape timeout for the way back; zero means 0.5 s.
	TimeoutOffset time.Duration
	// Processors are all to be used while a page is made; nil leaves that to the runtime.
	Processors *quiet.Processors
}

// People is what pages for people, and the answers below /api/ that tell the same, are made of.
type People struct {
	// Version of the exporter.
	Version string
	// Status is what the status page and /api/status show; nil switches both off, and / is a list of links.
	Status Status
	// StatusView is what the page needs to know beside it; Paused, PProf and Fleet are set for each request.
	StatusView page.View
	// Incidents, if set, are what /incidents shows.
	Incidents Incidents
	// FleetStories shows those of a fleet's targets at /targets/NAME/incidents.
	FleetStories bool
	// Sessions, if set with Incidents, are what /api/sessions tells.
	Sessions Sessions
}

// Server serves everything there is over HTTP.
type Server struct {
	options  Options
	hosts    *httpserver.Hosts
	http     *httpserver.Server
	now      func() time.Time
	stopping atomic.Bool
}

// New checks the options and the web configuration file. It does not listen yet.
func New(o Options) (*Server, error) { return newAt(o, time.Now) }

func newAt(o Options, now func() time.Time) (*Server, error) {
	if o.Gatherer == nil || o.Logger == nil || o.Engine == nil && (o.Prober != nil || o.Fleet == nil) {
		return nil, errors.New("web: Gatherer, Logger, and Engine or Fleet are required, and Engine where there is Prober")
	}
	if o.MetricsPath == "" {
		o.MetricsPath = "/metrics"
	}
	if err := checkMetricsPath(o.MetricsPath); err != nil {
		return nil, err
	}
	if o.TimeoutOffset < 0 {
		return nil, fmt.Errorf("the scrape timeout's offset is %s. HINT: Give a positive one, such as 0.5s", o.TimeoutOffset)
	}
	if o.TimeoutOffset == 0 {
		o.TimeoutOffset = defaultTimeoutOffset
	}
	if most := min(o.MaxRequests, o.MaxProbes); most < 0 {
		return nil, fmt.Errorf("the limit of requests at once is %d. HINT: Give a positive number, or 0 for no bound", most)
	}
	s := &Server{options: o, now: now}
	var err error
	if s.hosts, err = httpserver.NewHosts(o.AllowedHosts); err != nil {
		return nil, err
	}
	s.http, err = httpserver.New(httpserver.Options{
		Handler: s.routes(), Logger: o.Logger, Addresses: o.Addresses, SystemdSocket: o.SystemdSocket, ConfigFile: o.ConfigFile,
		Program: "exporter", OnListen: o.OnListen, OnStop: func() { s.stopping.Store(true) }, ShutdownGrace: o.ShutdownGrace,
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Handler is what Run serves, without TLS and authentication.
func (s *Server) Handler() http.Handler { return s.http.Handler() }

var metricsPath = regexp.MustCompile(`^/[A-Za-z0-9._~/-]*$`)

func checkMetricsPath(path string) error {
	if !metricsPath.MatchString(path) || strings.Contains(path, "//") || strings.Contains(path, "/.") {
		return fmt.Errorf("%q can't be the path of the metrics page. HINT: Write a path such as /metrics", path)
	}
	for _, taken := range []string{"/-/", "/api/", "/debug/", "/primary/", "/replica/", "/probe/", "/incidents/", "/targets/"} {
		if strings.HasPrefix(strings.TrimSuffix(path, "/")+"/", taken) {
			return fmt.Errorf("metrics path %q is taken. HINT: Choose one outside %s", path, taken)
		}
	}
	return nil
}

// Run listens and serves until ctx ends; then it lets requests under way finish and returns nil. If one
// address can't be served, none is, and the error says why.
func (s *Server) Run(ctx context.Context) error { return s.http.Run(ctx) }
