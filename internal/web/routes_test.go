package web

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

func TestMethodsAndUnknownPaths(t *testing.T) {
	o := options(t)
	o.Reload = func(context.Context) error { return nil }
	s := newServer(t, o)
	for _, tc := range []struct {
		method, path string
		status       int
		allow, says  string
	}{
		{"POST", "/metrics", 405, "GET, HEAD", `"POST" is not for this address. Use GET, HEAD.`},
		{"DELETE", "/api/health/ready", 405, "GET, HEAD, OPTIONS", "Use GET, HEAD, OPTIONS."},
		{"GET", "/-/reload", 405, "POST, PUT", "Use POST, PUT."},
		// A load balancer without a path asks this; the exporter's page must not pass for the database.
		{"OPTIONS", "/", 405, "GET, HEAD", ""},
		{"GET", "/nowhere/<script>", 404, "", "Metrics are at /metrics, the state of the database at /api/health/."},
		{"GET", "/debug/pprof/", 404, "", "There is nothing at"},
		{"GET", "/metrics/", 200, "", "promhttp_metric_handler"},
		{"HEAD", "/metrics", 200, "", ""},
	} {
		resp := get(t, s, tc.method, tc.path)
		if text := body(t, resp); resp.StatusCode != tc.status || resp.Header.Get("Allow") != tc.allow || !strings.Contains(text, tc.says) {
			t.Errorf("%s %s: %d, Allow %q: %s", tc.method, tc.path, resp.StatusCode, resp.Header.Get("Allow"), text)
		}
	}
	for _, path := range []string{"/-/reload"} {
		if resp := get(t, newServer(t, options(t)), "POST", path); resp.StatusCode != 404 {
			t.Errorf("%s is served though it is off: %d", path, resp.StatusCode)
		}
	}
	o = options(t)
	o.PProf = true
	s = newServer(t, o)
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/goroutine?debug=1", "/debug/pprof/cmdline"} {
		if resp := get(t, s, "GET", path); resp.StatusCode != 200 {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
}

func TestLandingPage(t *testing.T) {
	o := options(t)
	o.MetricsPath, o.Version, o.Prober = "/pg", "1.2.3<script>", &proberAt{snapshot(postgres.Refused, postgres.Refused)}
	s := newServer(t, o)
	resp := get(t, s, "GET", "/")
	page := body(t, resp)
	for _, want := range []string{
		`<p class="status down">down</p>`, "reads or logins fail: refused, since 2026-05-04 11:00:00 UTC (primary)",
		`href="pg"`, `href="api/health/detailed"`, "Version 1.2.3&lt;script&gt;",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	// Whatever the page leads to is there.
	for _, part := range strings.Split(page, `href="`)[1:] {
		link, _, _ := strings.Cut(part, `"`)
		if got := get(t, s, "GET", "/"+link); got.StatusCode == 404 {
			t.Errorf("the page leads to %s, which is not there", link)
		}
	}
	if strings.Contains(page, "pprof") || strings.Contains(page, "failed:") {
		t.Errorf("the page tells too much:\n%s", page)
	}
	o = options(t)
	o.MetricsPath = "/"
	if page := body(t, get(t, newServer(t, o), "GET", "/")); !strings.Contains(page, "# TYPE promhttp") {
		t.Errorf("metrics are not at /: %s", page)
	}
}

func TestReload(t *testing.T) {
	var fail atomic.Bool
	var running, most atomic.Int64
	r := NewReloader(options(t).Logger, func(ctx context.Context) error {
		most.Store(max(most.Load(), running.Add(1)))
		defer running.Add(-1)
		if ctx.Err() != nil {
			t.Error("a reload is cancelled by who asked")
		}
		if fail.Load() {
			return errors.New("shop.yml:14: refresh has no unit")
		}
		return nil
	})
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(r.Metrics())
	loaded := func() float64 {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		return families[0].Metric[0].Gauge.GetValue() // ..._success_timestamp_seconds
	}
	successful := func(want string) {
		t.Helper()
		if err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP pg_reliability_config_last_reload_successful 1 if the newest attempt to load the configuration succeeded; 0 means that an older one runs.
# TYPE pg_reliability_config_last_reload_successful gauge
pg_reliability_config_last_reload_successful `+want+"\n"), "pg_reliability_config_last_reload_successful"); err != nil {
			t.Error(err)
		}
	}
	o := options(t)
	o.Reload = r.Reload
	s := newServer(t, o)
	successful("1")
	first := loaded()
	for _, method := range []string{"POST", "PUT"} {
		if resp := get(t, s, method, "/-/reload"); resp.StatusCode != 200 {
			t.Errorf("%s: %d: %s", method, resp.StatusCode, body(t, resp))
		}
	}
	second := loaded()
	if second <= first {
		t.Errorf("loaded at %v, then at %v", first, second)
	}
	fail.Store(true)
	resp := get(t, s, "POST", "/-/reload")
	if text := body(t, resp); resp.StatusCode != 500 || !strings.Contains(text, "the old one runs on: shop.yml:14: refresh has no unit") {
		t.Errorf("%d: %s", resp.StatusCode, text)
	}
	successful("0")
	if loaded() != second {
		t.Error("a failed reload moved the time of the last success")
	}
	if resp := get(t, s, "POST", "/-/reload", "Sec-Fetch-Site", "cross-site"); resp.StatusCode != http.StatusForbidden {
		t.Errorf("another site's page may reload us: %d", resp.StatusCode)
	}
	done := make(chan struct{})
	for range 5 {
		go func() { _ = r.Reload(t.Context()); done <- struct{}{} }()
	}
	for range 5 {
		<-done
	}
	if most.Load() != 1 {
		t.Errorf("%d reloads at the same time", most.Load())
	}
}

// What a browser could be misused for has a check of the name; what Prometheus, load balancers and applications ask has none.
func TestNamesOfOthersAreForMachinesOnly(t *testing.T) {
	o := options(t)
	o.Reload, o.PProf, o.Status = func(context.Context) error { return nil }, true, &statusStub{}
	for _, s := range []*Server{newServer(t, o), newServer(t, func() Options { o := options(t); o.Status = nil; return o }())} {
		for path, want := range map[string]int{
			"/": 421, "/api/status": 421, "/-/reload": 421, "/debug/pprof/": 421, "/debug/pprof/cmdline": 421,
			"/metrics": 200, "/-/healthy": 200, "/-/ready": 200, "/api/health/": 200, "/api/health/detailed": 200,
			"/api/health/live": 200, "/primary": 200,
		} {
			method := http.MethodGet
			if path == "/-/reload" {
				method = http.MethodPost
			}
			r := httptest.NewRequest(method, path, nil)
			r.Host = "evil.example:9187"
			w := httptest.NewRecorder()
			s.Handler().ServeHTTP(w, r)
			if s.options.Status == nil && path != "/" && want == 421 {
				want = 404 // switched off
			}
			if w.Code != want {
				t.Errorf("%s under another name: %d, want %d", path, w.Code, want)
			}
		}
	}
}
