package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// parts are all that a reload reads.
type parts struct{ dsn, collectors, fleet, web string }

func (p parts) write(t *testing.T, dir string) {
	t.Helper()
	for name, text := range map[string]string{"dsn": p.dsn, "collectors/shop.yml": p.collectors, "fleet.yml": p.fleet, "web.yml": p.web} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// Each part is bad once while all others have changed: nothing of the others is taken, and the metric says so.
func TestABadReloadChangesNothing(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "collectors"), 0o700); err != nil {
		t.Fatal(err)
	}
	collector := func(metric string) string {
		return "- name: shop\n  help: Orders.\n  scope: cluster\n  refresh: live\n  queries:\n    - sql: SELECT 5 AS n\n  metrics:\n" +
			"    - {name: " + metric + ", column: n, type: gauge, help: Orders.}\n"
	}
	fleetOf := func(name, module string) string {
		return fmt.Sprintf("auth_modules:\n  m: {user: %s, password: %s, sslmode: disable, %s}\ntargets:\n"+
			"  - {name: %s, address: '127.0.0.1:%d/postgres', auth_module: m}\n", pgtest.Monitor, pgtest.Password, module, name, c.Port)
	}
	before := parts{dsn: c.MonitorDSN(), collectors: collector("shop_orders"), fleet: fleetOf("a", "options: {}"), web: "{}\n"}
	after := parts{
		dsn:        strings.Replace(c.MonitorDSN(), pgtest.Password, "taken-over", 1),
		collectors: collector("shop_sales"), fleet: fleetOf("b", "options: {}"), web: "http_server_config: {}\n",
	}
	before.write(t, dir)
	r := launchWith(t, map[string]string{"DATA_SOURCE_NAME_FILE": filepath.Join(dir, "dsn")}, "--collector.config-dir="+
		filepath.Join(dir, "collectors"),
		"--config.file="+filepath.Join(dir, "fleet.yml"), "--web.config.file="+filepath.Join(dir, "web.yml"), "--probe.interval=200ms",
		"--probe.login-interval=200ms")
	logins := func(p page) (n float64) {
		for name, value := range p {
			if strings.HasPrefix(name, `pg_reliability_probe_total{probe="login"`) {
				n += value
			}
		}
		return n
	}
	asBefore := func() error {
		own, target := r.scrape(t), r.probe(t, "target=a")
		err := errors.Join(own.state(1, "ok"), own.is("shop_orders", 5), own.lacks("shop_sales"), target.state(1, "ok"),
			target.is("shop_orders", 5))
		if status, _, _ := r.get(t, "/probe?target=b"); status != http.StatusBadRequest {
			err = errors.Join(err, fmt.Errorf("target b has status %d", status))
		}
		return err
	}
	pgtest.Eventually(t, patience, asBefore)

	for name, spoil := range map[string]func(*parts){
		"no connection string":                func(p *parts) { p.dsn = "" },
		"a connection string that is none":    func(p *parts) { p.dsn = "postgres://u:secret@[::1/db" },
		"a connection string to other places": func(p *parts) { p.dsn = "postgres://u@127.0.0.9:1/db" },
		"collectors":                          func(p *parts) { p.collectors = "- name: shop\n  colour: red\n" },
		"a collector's metric that is ours":   func(p *parts) { p.collectors = collector("pg_up") },
		"fleet":                               func(p *parts) { p.fleet = "targets: [{name: x}]\n" },
		"a file that a fleet names":           func(p *parts) { p.fleet = fleetOf("b", "options: {sslrootcert: nowhere.pem}") },
		"the web server's configuration":      func(p *parts) { p.web = "tls_server_conf: {}\n" },
	} {
		t.Run(name, func(t *testing.T) {
			bad := after
			spoil(&bad)
			bad.write(t, dir)
			if bad.web != after.web { // exporter-toolkit reads it at each request, and answers none while it is bad
				r.reload <- syscall.SIGHUP
				pgtest.Eventually(t, patience, func() error {
					if !strings.Contains(r.logs.String(), "the old one runs on\" err=\"web configuration file") {
						return errors.New("nothing was said of the bad file")
					}
					return nil
				})
				before.write(t, dir)
			} else if status, text := r.post(t, "/-/reload"); status != http.StatusInternalServerError {
				t.Errorf("status %s", text)
			}
			pgtest.Eventually(t, patience, func() error { return r.scrape(t).is("pg_reliability_config_last_reload_successful", 0) })
			if err := asBefore(); err != nil {
				t.Error(err)
			}
			// Nor at the next login.
			seen := logins(r.scrape(t))
			pgtest.Eventually(t, patience, func() error {
				if now := logins(r.scrape(t)); now < seen+3 {
					return fmt.Errorf("%v logins since", now-seen)
				}
				return nil
			})
			if err := asBefore(); err != nil {
				t.Error(err)
			}
		})
	}

	// All of it good: all of it is taken.
	after.write(t, dir)
	if status, text := r.post(t, "/-/reload"); status != http.StatusOK {
		t.Fatal(text)
	}
	pgtest.Eventually(t, patience, func() error {
		own, target := r.scrape(t), r.probe(t, "target=b")
		return errors.Join(own.state(0, "auth"), own.is("shop_sales", 5), own.lacks("shop_orders"), target.state(1, "ok"),
			target.is("shop_sales", 5),
			own.is("pg_reliability_config_last_reload_successful", 1))
	})
}
