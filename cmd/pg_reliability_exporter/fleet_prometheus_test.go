package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// deployed is a configuration of deploy/prometheus as it stands there, but for the exporter's address, the time between
// scrapes, and where the rules are.
func deployed(t *testing.T, name, exporter string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../deploy/prometheus", name))
	if err != nil {
		t.Fatal(err)
	}
	rules, err := filepath.Abs("../../alerts")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, change := range [][2]string{
		{"exporter:9187", exporter},
		{"scrape_interval: 15s", "scrape_interval: 1s\n  scrape_timeout: 1s"},
		{"/etc/prometheus/rules/*.rules.yml", rules + "/availability.rules.yml"},
	} {
		if !strings.Contains(text, change[0]) {
			t.Fatalf("%s has no %q", name, change[0])
		}
		text = strings.ReplaceAll(text, change[0], change[1])
	}
	return strings.ReplaceAll(text, "refresh_interval: 30s", "refresh_interval: 1s")
}

// Real Prometheus servers with the shipped configurations find three servers behind one exporter, and the alerts' rules see
// each with its instance and cluster.
func TestPrometheusFindsTheFleet(t *testing.T) {
	t.Parallel()
	first, second, third := pgtest.New(t, pgtest.Options{}), pgtest.New(t, pgtest.Options{}), pgtest.New(t, pgtest.Options{})
	f := newFleetFile(t)
	f.targets = []string{
		fmt.Sprintf("  - {name: shop-1, address: '127.0.0.1:%d', auth_module: monitoring, labels: {cluster: shop}}\n", first.Port),
		fmt.Sprintf("  - {name: shop-2, address: '127.0.0.1:%d', auth_module: monitoring, labels: {cluster: shop}}\n", second.Port),
	}
	listed := len(f.targets)
	f.allow = fmt.Sprintf("allow: [{hosts: localhost, ports: [%d], auth_modules: [monitoring]}]\n", third.Port)
	r := launchFleet(t, f)
	exporter := strings.TrimPrefix(r.url, "http://")

	// The shipped targets file, with the address of a server that is there.
	targets, err := os.ReadFile("../../deploy/prometheus/targets/postgresql.yml")
	if err != nil {
		t.Fatal(err)
	}
	moved := strings.ReplaceAll(string(targets), "db7.example.com:5432", fmt.Sprintf("localhost:%d", third.Port))
	byFile := startPrometheusWith(t, deployed(t, "file_sd.yml", exporter), map[string]string{"targets/postgresql.yml": moved})
	byHTTP := startPrometheusWith(t, deployed(t, "http_sd.yml", exporter), nil)

	type series struct{ instance, cluster string }
	for _, s := range []series{{"shop-1", "shop"}, {"shop-2", "shop"}, {"billing-1", "billing"}} {
		for _, query := range []string{"up{job=%q, instance=%q, cluster=%q}", "pg_up{job=%q, instance=%q, cluster=%q}",
			`pg_reliability_role{role="primary", job=%q, instance=%q, cluster=%q}`} {
			wait(t, byFile, fmt.Sprintf(query, "postgresql", s.instance, s.cluster), 1)
		}
	}
	wait(t, byHTTP, `count(up{job="postgresql", cluster="shop"} == 1)`, float64(listed))
	for _, p := range []prometheusServer{byFile, byHTTP} {
		wait(t, p, `up{job="pg_reliability_exporter"}`, 1)
		wait(t, p, `count(pgr:cluster:primaries{cluster="shop"})`, 2) // two servers that have nothing to do with each other
	}
	wait(t, byFile, `pgr:cluster:primaries{cluster="billing"}`, 1)

	if err := second.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, p := range []prometheusServer{byFile, byHTTP} {
		wait(t, p, `count(ALERTS{alertname="PostgresRestarted", instance="shop-2", cluster="shop"})`, 1)
		wait(t, p, `count(ALERTS{alertname="PostgresRestarted", instance!="shop-2"}) or vector(0)`, 0)
	}

	// The list is Prometheus' list: a server that is added is scraped without touching Prometheus.
	f.targets = append(f.targets, fmt.Sprintf("  - {name: shop-3, address: '127.0.0.1:%d', auth_module: monitoring, labels: {cluster: "+
		"shop}}\n", third.Port))
	f.write(t)
	if status, text := r.post(t, "/-/reload"); status != 200 {
		t.Fatal(text)
	}
	wait(t, byHTTP, `pg_up{instance="shop-3", cluster="shop"}`, 1)
}

func wait(t *testing.T, p prometheusServer, query string, want float64) {
	t.Helper()
	pgtest.Eventually(t, time.Minute, func() error {
		v, err := p.query(query)
		if err == nil && v != want {
			err = fmt.Errorf("%s is %v, want %v", query, v, want)
		}
		return err
	})
}
