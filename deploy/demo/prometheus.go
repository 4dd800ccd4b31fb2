package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/pg-reliability/pg_reliability_exporter/alerts"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

const prometheusPort = 9090

// prometheus scrapes the exporter and evaluates the rules of alerts/.
type prometheus struct {
	child
	// missing says why there is none; empty when there is.
	missing string
}

const prometheusConfig = `global:
  scrape_interval: 5s
  evaluation_interval: 5s
rule_files: [%q]
scrape_configs:
  - job_name: postgresql
    static_configs:
      - targets: ['%s']
        labels: {cluster: demo}
`

// fleetConfig asks the exporter for the further servers, with their labels.
const fleetConfig = `  - job_name: fleet
    http_sd_configs:
      - {url: 'http://%s/api/targets', refresh_interval: 5s}
`

func startPrometheus(ctx context.Context, r *room, target string, fleet *fleet) (*prometheus, error) {
	program, err := exec.LookPath("prometheus")
	if err != nil { // the demo is worth seeing without it
		return &prometheus{missing: "install the package prometheus, and the next demo shows it"}, nil //nolint:nilerr
	}
	if err := writeRules(r); err != nil {
		return nil, err
	}
	config := r.path("prometheus.yml")
	text := fmt.Appendf(nil, prometheusConfig, r.path("*.rules.yml"), target)
	if fleet.config != "" {
		text = fmt.Appendf(text, fleetConfig, target)
	}
	if err := os.WriteFile(config, text, 0o644); err != nil {
		return nil, fmt.Errorf("write Prometheus' configuration: %w", err)
	}
	p := &prometheus{child: child{name: "prometheus", port: prometheusPort, ready: "/-/ready", command: func(address string) *exec.Cmd {
		return pgtest.Command(program,
			"--config.file="+config,
			"--storage.tsdb.path="+filepath.Join(r.dir, "server", "prometheus"),
			"--web.listen-address="+address,
			"--log.level=warn",
		)
	}}}
	return p, p.launch(ctx, r)
}

func writeRules(r *room) error {
	config, err := alerts.Load()
	if err != nil {
		return err
	}
	files, err := config.Rules(1)
	if err != nil {
		return fmt.Errorf("make the rules: %w", err)
	}
	for name, text := range files {
		if err := os.WriteFile(r.path(name), []byte(text), 0o644); err != nil { //nolint:gosec // Prometheus is another user
			return fmt.Errorf("write the rules: %w", err)
		}
	}
	return nil
}

// scrape is what Prometheus says of its newest scrapes of the exporter: up, down, or unknown before the first.
func (p *prometheus) scrape(ctx context.Context) (health, lastError string) {
	var answer struct {
		Data struct {
			ActiveTargets []struct{ Health, LastError string }
		}
	}
	err := get(ctx, "http://"+p.address+"/api/v1/targets?state=active", func(resp *http.Response) error {
		return json.NewDecoder(resp.Body).Decode(&answer)
	})
	if err != nil || len(answer.Data.ActiveTargets) == 0 {
		return "unknown", ""
	}
	health = "up" // unless one of them is not
	for _, t := range answer.Data.ActiveTargets {
		if t.Health != "up" && health != "down" {
			health, lastError = t.Health, t.LastError
		}
	}
	return health, lastError
}
