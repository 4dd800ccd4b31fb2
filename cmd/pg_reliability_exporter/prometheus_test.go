package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// A real Prometheus scrapes the exporter; what a user would ask it is asked through its HTTP API.
func TestPrometheusScrapesTheExporter(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	r := launch(t, c.MonitorDSN(), "--volume=data="+c.DataDir())
	prometheus := startPrometheus(t, strings.TrimPrefix(r.url, "http://"))

	for query, holds := range map[string]func(float64) bool{
		`up{job="postgres"}`: func(v float64) bool { return v == 1 },
		`pg_up`:              func(v float64) bool { return v == 1 },
		`histogram_quantile(0.99, sum by (le) (rate(pg_reliability_probe_duration_seconds_bucket{probe="read",phase="query"}[30s])))`: func(v float64) bool { return v > 0 && v < 2 },
		`sum(rate(pg_stat_database_xact_commit[30s]))`:                   func(v float64) bool { return v > 0 },
		`max(pg_settings_max_connections) - sum(pg_stat_activity_count)`: func(v float64) bool { return v > 0 },
		`pg_reliability_volume_available_bytes{volume="data"} / pg_reliability_volume_size_bytes`: func(v float64) bool {
			return v > 0 &&
				v <= 1
		},
		`count(pg_reliability_collector_success == 0) or vector(0)`: func(v float64) bool { return v == 0 },
	} {
		pgtest.Eventually(t, 30*time.Second, func() error {
			v, err := prometheus.query(query)
			if err == nil && !holds(v) {
				err = fmt.Errorf("%s is %v", query, v)
			}
			return err
		})
	}

	var targets struct {
		Data struct {
			ActiveTargets []struct{ Health, LastError string }
		}
	}
	if err := prometheus.get("/api/v1/targets", &targets); err != nil {
		t.Fatal(err)
	}
	for _, target := range targets.Data.ActiveTargets {
		if target.Health != "up" || target.LastError != "" {
			t.Errorf("the target is %s: %s", target.Health, target.LastError)
		}
	}

	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, 15*time.Second, func() error {
		down, err := prometheus.query(`pg_up == 0 and on () up{job="postgres"} == 1 and on () pg_reliability_up_reason{reason="refused"} == 1`)
		if err == nil && down != 0 {
			err = fmt.Errorf("pg_up is %v", down)
		}
		return err
	})
}

type prometheusServer struct{ url string }

func startPrometheus(t *testing.T, target string) prometheusServer {
	t.Helper()
	return startPrometheusWith(t, fmt.Sprintf("global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n"+
		"  - job_name: postgres\n    static_configs: [{targets: [%q]}]\n", target), nil)
}

// startPrometheusWith takes a whole configuration, and files beside it.
func startPrometheusWith(t *testing.T, config string, files map[string]string) prometheusServer {
	t.Helper()
	port, err := pgtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var logs pgtest.Buffer
	cmd := exec.Command(tool(t, "prometheus"), "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		fmt.Sprintf("--web.listen-address=127.0.0.1:%d", port))
	cmd.Stdout, cmd.Stderr = &logs, &logs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("Prometheus' log:\n%s", &logs)
		}
	})
	p := prometheusServer{fmt.Sprintf("http://127.0.0.1:%d", port)}
	pgtest.Eventually(t, 30*time.Second, func() error {
		resp, err := http.Get(p.url + "/-/ready")
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
		return nil
	})
	return p
}

func (p prometheusServer) get(path string, into any) error {
	resp, err := http.Get(p.url + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// query is the value of a query with exactly one result.
func (p prometheusServer) query(expr string) (float64, error) {
	var answer struct {
		Data struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := p.get("/api/v1/query?query="+url.QueryEscape(expr), &answer); err != nil {
		return 0, err
	}
	if n := len(answer.Data.Result); n != 1 {
		return 0, fmt.Errorf("%s has %d results", expr, n)
	}
	var v float64
	_, err := fmt.Sscan(fmt.Sprint(answer.Data.Result[0].Value[1]), &v)
	return v, err
}
