package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// running is the whole program, started as a user starts it.
type running struct {
	url    string
	reload chan os.Signal
	stop   func() int // returns the exit code
	logs   *pgtest.Buffer
}

// launch runs the exporter until the test ends. Without --state.dir it keeps no state.
func launch(t *testing.T, dsn string, args ...string) *running {
	t.Helper()
	return launchWith(t, map[string]string{"DATA_SOURCE_NAME": dsn}, args...)
}

// launchWith does it with other variables.
func launchWith(t *testing.T, variables map[string]string, args ...string) *running {
	t.Helper()
	port, err := pgtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	if !strings.Contains(strings.Join(args, " "), "--state.dir") {
		args = append(args, "--state.dir=none")
	}
	r := &running{url: "http://" + address, reload: make(chan os.Signal, 1), logs: &pgtest.Buffer{}}
	ctx, cancel := context.WithCancel(context.Background())
	code := make(chan int, 1)
	env := func(name string) (string, bool) {
		value := variables[name]
		return value, value != ""
	}
	go func() { code <- run(ctx, append(args, "--web.listen-address="+address), env, r.reload, r.logs, nil) }()
	var once sync.Once
	exit := 0
	r.stop = func() int {
		once.Do(func() { cancel(); exit = <-code })
		return exit
	}
	t.Cleanup(func() {
		r.stop()
		if t.Failed() {
			t.Logf("the exporter's log:\n%s", r.logs)
		}
		if strings.Contains(r.logs.String(), pgtest.Password) {
			t.Errorf("a password is in the log:\n%s", r.logs)
		}
	})
	pgtest.Eventually(t, 60*time.Second, func() error {
		if len(code) > 0 {
			t.Fatalf("the exporter ended at its start:\n%s", r.logs)
		}
		status, _, err := r.get(t, "/-/ready")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("status %d", status)
		}
		return err
	})
	return r
}

func (r *running) get(t *testing.T, path string) (status int, body string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+path, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// page is one scrape: each sample's name with labels, and its value.
type page map[string]float64

func (r *running) scrape(t *testing.T) page {
	t.Helper()
	return r.scrapePath(t, "/metrics")
}

func (r *running) scrapePath(t *testing.T, path string) page {
	t.Helper()
	status, body, err := r.get(t, path)
	if err != nil || status != http.StatusOK {
		t.Fatalf("scrape: status %d, %v\n%s", status, err, body)
	}
	p := page{}
	for line := range strings.Lines(body) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		v, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			t.Fatalf("%q is no sample: %v", line, err)
		}
		p[line[:at]] = v
	}
	return p
}

func (p page) is(name string, want float64) error {
	got, ok := p[name]
	switch {
	case !ok:
		return fmt.Errorf("%s is absent, want %v", name, want)
	case got != want:
		return fmt.Errorf("%s = %v, want %v", name, got, want)
	}
	return nil
}

func (p page) lacks(name string) error {
	if got, ok := p[name]; ok {
		return fmt.Errorf("%s = %v is there", name, got)
	}
	return nil
}

// reason says that reads fail for a reason, and that /api/health/ready tells the same.
func (r *running) reason(t *testing.T, want string) error {
	t.Helper()
	p := r.scrape(t)
	up := 0.0
	if want == "ok" {
		up = 1
	}
	return errors.Join(p.is("pg_up", up), p.is(fmt.Sprintf("pg_reliability_up_reason{reason=%q}", want), 1), r.health(t, want))
}

func (r *running) health(t *testing.T, want string) error {
	t.Helper()
	status, body, err := r.get(t, "/api/health/ready")
	if err != nil {
		return err
	}
	var answer struct{ Reason string }
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		return fmt.Errorf("%q: %w", body, err)
	}
	wantStatus := http.StatusServiceUnavailable
	if want == "ok" {
		wantStatus = http.StatusOK
	}
	if status != wantStatus || answer.Reason != want {
		return fmt.Errorf("/api/health/ready: %d %s, want %d %s", status, answer.Reason, wantStatus, want)
	}
	return nil
}

// ourConnections counts the exporter's sessions on the server.
func ourConnections(t *testing.T, c *pgtest.Cluster) int {
	t.Helper()
	n, err := c.Query(t.Context(), "postgres", "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pg_reliability_exporter'")
	if err != nil {
		t.Fatal(err)
	}
	v, err := strconv.Atoi(n)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

const (
	detect  = 2*time.Second + 2*time.Second + time.Second // two probe intervals and the timeout, and a second for a busy machine
	bound   = 4                                           // --pool.max-conns
	alwaysN = 20
	// quick is how fast a page is when nothing is waited for. One of many may meet a busy machine, and is still far
	// from any timeout that could have been waited for.
	quick  = 100 * time.Millisecond
	noWait = 700 * time.Millisecond
)

// quickScrapes takes many pages in a row and fails if one of them waited for something.
func (r *running) quickScrapes(t *testing.T) []page {
	t.Helper()
	var pages []page
	var times []time.Duration
	for range alwaysN {
		start := time.Now()
		pages = append(pages, r.scrape(t))
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	if median, longest := times[len(times)/2], times[len(times)-1]; median > quick || longest > noWait {
		t.Errorf("scrapes took %s, the longest %s", median, longest)
	}
	return pages
}

func TestAFrozenServer(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	r := launch(t, c.MonitorDSN(), "--volume=data="+c.DataDir())
	pgtest.Eventually(t, detect, func() error {
		p := r.scrape(t)
		return errors.Join(r.reason(t, "ok"), p.is(`pg_reliability_collector_success{collector="settings"}`, 1))
	})

	frozen := time.Now()
	c.Pause()
	defer c.Resume()
	pgtest.Eventually(t, detect, func() error { return r.reason(t, "timeout") })
	for _, p := range r.quickScrapes(t) {
		for _, name := range []string{
			`pg_reliability_restarts_total{kind="crash"}`, `pg_reliability_volume_size_bytes{volume="data"}`,
			`pg_reliability_outages_total{reason="timeout"}`, "pg_reliability_outage_in_progress_seconds",
		} {
			if _, ok := p[name]; !ok {
				t.Errorf("%s is absent while the server is down", name)
			}
		}
	}
	// Long enough for anything that tries again and again to leave connections behind.
	pgtest.Eventually(t, 20*time.Second, func() error {
		if p := r.scrape(t); p["pg_reliability_outage_in_progress_seconds"] < 12 {
			return errors.New("not yet")
		}
		return nil
	})
	c.Resume()
	thawed := time.Now()
	most := 0
	pgtest.Eventually(t, detect, func() error {
		most = max(most, ourConnections(t, c))
		return r.reason(t, "ok")
	})
	for until := time.Now().Add(2 * time.Second); time.Now().Before(until); {
		most = max(most, ourConnections(t, c))
	}
	if most > bound {
		t.Errorf("%d connections after the server thawed, the bound is %d", most, bound)
	}
	p := r.scrape(t)
	want := thawed.Sub(frozen).Seconds()
	got := p["pg_reliability_recovery_duration_seconds_sum"]
	if got < want-2 || got > want+2 {
		t.Errorf("the outage lasted %.1f s, the metrics say %.1f s", want, got)
	}
	t.Logf("outage %.1f s by the clock, %.1f s by the metrics, at most %d connections", want, got, most)
}

func TestReasonsAndReadiness(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	proxy := pgtest.NewProxy(t, c)
	r := launch(t, proxy.DSN(c.MonitorDSN()))
	expect := func(t *testing.T, reason string) {
		t.Helper()
		pgtest.Eventually(t, detect, func() error { return r.reason(t, reason) })
	}
	expect(t, "ok")
	t.Run("blackholed", func(t *testing.T) {
		proxy.Blackhole(true)
		expect(t, "timeout")
		for _, p := range r.quickScrapes(t) {
			if p["pg_up"] != 0 {
				t.Error("pg_up is not 0")
			}
		}
		proxy.Blackhole(false)
		proxy.Cut() // what was swallowed is lost
		expect(t, "ok")
	})
	t.Run("killed", func(t *testing.T) {
		c.KillServer()
		proxy.Refuse(true)
		expect(t, "refused")
		proxy.Refuse(false)
		if err := c.Launch(t.Context()); err != nil {
			t.Fatal(err)
		}
		expect(t, "ok")
		if err := r.scrape(t).is(`pg_reliability_restarts_total{kind="restart"}`, 1); err != nil {
			t.Error(err)
		}
	})
	t.Run("wrong password", func(t *testing.T) {
		wrong := launch(t, strings.Replace(c.MonitorDSN(), pgtest.Password, "wrong", 1))
		pgtest.Eventually(t, detect, func() error { return wrong.reason(t, "auth") })
		if status, _, err := wrong.get(t, "/api/health/live"); err != nil || status != http.StatusOK {
			t.Errorf("a server that turns a login down is alive: status %d, %v", status, err)
		}
	})
	t.Run("no such host", func(t *testing.T) {
		nowhere := launch(t, "postgres://u@no-such-host.invalid/postgres")
		pgtest.Eventually(t, detect, func() error { return nowhere.reason(t, "dns") })
	})
}

func TestStartedBeforeItsServer(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	r := launch(t, c.MonitorDSN())
	start := time.Now()
	p := r.scrape(t)
	if took := time.Since(start); took > noWait {
		t.Errorf("the first scrape took %s", took)
	}
	for _, name := range []string{`pg_reliability_up_reason{reason="unknown"}`, `pg_reliability_collector_success{collector="settings"}`,
		`pg_reliability_collector_data_age_seconds{collector="settings"}`} {
		if _, ok := p[name]; !ok {
			t.Errorf("%s is absent", name)
		}
	}
	pgtest.Eventually(t, detect, func() error { return r.reason(t, "refused") })
	if err := c.Launch(t.Context()); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, detect, func() error {
		p := r.scrape(t)
		_, live := p["pg_static"]
		if !live && len(p) < 500 {
			return fmt.Errorf("%d samples", len(p))
		}
		return r.reason(t, "ok")
	})
}

func TestUsersLocksCostNothing(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := pgtest.New(t, pgtest.Options{})
	if err := c.Exec(ctx, "CREATE TABLE busy (id int)", "CREATE DATABASE other"); err != nil {
		t.Fatal(err)
	}
	r := launch(t, c.MonitorDSN())
	before := 0
	pgtest.Eventually(t, 10*time.Second, func() error {
		n := len(r.scrape(t))
		defer func() { before = n }()
		if n < 500 || n != before {
			return fmt.Errorf("%d samples, %d before", n, before)
		}
		return nil
	})
	locks := []struct{ database, sql string }{
		{"postgres", "LOCK TABLE busy IN ACCESS EXCLUSIVE MODE"}, {"other", "LOCK TABLE pg_class IN ACCESS EXCLUSIVE MODE"},
	}
	for _, l := range locks {
		conn, err := c.Connect(ctx, l.database)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(ctx)
		if _, err := conn.Exec(ctx, "BEGIN; "+l.sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
	}
	waiter, err := c.Connect(ctx, "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer waiter.Close(ctx)
	go func() {
		_, _ = waiter.Exec(ctx, "BEGIN; LOCK TABLE busy IN ACCESS EXCLUSIVE MODE", pgx.QueryExecModeSimpleProtocol)
	}()
	pgtest.Eventually(t, 20*time.Second, func() error {
		return r.scrape(t).is("pg_reliability_blocked_sessions", 1)
	})
	for range alwaysN {
		start := time.Now()
		n := len(r.scrape(t))
		if took := time.Since(start); took > noWait {
			t.Errorf("a scrape beside the locks took %s", took)
		}
		if float64(n) < 0.95*float64(before) {
			t.Errorf("%d samples beside the locks, %d without", n, before)
		}
	}
}

func TestScrapesAtOnce(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	r := launch(t, c.MonitorDSN())
	pgtest.Eventually(t, detect, func() error { return r.reason(t, "ok") })
	var all sync.WaitGroup
	most := 0
	for range 20 {
		all.Go(func() {
			if p := r.scrape(t); p["pg_up"] != 1 {
				t.Error("pg_up is not 1")
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	for running := true; running; {
		most = max(most, ourConnections(t, c))
		select {
		case <-done:
			running = false
		default:
		}
	}
	if most > bound {
		t.Errorf("%d connections, the bound is %d", most, bound)
	}
}

func TestAServerWithoutFreeConnections(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := pgtest.New(t, pgtest.Options{Settings: map[string]string{"max_connections": "15", "superuser_reserved_connections": "2"}})
	r := launch(t, c.MonitorDSN(), "--probe.login-interval=2s")
	var samples int
	pgtest.Eventually(t, 10*time.Second, func() error {
		p := r.scrape(t)
		samples = len(p)
		return errors.Join(r.reason(t, "ok"), p.is(`pg_reliability_collector_success{collector="settings"}`, 1))
	})
	var held []*pgx.Conn
	for {
		conn, err := pgx.Connect(ctx, c.MonitorDSN())
		if err != nil {
			break
		}
		held = append(held, conn)
	}
	pgtest.Eventually(t, detect, func() error { return r.health(t, "too_many_connections") })
	p := r.scrape(t)
	if err := errors.Join(r.reason(t, "too_many_connections"), p.is(`pg_reliability_probe_success{probe="login"}`, 0),
		p.is(`pg_reliability_probe_reason{probe="login",reason="too_many_connections"}`, 1),
		p.is(`pg_reliability_outages_total{reason="too_many_connections"}`, 1)); err != nil {
		t.Error(err)
	}
	if len(p) < samples*95/100 {
		t.Errorf("%d samples on the connections kept, %d before", len(p), samples)
	}
	late := launch(t, c.MonitorDSN())
	pgtest.Eventually(t, detect, func() error { return late.reason(t, "too_many_connections") })
	for _, conn := range held {
		_ = conn.Close(ctx)
	}
	pgtest.Eventually(t, detect, func() error { return errors.Join(r.reason(t, "ok"), late.reason(t, "ok")) })
}

func TestAScrapeOverASlowNetworkIsOneRoundTrip(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	proxy := pgtest.NewProxy(t, c)
	r := launch(t, proxy.DSN(c.MonitorDSN()))
	pgtest.Eventually(t, 10*time.Second, func() error {
		return errors.Join(r.reason(t, "ok"), r.scrape(t).is(`pg_reliability_collector_success{collector="settings"}`, 1))
	})
	accepted := proxy.Accepted()
	proxy.Delay(25 * time.Millisecond) // each way: 50 ms
	best := time.Hour
	collections := r.scrape(t)["pg_reliability_collections_total"]
	for n := 0; n < 10; {
		start := time.Now()
		p := r.scrape(t)
		took := time.Since(start)
		if p["pg_reliability_collections_total"] == collections {
			continue // it shares the collection of the one before
		}
		n, collections, best = n+1, p["pg_reliability_collections_total"], min(best, took)
		if err := p.is(`pg_reliability_collector_success{collector="stat_activity"}`, 1); err != nil {
			t.Error(err)
		}
	}
	if best < 50*time.Millisecond || best > 150*time.Millisecond {
		t.Errorf("a scrape over a network of 50 ms took %s", best)
	}
	if more := proxy.Accepted() - accepted; more > 2 {
		t.Errorf("%d connections were opened during 10 scrapes, the prober's logins are 1 each 10 s", more)
	}
}

func TestCountsOutliveTheExporter(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := pgtest.New(t, pgtest.Options{})
	dir := filepath.Join(t.TempDir(), "state")
	r := launch(t, c.MonitorDSN(), "--state.dir="+dir)
	pgtest.Eventually(t, detect, func() error { return r.reason(t, "ok") })
	if err := c.KillBackend(ctx); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, detect, func() error { return r.scrape(t).is(`pg_reliability_restarts_total{kind="crash"}`, 1) })
	if code := r.stop(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if err := c.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	again := launch(t, c.MonitorDSN(), "--state.dir="+dir)
	for _, logs := range []*pgtest.Buffer{r.logs, again.logs} {
		if strings.Contains(logs.String(), "keeps its state") {
			t.Errorf("an exporter by itself found another one:\n%s", logs)
		}
	}
	pgtest.Eventually(t, detect, func() error {
		p := again.scrape(t)
		return errors.Join(p.is(`pg_reliability_restarts_total{kind="crash"}`, 1), p.is(`pg_reliability_restarts_total{kind="restart"}`, 1))
	})
}

func TestThePageIsCleanInEveryFormat(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	r := launch(t, c.MonitorDSN(), "--volume=data="+c.DataDir())
	pgtest.Eventually(t, 10*time.Second, func() error { return r.scrape(t).is(`pg_reliability_collector_success{collector="settings"}`, 1) })
	_, body, err := r.get(t, "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	promtool := exec.CommandContext(t.Context(), tool(t, "promtool"), "check", "metrics")
	promtool.Stdin = strings.NewReader(body)
	if out, err := promtool.CombinedOutput(); err != nil {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
	for accept, want := range map[string]string{
		"application/openmetrics-text;version=1.0.0":                                                 "application/openmetrics-text",
		"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited": "application/vnd.google.protobuf",
	} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+"/metrics", nil)
		req.Header.Set("Accept", accept)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if got := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || !strings.HasPrefix(got, want) {
			t.Errorf("Accept %s: status %d, %s", accept, resp.StatusCode, got)
		}
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	dir := t.TempDir()
	file := filepath.Join(dir, "shop.yml")
	write := func(column string) {
		t.Helper()
		yaml := "- name: shop\n  help: Orders.\n  scope: cluster\n  refresh: live\n  queries:\n    - sql: SELECT 5 AS n\n  metrics:\n" +
			"    - {name: shop_orders, column: " + column + ", type: gauge, help: Orders.}\n"
		if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("n")
	r := launch(t, c.MonitorDSN(), "--collector.config-dir="+dir)
	pgtest.Eventually(t, detect, func() error { return r.scrape(t).is("shop_orders", 5) })
	if err := os.WriteFile(file, []byte("- name: shop\n  colour: red\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.reload <- syscall.SIGHUP
	pgtest.Eventually(t, detect, func() error { return r.scrape(t).is("pg_reliability_config_last_reload_successful", 0) })
	if err := r.scrape(t).is("shop_orders", 5); err != nil {
		t.Errorf("after a bad file: %v", err)
	}
	if !regexp.MustCompile(`shop\.yml:\d+: .*colour`).MatchString(r.logs.String()) {
		t.Errorf("the log does not name file and line:\n%s", r.logs)
	}
	write("n")
	resp, err := http.Post(r.url+"/-/reload", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("POST /-/reload: %s", resp.Status)
	}
	if err := r.scrape(t).is("pg_reliability_config_last_reload_successful", 1); err != nil {
		t.Error(err)
	}
}

func TestBadInputNamesThePlaceAndTheRemedy(t *testing.T) {
	for _, tc := range []struct {
		name string
		env  map[string]string
		args []string
		want string
	}{
		{"no server", nil, nil, "HINT: Set DATA_SOURCE_NAME"},
		{"unknown flag", nil, []string{"--no-such-flag"}, "unknown long flag"},
		{"malformed DSN", map[string]string{"DATA_SOURCE_NAME": "postgres://u:hunter2@h:port/d"}, nil, "no number from 1 to 65535"},
		{"no file", map[string]string{"DATA_SOURCE_NAME_FILE": "/nowhere"}, nil, "DATA_SOURCE_NAME_FILE: open /nowhere"},
		{"both", map[string]string{"DATA_SOURCE_NAME": "host=h", "DATA_SOURCE_NAME_FILE": "/x"}, nil, "both set. HINT"},
		{"pool", map[string]string{"DATA_SOURCE_NAME": "host=h"}, []string{"--pool.max-conns=1"},
			"--pool.max-conns: the pool's upper bound is 1"},
		{"volume", map[string]string{"DATA_SOURCE_NAME": "host=h"}, []string{"--volume=/data"}, "--volume"},
		{"container", map[string]string{"DATA_SOURCE_NAME": "host=h"}, []string{"--container.name=db", "--container.host=db:2375"},
			"--container.host"},
		{"probe", map[string]string{"DATA_SOURCE_NAME": "host=h"}, []string{"--probe.interval=1ms"}, "interval is 1ms. HINT"},
		{"collectors", map[string]string{"DATA_SOURCE_NAME": "host=h"}, []string{"--collector.config-dir=/nowhere"}, "--collector.config-dir: "},
		{"web config", map[string]string{"DATA_SOURCE_NAME": "host=h"}, []string{"--web.config.file=/nowhere.yml"}, "/nowhere.yml"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out pgtest.Buffer
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			env := func(name string) (string, bool) { v, ok := tc.env[name]; return v, ok }
			code := run(ctx, append(tc.args, "--state.dir=none"), env, nil, &out, nil)
			if code != exitUsage {
				t.Errorf("exit code %d, want %d", code, exitUsage)
			}
			if !strings.Contains(out.String(), tc.want) || strings.Contains(out.String(), "hunter2") {
				t.Errorf("it says %q, want %q", out.String(), tc.want)
			}
		})
	}
}

// tool finds a program that internal/pgtest/install.sh installs.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is not installed. HINT: Run internal/pgtest/install.sh prometheus", name)
	}
	return path
}
