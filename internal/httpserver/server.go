// Package httpserver is how the programs serve HTTP where anybody may connect: with timeouts for all that a client does,
// with few requests at once (Limit), under known names only where a browser could be misused (Hosts), with TLS and
// passwords of exporter-toolkit, and with one log. What is served is the programs' own.
package httpserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	toolkit "github.com/prometheus/exporter-toolkit/web"
	"golang.org/x/sync/errgroup"

	"github.com/pg-reliability/pg_reliability_exporter/internal/smallfile"
)

const (
	// DefaultShutdownGrace is how long requests under way may take to end when a server stops.
	DefaultShutdownGrace = 5 * time.Second

	readTimeout = 10 * time.Second
	// idleTimeout is longer than the 5 minutes for which Prometheus keeps a connection: the side that sends should
	// be the one that closes.
	idleTimeout = 6 * time.Minute
	// writeTimeout is for a whole answer, from its request on. A handler below a Limit has its own time to make the answer,
	// and profiles extend it by themselves.
	writeTimeout = 10 * time.Second
	maxHeader    = 32 << 10
	// maxBody bounds what a client may send: no address of ours takes more than a few words.
	maxBody = 64 << 10
)

// Options of a server. Handler and Logger are required, and Addresses or SystemdSocket.
type Options struct {
	Handler http.Handler
	Logger  log.Logger
	// Addresses to listen on, such as ":9187"; not used with SystemdSocket.
	Addresses []string
	// SystemdSocket takes the sockets that systemd passes.
	SystemdSocket bool
	// ConfigFile is exporter-toolkit's, with TLS and basic auth; empty is plain HTTP for all.
	ConfigFile string
	// Program is what may be running already where an address is in use, such as "exporter".
	Program string
	// OnListen, if set, is told each address when it is served.
	OnListen func(net.Addr)
	// OnStop, if set, is called when the server is told to stop, before requests under way have ended.
	OnStop func()
	// ShutdownGrace is how long requests under way may take to end then; zero means DefaultShutdownGrace.
	ShutdownGrace time.Duration
}

// Server serves a handler on all its addresses.
type Server struct {
	options Options
	handler http.Handler
}

// New checks the options and the web configuration file. It does not listen yet.
func New(o Options) (*Server, error) {
	if o.Handler == nil || o.Logger == nil {
		return nil, errors.New("httpserver: Handler and Logger are required")
	}
	if len(o.Addresses) == 0 && !o.SystemdSocket {
		return nil, errors.New("no address to listen on. HINT: Give one, such as :9187")
	}
	if o.ShutdownGrace <= 0 {
		o.ShutdownGrace = DefaultShutdownGrace
	}
	if err := CheckConfigFile(o.ConfigFile); err != nil {
		return nil, err
	}
	return &Server{options: o, handler: http.MaxBytesHandler(harden(o.Handler), maxBody)}, nil
}

// Handler is what Run serves, without TLS and authentication.
func (s *Server) Handler() http.Handler { return s.handler }

// harden says of every answer that it is of this moment, and what its Content-Type says and nothing else.
func harden(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		h.ServeHTTP(w, r)
	})
}

// quoted is what the YAML library cites of a file that it can't read; it may be a part of a secret.
var quoted = regexp.MustCompile("`[^`]*`")

// CheckConfigFile reads exporter-toolkit's configuration file; empty is none. The error holds no secret.
func CheckConfigFile(file string) error {
	err := smallfile.Check(file)
	if err == nil {
		err = toolkit.Validate(file)
	}
	if err != nil {
		return fmt.Errorf("web configuration file %s: %s. "+
			"HINT: Its form is described at https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md",
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
		if s.options.OnStop != nil {
			s.options.OnStop()
		}
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
	logger, open := newSlog(s.options.Logger), newConnections()
	for _, address := range addresses {
		server := &http.Server{
			Handler:           s.handler,
			ReadHeaderTimeout: readTimeout,
			ReadTimeout:       readTimeout,
			WriteTimeout:      writeTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeader,
			ErrorLog:          newHTTPErrorLog(s.options.Logger),
			ConnState:         open.changed,
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
			return s.explainListen(address, err)
		}})
	}
	return out
}

func (s *Server) explainListen(address string, err error) error {
	if address == "" {
		address = "systemd's socket"
	}
	hint := ""
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		hint = ". HINT: Is another " + s.options.Program + " running? Stop it, or choose another address; the port of the server that is " +
			"watched is not one to answer at, but named by DATA_SOURCE_NAME and its like"
		if strings.HasSuffix(address, ":5432") {
			hint = ". HINT: 5432 is PostgreSQL's own port: choose another one to answer at; the server is named by DATA_SOURCE_NAME and its like"
		}
	case errors.Is(err, syscall.EACCES):
		hint = ". HINT: A port below 1024 needs a privilege; choose another"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		hint = ". HINT: No interface of this machine has that address"
	case strings.ContainsAny(address, `"'`):
		hint = ". HINT: Leave the quotes out: they have become a part of the address"
	case !strings.Contains(address, ":"):
		hint = ". HINT: Write host:port, such as localhost:9187, or :9187 for every address of this machine"
	}
	return fmt.Errorf("serve HTTP on %s: %w%s", address, err, hint)
}
