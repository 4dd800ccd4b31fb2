package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/pg-reliability/pg_reliability_exporter/alerts"
	"github.com/pg-reliability/pg_reliability_exporter/dashboards"
	provisioning "github.com/pg-reliability/pg_reliability_exporter/deploy/grafana"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

const (
	grafanaPort = 3000
	grafanaHome = "/usr/share/grafana" // where its packages put what it reads
)

// grafana shows the boards, where a Grafana is installed.
type grafana struct {
	child
	// missing says why there is none; empty when there is.
	missing string
}

func startGrafana(ctx context.Context, r *room, prometheus *prometheus) (*grafana, error) {
	program, err := exec.LookPath("grafana")
	switch {
	case err != nil:
		return &grafana{missing: "install Grafana, and the next demo shows the boards"}, nil //nolint:nilerr // worth seeing without
	case prometheus.missing != "":
		return &grafana{missing: "it needs Prometheus"}, nil
	}
	if err := writeBoards(r, prometheus.address); err != nil {
		return nil, err
	}
	data := filepath.Join(r.dir, "server", "grafana") // the server's user may write there
	g := &grafana{child: child{name: "grafana", port: grafanaPort, ready: "/api/health", command: func(address string) *exec.Cmd {
		host, port, _ := net.SplitHostPort(address)
		cmd := pgtest.Command(program, "server", "--homepath="+grafanaHome)
		// Nothing of the user's environment may lead it elsewhere. Whoever reaches loopback may look and change nothing.
		cmd.Env = []string{
			"PATH=" + os.Getenv("PATH"), "HOME=" + data,
			"GF_PATHS_DATA=" + data, "GF_PATHS_LOGS=" + data, "GF_PATHS_PLUGINS=" + filepath.Join(data, "plugins"),
			"GF_PATHS_PROVISIONING=" + r.path("grafana"), "GF_SERVER_HTTP_ADDR=" + host, "GF_SERVER_HTTP_PORT=" + port,
			"GF_AUTH_ANONYMOUS_ENABLED=true", "GF_AUTH_DISABLE_LOGIN_FORM=true", "GF_ANALYTICS_REPORTING_ENABLED=false",
			"GF_ANALYTICS_CHECK_FOR_UPDATES=false", "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES=false", "GF_PLUGINS_PREINSTALL_DISABLED=true",
		}
		return cmd
	}}}
	return g, g.launch(ctx, r)
}

// writeBoards lays out what Grafana reads at its start: where the boards are, where their data is, and the boards.
func writeBoards(r *room, prometheus string) error {
	config, err := alerts.Load()
	if err != nil {
		return err
	}
	files, err := dashboards.Files(config)
	if err != nil {
		return err
	}
	boards := r.path("grafana/boards")
	// There is no Alertmanager in the demo: the alerts are Prometheus' page.
	sources, _, _ := strings.Cut(provisioning.Datasources, "\n  - name: Alertmanager")
	texts := map[string]string{
		"grafana/dashboards/demo.yml":  strings.Replace(provisioning.Dashboards, "/var/lib/grafana/dashboards/postgresql", boards, 1),
		"grafana/datasources/demo.yml": strings.Replace(sources, "$PROMETHEUS_URL", "http://"+prometheus, 1),
	}
	for name, text := range files {
		texts[filepath.Join("grafana/boards", name)] = string(text)
	}
	for name, text := range texts {
		file := r.path(name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil { //nolint:gosec // Grafana is another user
			return fmt.Errorf("write what Grafana reads: %w", err)
		}
	}
	return nil
}

func (g *grafana) introduce(c *console) {
	if g.missing != "" {
		c.print("  Grafana     is not shown: %s", g.missing)
		return
	}
	c.print("  Grafana     http://%s/dashboards", g.address)
}
