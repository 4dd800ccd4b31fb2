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
	"syscall"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/prometheus/client_golang/prometheus"
	toolkit "github.com/prometheus/exporter-toolkit/web"
	"golang.org/x/sync/errgroup"

	"github.com/pg-reliability/pg_reliability_exporter/internal/fleet"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status/page"
)

const (
	defaultTimeoutOffset = 500 * time.Millisecond
	defaultShutdownGrace = 5 * time.Second

	readTimeout = 10 * time.Second
	// idleTimeout is longer than the 5 minutes for which Prometheus keeps a connection: the side that sends should
	// be the one that closes.
	idleTimeout = 6 * time.Minute
	// writeTimeout leaves room for the longest scrape and for a profile of a minute.
	writeTimeout = 2 * time.Minute
	maxHeader    = 32 << 10
)

// Options of a server. Gatherer and Logger are required, and so are Engine and Prober, or Fleet, or all of them.
type Options struct {
	Logger log.Logger
	// Addresses to listen on, such as ":9187"; not used with SystemdSocket.
	Addresses []string
	// SystemdSocket takes the sockets that systemd passes.
	SystemdSocket bool
	// ConfigFile is exporter-toolkit's, with TLS and basic auth; empty is plain HTTP for all.
	ConfigFile string
	// OnListen, if set, is told each address when it is served.
	OnListen func(net.Addr)

	// Engine and Prober are those of the exporter's own server; both nil where it has none.
	Engine Engine
	// Fleet, if set, has the servers of /probe.
	Fleet *fleet.Fleet
	// Gatherer has the metrics that are on every page: the prober's, the process', our own.
	Gatherer prometheus.Gatherer
	// Registerer takes the server's own metrics; nil leaves them out.
	Registerer prometheus.Registerer
	Prober     Prober
	// Reload, if set, is what /-/reload does: Reloader.Reload.
	Reload func(context.Context) error

	// MetricsPath is where metrics are; empty means /metrics.
	MetricsPath string
	// TimeoutOffset is what is kept of Prometheus' scrape timeout for the way back; zero means 0.5 s.
	TimeoutOffset time.Duration
	// PProf serves profiles below /debug/pprof/.
	PProf bool
	// ShutdownGrace is how long requests under way may take to end when we stop; zero means 5 s.
	ShutdownGrace time.Duration
	// Version is shown to people.
	Version string
	// Status is what the status page and /api/status show; nil switches both off, and / is a list of links.
	Status Status
	// StatusView is what the page needs to know beside it; Paused, PProf and Fleet are set for each request.
	StatusView page.View
}

// Server serves everything there is over HTTP.
type Server struct {
	options  Options
	handler  http.Handler
	now      func() time.Time
	stopping atomic.Bool
}

// New checks the options and the web configuration file. It does not listen yet.
func New(o Options) (*Server, error) { return newAt(o, time.Now) }

func newAt(o Options, now func() time.Time) (*Server, error) {
	if o.Gatherer == nil || o.Logger == nil || (o.Engine == nil) != (o.Prober == nil) || o.Engine == nil && o.Fleet == nil {
		return nil, errors.New("web: Gatherer, Logger, and Engine with Prober, or Fleet, are required")
	}
	if o.MetricsPath == "" {
		o.MetricsPath = "/metrics"
	}
	if err := checkMetricsPath(o.MetricsPath); err != nil {
		return nil, err
	}
	if len(o.Addresses) == 0 && !o.SystemdSocket {
		return nil, errors.New("no address to listen on. HINT: Give one, such as :9187")
	}
	if o.TimeoutOffset < 0 {
		return nil, fmt.Errorf("the scrape timeout's offset is %s. HINT: Give a positive one, such as 0.5s", o.TimeoutOffset)
	}
	if o.TimeoutOffset == 0 {
		o.TimeoutOffset = defaultTimeoutOffset
	}
	if o.ShutdownGrace <= 0 {
		o.ShutdownGrace = defaultShutdownGrace
	}
	if err := checkConfigFile(o.ConfigFile); err != nil {
		return nil, err
	}
	s := &Server{options: o, now: now}
	s.handler = s.routes()
	return s, nil
}

// Handler is what Run serves, without TLS and authentication.
func (s *Server) Handler() http.Handler { return s.handler }

var metricsPath = regexp.MustCompile(`^/[A-Za-z0-9._~/-]*$`)

func checkMetricsPath(path string) error {
	if !metricsPath.MatchString(path) || strings.Contains(path, "//") || strings.Contains(path, "/.") {
		return fmt.Errorf("metrics path %q is not one. HINT: Write a path such as /metrics", path)
	}
	for _, taken := range []string{"/-/", "/api/", "/debug/", "/primary/", "/replica/", "/probe/"} {
		if strings.HasPrefix(strings.TrimSuffix(path, "/")+"/", taken) {
			return fmt.Errorf("metrics path %q is taken. HINT: Choose one outside %s", path, taken)
		}
	}
	return nil
}

// quoted is what the YAML library cites of a file that it can't read; it may be a part of a secret.
var quoted = regexp.MustCompile("`[^`]*`")

func checkConfigFile(file string) error {
	if err := toolkit.Validate(file); err != nil {
		return fmt.Errorf("web configuration file %s: %s. HINT: Its form is described at https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md",
			file, quoted.ReplaceAllString(err.Error(), "`...`"))
	}
	return nil
}

// Run listens and serves until ctx ends; then it lets requests under way finish and returns nil. If one
// address can't be served, none is, and the error says why.
func (s *Server) Run(ctx context.Context) error {
	servers := s.servers()
	group, ctx := errgroup.WithContext(ctx)
	for _, srv := range servers {
		group.Go(srv.serve)
	}
	group.Go(func() error {
		<-ctx.Done()
		s.stopping.Store(true)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.options.ShutdownGrace)
		defer cancel()
		for _, srv := range servers {
			if err := srv.http.Shutdown(grace); err != nil {
				level.Warn(s.options.Logger).Log("msg", "requests were cut off at shutdown", "after", s.options.ShutdownGrace)
				_ = srv.http.Close()
			}
		}
		return nil
	})
	return group.Wait()
}

// listener is one address, or all of systemd's sockets.
type listener struct {
	http  *http.Server
	serve func() error
}

// servers has one http.Server for each address: exporter-toolkit changes the server it is given, and two
// addresses must not change the same.
func (s *Server) servers() []listener {
	addresses := s.options.Addresses
	if s.options.SystemdSocket {
		addresses = []string{""}
	}
	out := make([]listener, 0, len(addresses))
	logger := newSlog(s.options.Logger)
	for _, address := range addresses {
		server := &http.Server{
			Handler:           s.handler,
			ReadHeaderTimeout: readTimeout,
			ReadTimeout:       readTimeout,
			WriteTimeout:      writeTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeader,
			ErrorLog:          newHTTPErrorLog(s.options.Logger),
			BaseContext: func(l net.Listener) context.Context {
				if s.options.OnListen != nil {
					s.options.OnListen(l.Addr())
				}
				return context.Background()
			},
		}
		flags := &toolkit.FlagConfig{
			WebListenAddresses: &[]string{address},
			WebSystemdSocket:   &s.options.SystemdSocket,
			WebConfigFile:      &s.options.ConfigFile,
		}
		out = append(out, listener{http: server, serve: func() error {
			err := toolkit.ListenAndServe(server, flags, logger)
			if err == nil || errors.Is(err, http.ErrServerClosed) {
				return nil
			}
			return explainListen(address, err)
		}})
	}
	return out
}

func explainListen(address string, err error) error {
	if address == "" {
		address = "systemd's socket"
	}
	hint := ""
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		hint = ". HINT: Is another exporter running? Stop it, or choose another address"
	case errors.Is(err, syscall.EACCES):
		hint = ". HINT: A port below 1024 needs a privilege; choose another"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		hint = ". HINT: No interface of this machine has that address"
	}
	return fmt.Errorf("serve HTTP on %s: %w%s", address, err, hint)
}
