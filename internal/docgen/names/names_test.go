package names

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/collector"
)

var update = flag.Bool("update", false, "rewrite collector/sqlmetric/names.go")

const generated = "../../../collector/sqlmetric/names.go"

func TestNamesAreUpToDate(t *testing.T) {
	defs, err := collector.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Render(defs)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(generated, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(generated)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Error("collector/sqlmetric/names.go is stale. HINT: Run make docs and commit it")
	}
}

// What asks for a metric of a definition names it as a variable, so that a renamed metric is found by the compiler.
func TestARenamedMetricFailsInTheCompiler(t *testing.T) {
	defs, err := collector.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	for i := range defs {
		for j := range defs[i].Metrics {
			if m := &defs[i].Metrics[j]; m.Name == "pg_reliability_connections_used" {
				m.Name = "pg_reliability_connections_taken"
			}
		}
	}
	code, err := Render(defs)
	if err != nil {
		t.Fatal(err)
	}
	renamed, overlay := filepath.Join(t.TempDir(), "names.go"), filepath.Join(t.TempDir(), "overlay.json")
	names, err := filepath.Abs(generated)
	if err != nil {
		t.Fatal(err)
	}
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {names: renamed}})
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string][]byte{renamed: code, overlay: replace} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("go", "build", "-overlay", overlay, "../../status/gather").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "undefined: sqlmetric.ConnectionsUsed") {
		t.Errorf("the status page builds without the metric it shows: %v\n%s", err, out)
	}
}
