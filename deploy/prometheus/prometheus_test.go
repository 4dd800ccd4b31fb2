// Package prometheus_test checks the configurations of this directory with a real promtool.
package prometheus_test

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

func TestConfigurationsAreValid(t *testing.T) {
	// Debian's promtool knows no Kubernetes: install.sh builds one that does.
	promtool, err := pgtest.Tool("promtool-kubernetes", "promtool")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*.yml")
	if err != nil || len(files) < 6 {
		t.Fatalf("%d configurations, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), promtool, "check", "config", "--lint-fatal", file).CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
