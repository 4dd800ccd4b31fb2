package web

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/pg-reliability/pg_reliability_exporter/collector"
	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
)

// A test's clock and the two ends of its story.
var (
	noon  = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	since = noon.Add(-time.Hour)
)

// proberAt is a prober that has come to one snapshot.
type proberAt struct{ snapshot probe.Snapshot }

func (p *proberAt) Snapshot() probe.Snapshot { return p.snapshot }

// snapshot is of a primary that was probed a moment ago; reasons are the read, login and write probe's.
func snapshot(reasons ...postgres.Reason) probe.Snapshot {
	s := probe.Snapshot{
		Probes: map[probe.Kind]probe.Result{}, Known: true, Since: since,
		MaxAge: map[probe.Kind]time.Duration{probe.Read: 5 * time.Second, probe.Login: 30 * time.Second},
		Server: probe.Server{Role: probe.Primary, Version: 170006, StartTime: since, SystemIdentifier: "7", Timeline: 3, ReplayLag: -1},
	}
	for i, r := range reasons {
		result := probe.Result{At: noon.Add(-time.Second), Reason: r, Since: since, Latency: 2 * time.Millisecond}
		if r != postgres.OK {
			result.Error = "failed: " + string(r)
		}
		s.Probes[probeOrder[i]] = result
	}
	if s.Reason = reasons[0]; s.Reason == postgres.OK && len(reasons) > 1 {
		s.Reason = reasons[1]
	}
	return s
}

func standby(lag time.Duration) probe.Snapshot {
	s := snapshot(postgres.OK, postgres.OK)
	s.Server.Role, s.Server.ReplayLag = probe.Standby, lag
	return s
}

// engineStub answers with what it is given; it refuses names as the real one does.
type engineStub struct {
	families []*dto.MetricFamily
	gather   func(context.Context)

	mu   sync.Mutex
	asks [][2][]string
}

func (e *engineStub) Select(include, exclude []string) (collector.Selection, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asks = append(e.asks, [2][]string{include, exclude})
	for _, n := range slices.Concat(include, exclude) {
		if n != "locks" {
			return collector.Selection{}, &badName{n}
		}
	}
	return collector.Selection{}, nil
}

type badName struct{ name string }

func (b *badName) Error() string { return "no collector " + b.name + ". HINT: Choose among locks" }

func (e *engineStub) Gather(ctx context.Context, _ collector.Selection) []*metric.Family {
	if e.gather != nil {
		e.gather(ctx)
	}
	return metric.FromDTO(e.families)
}

// options are fit for a test; each test changes what it is about.
func options(t *testing.T) Options {
	t.Helper()
	registry := prometheus.NewRegistry()
	return Options{
		Logger: log.NewLogfmtLogger(testWriter{t}), Listen: Listen{Addresses: []string{"127.0.0.1:0"}},
		Metrics: Metrics{Engine: &engineStub{}, Gatherer: registry, Registerer: registry},
		Prober:  &proberAt{snapshot(postgres.OK, postgres.OK)},
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", strings.TrimSpace(string(b)))
	return len(b), nil
}

func newServer(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := newAt(o, func() time.Time { return noon })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// get serves one request without a network.
func get(t *testing.T, s *Server, method, target string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	r.Host = "localhost:9187"
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
