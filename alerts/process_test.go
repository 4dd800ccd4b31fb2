package alerts_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/stack"
)

func freePort(t testing.TB) int { return stack.Port(t) }

func freeAddress(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", freePort(t))
}

// newCluster is a server on a port of its own, with what other tests switch off and an alert is about.
func newCluster(t testing.TB, settings map[string]string) *pgtest.Cluster {
	t.Helper()
	safe := map[string]string{"fsync": "on", "full_page_writes": "on"}
	maps.Copy(safe, settings)
	return pgtest.New(t, pgtest.Options{Port: freePort(t), Settings: safe})
}

// startExporter runs our exporter with the role that users give it.
func startExporter(t testing.TB, dsn string, args ...string) *stack.Process {
	t.Helper()
	address := freeAddress(t)
	path := program(t, "pg_reliability_exporter")
	return stack.Run(t, "exporter", "http://"+address, "/-/ready", func() *exec.Cmd {
		cmd := exec.Command(path, append([]string{"--web.listen-address=" + address, "--state.dir=none"}, args...)...)
		cmd.Env = append(os.Environ(), "DATA_SOURCE_NAME="+dsn)
		return cmd
	})
}

// startPrometheus runs Prometheus on a configuration.
func startPrometheus(t testing.TB, dir, address, config string, args ...string) *stack.Process {
	t.Helper()
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	path := stack.Tool(t, "prometheus")
	return stack.Run(t, "prometheus", "http://"+address, "/-/ready", func() *exec.Cmd {
		return exec.Command(path, append([]string{"--config.file=" + file, "--storage.tsdb.path=" + filepath.Join(dir, "prometheus"),
			"--web.listen-address=" + address}, args...)...)
	})
}

// startAlertmanager runs Alertmanager on our configuration with its webhooks sent to another address.
func startAlertmanager(t testing.TB, dir, address, webhook string, change func(string) string) *stack.Process {
	t.Helper()
	const shippedWebhook = "http://127.0.0.1:9095/"
	config := change(configuration(t))
	if !strings.Contains(config, shippedWebhook) {
		t.Fatalf("alertmanager.yml has no receiver at %s", shippedWebhook)
	}
	file := filepath.Join(dir, "alertmanager.yml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(config, shippedWebhook, webhook+"/")), 0o600); err != nil {
		t.Fatal(err)
	}
	path := stack.Tool(t, "prometheus-alertmanager", "alertmanager")
	return stack.Run(t, "alertmanager", "http://"+address, "/-/ready", func() *exec.Cmd {
		return exec.Command(path, "--config.file="+file, "--storage.path="+filepath.Join(dir, "alertmanager"),
			"--web.listen-address="+address, "--cluster.listen-address=")
	})
}
