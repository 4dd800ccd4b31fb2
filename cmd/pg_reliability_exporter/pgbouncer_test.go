package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// waiting are the console's own clients: they never wait.
const waiting = `pgbouncer_pools_client_waiting_connections{database="pgbouncer",user="pgbouncer"}`

// An exporter beside a PgBouncer alone has its metrics and its own, claims nothing of a server, and is there before it and after.
func TestAPgBouncerWithoutAServer(t *testing.T) {
	t.Parallel()
	b := pgtest.New(t, pgtest.Options{NoMonitorRole: true}).PgBouncer(t)
	r := launchWith(t, nil, "--pgbouncer.dsn="+b.DSN("stats", "pgbouncer"))
	first := r.scrape(t)
	if err := errors.Join(first.is("pgbouncer_up", 1), first.is(waiting, 0),
		first.is(`pg_reliability_collector_success{collector="pgbouncer"}`, 1), first.is("pg_exporter_last_scrape_error", 0)); err != nil {
		t.Errorf("the first page: %v", err)
	}
	for name := range first.names() {
		if name == "pg_up" || strings.HasPrefix(name, "pg_reliability_probe_") || strings.HasPrefix(name, "pg_reliability_pool_") {
			t.Errorf("%s is there, of a server that is not", name)
		}
	}
	for path, want := range map[string]int{"/": 200, "/-/ready": 200, "/api/health/ready": 404, "/metrics?collect[]=pgbouncer": 200,
		"/metrics?collect[]=wal": 400} {
		if status, body, err := r.get(t, path); status != want || err != nil {
			t.Errorf("%s: %d, %v\n%.300s", path, status, err, body)
		}
	}
	b.Kill()
	pgtest.Eventually(t, patience, func() error {
		return errors.Join(r.scrape(t).is("pgbouncer_up", 0), r.scrape(t).is("pg_exporter_last_scrape_error", 1), r.scrape(t).lacks(waiting))
	})
	b.Start()
	pgtest.Eventually(t, patience, func() error { return r.scrape(t).is("pgbouncer_up", 1) })
	if code, _ := r.post(t, "/-/reload"); code != http.StatusOK {
		t.Errorf("reload: %d", code)
	}
	if code := r.stop(); code != exitOK {
		t.Errorf("it ended with %d", code)
	}
}

// A fleet has PgBouncers as targets beside its servers; one that becomes another kind, or goes, leaves nothing behind.
func TestPgBouncersOfAFleet(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	b := c.PgBouncer(t)
	f := newFleetFile(t)
	pooler := func(port int) string {
		return fmt.Sprintf("  - {name: pooler, kind: pgbouncer, address: '127.0.0.1:%d', auth_module: monitoring}\n", port)
	}
	f.add("server", c.Port, "monitoring")
	f.targets = append(f.targets, pooler(b.Port))
	r := launchFleet(t, f)
	pgtest.Eventually(t, patience, func() error {
		p := r.probe(t, "target=pooler")
		return errors.Join(p.is("pgbouncer_up", 1), p.is(waiting, 0), p.lacks("pg_up"), r.probe(t, "target=server").state(1, "ok"))
	})
	if _, body, err := r.get(t, "/api/targets"); err != nil || !strings.Contains(body, `"__param_target":"pooler"`) {
		t.Errorf("/api/targets: %s, %v", body, err)
	}

	other, err := pgtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	f.targets[1] = pooler(other)
	f.write(t)
	if code, _ := r.post(t, "/-/reload"); code != http.StatusOK {
		t.Fatalf("reload: %d", code)
	}
	pgtest.Eventually(t, patience, func() error { return r.probe(t, "target=pooler").is("pgbouncer_up", 0) })
	f.targets = []string{strings.Replace(pooler(c.Port), "kind: pgbouncer, ", "", 1)} // the server under the pooler's name
	f.write(t)
	if code, _ := r.post(t, "/-/reload"); code != http.StatusOK {
		t.Fatalf("reload: %d", code)
	}
	pgtest.Eventually(t, patience, func() error {
		return errors.Join(r.probe(t, "target=pooler").is("pg_up", 1), r.probe(t, "target=pooler").lacks("pgbouncer_up"))
	})
}
