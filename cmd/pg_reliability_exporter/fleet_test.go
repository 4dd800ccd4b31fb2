package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// patience is for what happens at once, unless the machine is very busy.
const patience = 30 * time.Second

// fleetFile is a configuration on disk, as a user edits it.
type fleetFile struct {
	path    string
	targets []string // lines
	allow   string
	rest    string
}

func newFleetFile(t *testing.T) *fleetFile {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "password"), []byte(pgtest.Password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &fleetFile{path: filepath.Join(dir, "fleet.yml")}
}

func (f *fleetFile) add(name string, port int, module string) {
	f.targets = append(f.targets, fmt.Sprintf("  - {name: %s, address: '127.0.0.1:%d/postgres', auth_module: %s, labels: {cluster: "+
		"%s-cluster}}\n", name, port, module, name))
}

func (f *fleetFile) write(t *testing.T) {
	t.Helper()
	text := "auth_modules:\n  monitoring: {user: " + pgtest.Monitor + ", password_file: password, sslmode: disable}\n" +
		"  md5: {user: " + pgtest.Monitor + ", password_file: password, sslmode: disable, options: {require_auth: 'md5,scram-sha-256,none'}}\n" +
		"  wrong: {user: " + pgtest.Monitor + ", password: wrong, sslmode: disable}\n"
	if len(f.targets) > 0 {
		text += "targets:\n" + strings.Join(f.targets, "")
	}
	if err := os.WriteFile(f.path, []byte(text+f.allow+f.rest), 0o600); err != nil {
		t.Fatal(err)
	}
}

// launchFleet runs the exporter without a server of its own.
func launchFleet(t *testing.T, f *fleetFile, args ...string) *running {
	t.Helper()
	f.write(t)
	return launch(t, "", append(args, "--config.file="+f.path)...)
}

func (r *running) post(t *testing.T, path string) (int, string) {
	t.Helper()
	resp, err := http.Post(r.url+path, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b strings.Builder
	_, _ = fmt.Fprint(&b, resp.Status)
	return resp.StatusCode, b.String()
}

// probe is a page of /probe.
func (r *running) probe(t *testing.T, query string) page {
	t.Helper()
	return r.scrapePath(t, "/probe?"+query)
}

func (p page) state(up float64, reason string) error {
	return errors.Join(p.is("pg_up", up), p.is(fmt.Sprintf("pg_reliability_up_reason{reason=%q}", reason), 1))
}

// ends are the oldest and the newest server on this machine; where there is one, both are that.
func ends(t *testing.T) (oldest, newest pgtest.Options) {
	t.Helper()
	all := slices.DeleteFunc(pgtest.Installed(), func(i pgtest.Install) bool { return !slices.Contains(pgtest.Supported(), i.Major) })
	if len(all) == 0 {
		t.Fatal("no PostgreSQL server on this machine. HINT: Run internal/pgtest/install.sh server")
	}
	return pgtest.Options{Install: all[0]}, pgtest.Options{Install: all[len(all)-1]}
}

func TestFleetOfServersInEveryState(t *testing.T) {
	t.Parallel()
	first, last := ends(t)
	oldest, newest, other := pgtest.New(t, first), pgtest.New(t, last), pgtest.New(t, pgtest.Options{})
	frozen := pgtest.New(t, pgtest.Options{})
	nobody, err := pgtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	f := newFleetFile(t)
	f.add("old", oldest.Port, "monitoring")
	f.add("new", newest.Port, "monitoring")
	f.add("locked-out", other.Port, "wrong")
	f.add("frozen", frozen.Port, "monitoring")
	f.add("down", nobody, "monitoring")
	f.allow = fmt.Sprintf("allow: [{hosts: localhost, ports: [%d], auth_modules: [monitoring]}]\n", frozen.Port)
	stateDir := t.TempDir()
	r := launchFleet(t, f, "--state.dir="+stateDir)

	states := func() error {
		return errors.Join(
			r.probe(t, "target=old").state(1, "ok"), r.probe(t, "target=new").state(1, "ok"),
			r.probe(t, "target=locked-out").state(0, "auth"), r.probe(t, "target=down").state(0, "refused"))
	}
	pgtest.Eventually(t, patience, func() error { return errors.Join(states(), r.probe(t, "target=frozen").state(1, "ok")) })
	frozen.Pause()
	pgtest.Eventually(t, patience, func() error { return r.probe(t, "target=frozen").state(0, "timeout") })
	defer frozen.Resume()

	// One that is asked for while it is frozen is answered for before the client gives up, and not after the probe's timeout.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("%s/probe?target=localhost:%d&auth_module=monitoring",
		r.url, frozen.Port), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", "1")
	start := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if took := time.Since(start); resp.StatusCode != http.StatusOK || took > 1500*time.Millisecond {
		t.Errorf("the first page of a frozen server, with a timeout of 1 s: %s after %s", resp.Status, took)
	}

	// Each is answered at once, whatever the others are at.
	var all sync.WaitGroup
	for _, name := range []string{"old", "new", "locked-out", "frozen", "down"} {
		all.Go(func() {
			var times []time.Duration
			for range alwaysN {
				start := time.Now()
				r.probe(t, "target="+name)
				times = append(times, time.Since(start))
			}
			slices.Sort(times)
			// Who waits for a server waits for a probe's timeout of 2 s, or for the scrape's of 10.
			if median, longest := times[len(times)/2], times[len(times)-1]; median > noWait || longest > 1900*time.Millisecond {
				t.Errorf("pages of %s took %s, the longest %s", name, median, longest)
			}
		})
	}
	all.Wait()
	if err := states(); err != nil {
		t.Error(err)
	}
	for target, major := range map[string]int{"old": first.Install.Major, "new": last.Install.Major} {
		found := false
		for name := range r.probe(t, "target="+target) {
			found = found || strings.HasPrefix(name, "pg_static{") && strings.Contains(name, fmt.Sprintf(`short_version="%d.`, major))
		}
		if !found {
			t.Errorf("the page of %s is not that of a PostgreSQL %d", target, major)
		}
	}
	// The same address is the same target.
	if err := r.probe(t, fmt.Sprintf("target=127.0.0.1:%d/postgres", newest.Port)).state(1, "ok"); err != nil {
		t.Error(err)
	}

	// Nobody scrapes, and still the restart is counted, and outlives the exporter.
	if err := newest.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	restarted := func(r *running) func() error {
		return func() error { return r.probe(t, "target=new").is(`pg_reliability_restarts_total{kind="restart"}`, 1) }
	}
	pgtest.Eventually(t, patience, restarted(r))
	stopping := time.Now()
	if code := r.stop(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(stopping); took > 8*time.Second { // Docker kills after 10
		t.Errorf("stopping took %s", took)
	}
	again := launchFleet(t, f, "--state.dir="+stateDir)
	if err := restarted(again)(); err != nil {
		t.Errorf("after a restart of the exporter: %v", err)
	}
	// What is the exporter's own stands on /metrics, and nothing of a server.
	own := again.scrape(t)
	if err := own.is(`pg_reliability_fleet_targets{kind="listed"}`, 5); err != nil {
		t.Error(err)
	}
	if _, ok := own["pg_up"]; ok {
		t.Error("pg_up is on /metrics of an exporter without a server of its own")
	}
	if status, _, _ := again.get(t, "/api/health/ready"); status != http.StatusNotFound {
		t.Errorf("/api/health/ready of an exporter without a server: status %d", status)
	}
	if status, body, _ := again.get(t, "/"); status != http.StatusOK || !strings.Contains(body, "probe?target=frozen") {
		t.Errorf("the landing page: status %d\n%s", status, body)
	}
}

func TestFleetSendsPasswordsToNobodyElse(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	stranger := pgtest.NewProxy(t, c)
	f := newFleetFile(t)
	f.add("listed", c.Port, "monitoring")
	f.allow = fmt.Sprintf("allow:\n  - {networks: [127.0.0.2/32], ports: [%d], databases: [postgres], auth_modules: [monitoring]}\n",
		stranger.Port())
	r := launchFleet(t, f)
	address := fmt.Sprintf("127.0.0.1:%d", stranger.Port())
	for query, want := range map[string]int{
		"target=" + address + "&auth_module=monitoring":                                  http.StatusForbidden,
		fmt.Sprintf("target=localhost:%d&auth_module=monitoring", stranger.Port()):       http.StatusForbidden,
		fmt.Sprintf("target=127.0.0.2:%d&auth_module=wrong", stranger.Port()):            http.StatusForbidden,
		fmt.Sprintf("target=127.0.0.2:%d/other&auth_module=monitoring", stranger.Port()): http.StatusForbidden,
		fmt.Sprintf("target=127.0.0.2:%d&auth_module=monitoring", c.Port):                http.StatusForbidden,
		"target=" + address: http.StatusBadRequest,
		"":                  http.StatusBadRequest,
		"target=" + address + "&auth_module=none":         http.StatusBadRequest,
		"target=listed&auth_module=wrong":                 http.StatusBadRequest,
		"target=listed&collect[]=none":                    http.StatusBadRequest,
		"target=postgres://u:" + pgtest.Password + "@db1": http.StatusBadRequest,
		"target=db1,db2&auth_module=monitoring":           http.StatusBadRequest,
		"target=..%2f..%2fetc%2fpasswd&auth_module=wrong": http.StatusBadRequest,
	} {
		status, body, err := r.get(t, "/probe?"+query)
		if err != nil || status != want || !strings.Contains(body, "HINT: ") || strings.Contains(body, pgtest.Password) {
			t.Errorf("/probe?%s: status %d, want %d: %s %v", query, status, want, body, err)
		}
	}
	if n := stranger.Accepted(); n != 0 {
		t.Errorf("%d connections to a server that nobody allowed", n)
	}
	if err := r.scrape(t).is(`pg_reliability_fleet_probes_rejected_total{reason="denied"}`, 5); err != nil {
		t.Error(err)
	}
	// A server that asks for the password itself does not get it.
	if err := c.WriteHBA("local all all trust\nhost all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 password\n"); err != nil {
		t.Fatal(err)
	}
	f.add("greedy", stranger.Port(), "monitoring")
	f.write(t)
	if err := c.Reload(); err != nil {
		t.Fatal(err)
	}
	if status, text := r.post(t, "/-/reload"); status != http.StatusOK {
		t.Fatal(text)
	}
	pgtest.Eventually(t, patience, func() error { return r.probe(t, "target=greedy").state(0, "auth") })
	if !strings.Contains(r.logs.String(), "greedy") {
		t.Errorf("the log does not say why:\n%s", r.logs)
	}
	// One that asks for its MD5 hash gets it where the auth module says so.
	if err := errors.Join(
		c.Exec(t.Context(), "SET password_encryption = 'md5'; ALTER ROLE "+pgtest.Monitor+" PASSWORD '"+pgtest.Password+"'"),
		c.WriteHBA("local all all trust\nhost all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 md5\n"), c.Reload(),
	); err != nil {
		t.Fatal(err)
	}
	f.targets = nil
	f.add("greedy", stranger.Port(), "monitoring")
	f.add("old", c.Port, "md5")
	f.write(t)
	if status, text := r.post(t, "/-/reload"); status != http.StatusOK {
		t.Fatal(text)
	}
	pgtest.Eventually(t, patience, func() error {
		return errors.Join(r.probe(t, "target=greedy").state(0, "auth"), r.probe(t, "target=old").state(1, "ok"))
	})
}

func TestFleetFollowsItsConfiguration(t *testing.T) {
	t.Parallel()
	a, b := pgtest.New(t, pgtest.Options{}), pgtest.New(t, pgtest.Options{})
	f := newFleetFile(t)
	f.add("a", a.Port, "monitoring")
	f.allow = fmt.Sprintf("allow:\n  - {hosts: localhost, ports: [%d], auth_modules: [monitoring]}\n", b.Port)
	r := launchFleet(t, f, "--state.dir="+t.TempDir())
	onDemand := fmt.Sprintf("target=localhost:%d&auth_module=monitoring", b.Port)
	if err := r.probe(t, onDemand).state(1, "ok"); err != nil {
		t.Errorf("the first page of a server that was not watched yet: %v", err)
	}
	pgtest.Eventually(t, patience, func() error { return r.probe(t, "target=a").state(1, "ok") })
	if err := a.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	counted := func() error { return r.probe(t, "target=a").is(`pg_reliability_restarts_total{kind="restart"}`, 1) }
	pgtest.Eventually(t, patience, counted)

	// A bad file changes nothing.
	if err := os.WriteFile(f.path, []byte("auth_modules: {m: {user: u, password: hunter2}}\ntargets: [{name: x}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.reload <- syscall.SIGHUP
	pgtest.Eventually(t, patience, func() error { return r.scrape(t).is("pg_reliability_config_last_reload_successful", 0) })
	if logs := r.logs.String(); !strings.Contains(logs, "fleet.yml:2: no address. HINT: ") || strings.Contains(logs, "hunter2") {
		t.Errorf("the log:\n%s", logs)
	}
	if err := errors.Join(counted(), r.probe(t, onDemand).state(1, "ok")); err != nil {
		t.Error(err)
	}

	// One more is watched, and what is not allowed any more is not.
	f.add("b", b.Port, "monitoring")
	f.allow = ""
	f.write(t)
	if status, text := r.post(t, "/-/reload"); status != http.StatusOK {
		t.Fatal(text)
	}
	pgtest.Eventually(t, patience, func() error { return r.probe(t, "target=b").state(1, "ok") })
	if status, _, _ := r.get(t, "/probe?"+onDemand); status != http.StatusForbidden {
		t.Errorf("a server that is not allowed any more: status %d", status)
	}
	pgtest.Eventually(t, patience, func() error { return r.scrape(t).is(`pg_reliability_fleet_targets{kind="on_demand"}`, 0) })

	// Another auth module is another login, and the same counts.
	f.targets[0] = strings.Replace(f.targets[0], "monitoring", "wrong", 1)
	f.write(t)
	if status, text := r.post(t, "/-/reload"); status != http.StatusOK {
		t.Fatal(text)
	}
	pgtest.Eventually(t, patience, func() error { return errors.Join(r.probe(t, "target=a").state(0, "auth"), counted()) })
	f.targets = f.targets[1:]
	f.write(t)
	if status, text := r.post(t, "/-/reload"); status != http.StatusOK {
		t.Fatal(text)
	}
	if status, _, _ := r.get(t, "/probe?target=a"); status != http.StatusBadRequest {
		t.Errorf("a target that was taken off the list: status %d", status)
	}
	pgtest.Eventually(t, patience, func() error { return none(a, t) })
}

func none(c *pgtest.Cluster, t *testing.T) error {
	t.Helper()
	if n := ourConnections(t, c); n != 0 {
		return fmt.Errorf("%d connections are left", n)
	}
	return nil
}

func TestFleetTakesABurstAndLeavesNothingBehind(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	f := newFleetFile(t)
	f.allow = fmt.Sprintf("allow:\n  - {networks: [127.0.0.0/8], ports: [%d], databases: [postgres, template1], auth_modules: [monitoring]}\n",
		c.Port)
	f.rest = "max_targets: 2\nidle_timeout: 10s\n"
	stateDir := t.TempDir()
	r := launchFleet(t, f, "--state.dir="+stateDir, "--web.max-requests=50")
	r.scrape(t)
	before := runtime.NumGoroutine()

	query := fmt.Sprintf("target=127.0.0.1:%d&auth_module=monitoring", c.Port)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if err := r.probe(t, query).state(1, "ok"); err != nil {
				t.Error(err)
			}
		})
	}
	most := 0
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
		t.Errorf("%d connections for 50 scrapes at once, the bound is %d", most, bound)
	}
	if n := r.probe(t, query)["pg_reliability_collections_total"]; n < 1 || n > 25 { // they share pages, and collections where not
		t.Errorf("50 scrapes at once were %v collections", n)
	}

	// Nobody answers at the second, so that nothing of it is worth keeping; a third is one too many.
	dead := fmt.Sprintf("target=127.0.0.9:%d&auth_module=monitoring", c.Port)
	if err := r.probe(t, dead).is("pg_up", 0); err != nil {
		t.Error(err)
	}
	status, body, err := r.get(t, "/probe?"+strings.Replace(dead, "127.0.0.9", "127.0.0.10", 1))
	if err != nil || status != http.StatusServiceUnavailable || !strings.Contains(body, "HINT: Raise max_targets") {
		t.Errorf("one too many: status %d: %s %v", status, body, err)
	}

	pgtest.Eventually(t, time.Minute, func() error {
		return errors.Join(r.scrape(t).is(`pg_reliability_fleet_targets{kind="on_demand"}`, 0), none(c, t))
	})
	http.DefaultClient.CloseIdleConnections()
	pgtest.Eventually(t, patience, func() error {
		if n := runtime.NumGoroutine(); n > before+4 {
			return fmt.Errorf("%d goroutines, %d before", n, before)
		}
		return nil
	})
	if dirs, _ := filepath.Glob(filepath.Join(stateDir, "targets", "*")); len(dirs) != 1 {
		t.Errorf("state of %q is kept, want that of the server that answered", dirs)
	}
	// It comes back with its counts.
	if err := c.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, patience, func() error { return r.probe(t, query).is(`pg_reliability_restarts_total{kind="restart"}`, 1) })
}

// A server of its own and a fleet beside it.
func TestFleetBesideAServer(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	f := newFleetFile(t)
	f.add("same", c.Port, "monitoring")
	f.write(t)
	r := launch(t, c.MonitorDSN(), "--config.file="+f.path)
	pgtest.Eventually(t, patience, func() error { return errors.Join(r.reason(t, "ok"), r.probe(t, "target=same").state(1, "ok")) })
	_, body, err := r.get(t, "/api/targets")
	if err != nil {
		t.Fatal(err)
	}
	var groups []struct {
		Targets []string
		Labels  map[string]string
	}
	if err := json.Unmarshal([]byte(body), &groups); err != nil {
		t.Fatal(err)
	}
	if len(groups) != 1 || groups[0].Targets[0] != strings.TrimPrefix(r.url, "http://") || groups[0].Labels["instance"] != "same" ||
		groups[0].Labels["cluster"] != "same-cluster" ||
		groups[0].Labels["exporter"] != groups[0].Targets[0] {
		t.Errorf("/api/targets: %s", body)
	}
	for shard, want := range map[string]string{"0/1": body, "0/2": body, "1/2": "[]\n"} { // by md5 it is in the first of two
		if status, got, err := r.get(t, "/api/targets?shard="+shard); err != nil || status != http.StatusOK || got != want {
			t.Errorf("shard %s: status %d, %q, %v, want %q", shard, status, got, err, want)
		}
	}
	status, got, err := r.get(t, "/api/targets?shard=2/2")
	if err != nil || status != http.StatusBadRequest || !strings.Contains(got, "HINT") {
		t.Errorf("a shard that there is not: status %d, %q, %v", status, got, err)
	}
	// The two pages have the same metrics, but for those of the process.
	pgtest.Eventually(t, 2*time.Minute, func() error {
		own, probe := r.scrape(t).names(), r.probe(t, "target=same").names()
		for _, page := range []map[string]bool{own, probe} {
			delete(page, "pg_reliability_collector_errors_total") // there from the first error on: a busy machine's slow query is one
		}
		for name := range own {
			if strings.HasPrefix(name, "pg_") && !probe[name] && !strings.HasPrefix(name, "pg_reliability_fleet_") &&
				!strings.HasPrefix(name, "pg_reliability_config_") && name != "pg_reliability_status_page_info" &&
				!strings.HasPrefix(name, "pg_reliability_exporter_") {
				return fmt.Errorf("%s is on /metrics alone", name)
			}
		}
		for name := range probe {
			if !own[name] {
				return fmt.Errorf("%s is on /probe alone", name)
			}
		}
		if len(probe) < 100 {
			return fmt.Errorf("%d metrics on /probe", len(probe))
		}
		return nil
	})
}

// names of the page's metrics, without labels.
func (p page) names() map[string]bool {
	names := map[string]bool{}
	for sample := range p {
		name, _, _ := strings.Cut(sample, "{")
		names[name] = true
	}
	return names
}
