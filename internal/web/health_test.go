package web

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
)

const ok = postgres.OK

// with changes a snapshot's results.
func with(s probe.Snapshot, change func(*probe.Snapshot)) probe.Snapshot {
	change(&s)
	return s
}

func aged(s probe.Snapshot, kind probe.Kind, age time.Duration) probe.Snapshot {
	r := s.Probes[kind]
	r.At = noon.Add(-age)
	s.Probes[kind] = r
	return s
}

func TestHealthEndpoints(t *testing.T) {
	const up, down = 200, 503
	for name, tc := range map[string]struct {
		snapshot                             probe.Snapshot
		status, reason                       string
		ready, live, primary, replica, lag10 int
	}{
		"up":                   {snapshot(ok, ok), "up", "ok", up, up, up, down, down},
		"up, writes too":       {snapshot(ok, ok, ok), "up", "ok", up, up, up, down, down},
		"writes fail":          {snapshot(ok, ok, postgres.ReadOnly), "degraded", "read_only", up, up, up, down, down},
		"refused":              {snapshot(postgres.Refused, postgres.Refused), "down", "refused", down, down, down, down, down},
		"timeout":              {snapshot(postgres.Timeout, postgres.Timeout), "down", "timeout", down, down, down, down, down},
		"dns":                  {snapshot(postgres.DNS, postgres.DNS), "down", "dns", down, down, down, down, down},
		"tls":                  {snapshot(postgres.TLS, postgres.TLS), "down", "tls", down, down, down, down, down},
		"starting":             {snapshot(postgres.StartingUp, postgres.StartingUp), "down", "starting_up", down, up, down, down, down},
		"stopping":             {snapshot(postgres.ShuttingDown, postgres.ShuttingDown), "down", "shutting_down", down, up, down, down, down},
		"auth":                 {snapshot(postgres.Auth, postgres.Auth), "down", "auth", down, up, down, down, down},
		"full, our reads work": {snapshot(ok, postgres.TooManyConnections), "down", "too_many_connections", down, up, down, down, down},
		"full from the start": {snapshot(postgres.TooManyConnections, postgres.TooManyConnections), "down", "too_many_connections", down, up,
			down, down, down},
		"one backend hangs": {snapshot(postgres.Timeout, ok), "down", "timeout", down, up, down, down, down},
		"the login is from before the reads began to fail": {
			with(snapshot(postgres.Refused, ok), func(s *probe.Snapshot) {
				read := s.Probes[probe.Read]
				read.Since = noon.Add(-500 * time.Millisecond)
				s.Probes[probe.Read] = read
			}), "down", "refused", down, down, down, down, down},
		"standby":              {standby(3 * time.Second), "up", "ok", up, up, down, up, up},
		"standby behind":       {standby(11 * time.Second), "up", "ok", up, up, down, up, down},
		"standby, lag unknown": {standby(-1), "up", "ok", up, up, down, up, down},
		"standby refuses writes": {with(standby(0), func(s *probe.Snapshot) {
			s.Probes[probe.Write] = snapshot(ok, ok, postgres.ReadOnly).Probes[probe.Write]
		}), "up", "ok", up, up, down, up, up},
		"before the first probe": {probe.Snapshot{Reason: postgres.Other}, "unknown", "unknown", down, down, down, down, down},
		"only reads have reported": {with(snapshot(ok), func(s *probe.Snapshot) { s.Known, s.Reason = false, postgres.Other }), "unknown",
			"unknown", down, up, down, down, down},
		"the prober hangs": {aged(aged(snapshot(ok, ok), probe.Read, 6*time.Second), probe.Login, time.Minute), "unknown", "unknown", down,
			down, down, down, down},
		"only logins hang":     {aged(snapshot(ok, ok), probe.Login, 31*time.Second), "unknown", "unknown", down, up, down, down, down},
		"old, but not too old": {aged(snapshot(ok, ok), probe.Read, 5*time.Second), "up", "ok", up, up, up, down, down},
		"the clock went back":  {aged(snapshot(ok, ok), probe.Read, -time.Hour), "up", "ok", up, up, up, down, down},
		"role unknown": {with(snapshot(ok, ok), func(s *probe.Snapshot) { s.Server = probe.Server{} }), "up", "ok", up, up, down, down,
			down},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			o.Prober = &proberAt{tc.snapshot}
			s := newServer(t, o)
			for target, want := range map[string]int{
				"/api/health/": tc.ready, "/api/health": tc.ready, "/api/health/detailed": tc.ready,
				"/api/health/ready": tc.ready, "/api/health/ready/": tc.ready, "/api/health/live": tc.live,
				"/primary": tc.primary, "/replica": tc.replica, "/replica?max_lag=10s": tc.lag10,
				// These are of the exporter, whatever the database does.
				"/-/healthy": 200, "/-/ready": 200, "/metrics": 200, "/": 200,
			} {
				resp := get(t, s, "GET", target)
				text := body(t, resp)
				if resp.StatusCode != want {
					t.Errorf("GET %s: %d, want %d: %s", target, resp.StatusCode, want, text)
				}
				for _, method := range []string{"HEAD", "OPTIONS"} {
					if target == "/metrics" || target == "/" {
						continue
					}
					if bare := get(t, s, method, target); bare.StatusCode != want {
						t.Errorf("%s %s: %d, want %d", method, target, bare.StatusCode, want)
					} else if b := body(t, bare); b != "" && !strings.HasPrefix(target, "/-/") {
						t.Errorf("%s %s has a body: %q", method, target, b)
					}
				}
				if resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
					t.Errorf("GET %s may be cached", target)
				}
				if target == "/metrics" || target == "/" || strings.HasPrefix(target, "/-/") {
					continue
				}
				var a answer
				if err := json.Unmarshal([]byte(text), &a); err != nil {
					t.Fatalf("GET %s: %v: %s", target, err, text)
				}
				if a.Status != tc.status || a.Reason != tc.reason || a.OK != (want == 200) || a.Message == "" {
					t.Errorf("GET %s: %s, want status %s, reason %s", target, text, tc.status, tc.reason)
				}
			}
		})
	}
}

// The names of the fields are a promise.
func TestHealthDetailedIsStable(t *testing.T) {
	o := options(t)
	s := with(standby(1500*time.Millisecond), func(s *probe.Snapshot) {
		s.Reason, s.OutageStart = postgres.TooManyConnections, noon.Add(-90*time.Second)
		s.Probes[probe.Login] = snapshot(ok, postgres.TooManyConnections).Probes[probe.Login]
		s.Probes[probe.Write] = probe.Result{}
	})
	o.Prober = &proberAt{s}
	got := body(t, get(t, newServer(t, o), "GET", "/api/health/detailed"))
	want := `{"ok":false,"status":"down","reason":"too_many_connections","since":"2026-05-04T11:00:00Z",` +
		`"message":"reads or logins fail: too_many_connections",` +
		`"outage":{"start":"2026-05-04T11:58:30Z","seconds":90},` +
		`"checks":[` +
		`{"name":"read","status":"up","reason":"ok","since":"2026-05-04T11:00:00Z","checked_at":"2026-05-04T11:59:59Z","age_seconds":1,"latency_seconds":0.002},` +
		`{"name":"login","status":"down","reason":"too_many_connections","since":"2026-05-04T11:00:00Z","checked_at":"2026-05-04T11:59:59Z","age_seconds":1,"latency_seconds":0.002,"error":"failed: too_many_connections"},` +
		`{"name":"write","status":"unknown","reason":"unknown"}],` +
		`"server":{"role":"standby","version":170006,"start_time":"2026-05-04T11:00:00Z","system_identifier":"7","timeline":3,"replay_lag_seconds":1.5}}` + "\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestReplicaMaxLagErrorsSayWhatIsRight(t *testing.T) {
	o := options(t)
	o.Prober = &proberAt{standby(0)}
	s := newServer(t, o)
	for _, bad := range []string{"", "10", "-1s", "soon", "10+s", "10%20s", "1e9h"} {
		for _, method := range []string{"GET", "OPTIONS"} {
			resp := get(t, s, method, "/replica?max_lag="+bad)
			if text := body(t, resp); resp.StatusCode != 400 || !strings.Contains(text, "HINT: Write a number and a unit") {
				t.Errorf("%s max_lag=%s: %d: %s", method, bad, resp.StatusCode, text)
			}
		}
	}
	for _, good := range []string{"0s", "500ms", "1h"} {
		if resp := get(t, s, "GET", "/replica?max_lag="+good); resp.StatusCode != 200 {
			t.Errorf("max_lag=%s: %d", good, resp.StatusCode)
		}
	}
}

func TestHealthTakesLessThanAMillisecond(t *testing.T) {
	s := newServer(t, options(t))
	const asks = 1000
	began := time.Now()
	for range asks {
		get(t, s, "GET", "/api/health/detailed")
	}
	if each := time.Since(began) / asks; each > time.Millisecond {
		t.Errorf("an answer takes %s", each)
	} else {
		t.Logf("an answer takes %s", each)
	}
}
