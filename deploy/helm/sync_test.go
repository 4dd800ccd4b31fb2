// Package helm_test holds the chart's copies of rules and boards against their sources. What the chart renders is tested by
// the module in test: make test-helm.
package helm_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestChartHasTheRulesAndBoards(t *testing.T) {
	for source, dir := range map[string]string{"../../alerts/*.rules.yml": "rules", "../../dashboards/*.json": "dashboards"} {
		files, err := filepath.Glob(source)
		if err != nil || len(files) < 7 {
			t.Fatalf("%s: %d files, %v", source, len(files), err)
		}
		dir = filepath.Join("pg-reliability", "files", dir)
		if copies, err := os.ReadDir(dir); err != nil || len(copies) != len(files) {
			t.Errorf("%s has %d files, %s %d (%v). HINT: make helm", dir, len(copies), source, len(files), err)
		}
		for _, file := range files {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(filepath.Join(dir, filepath.Base(file))); err != nil || !bytes.Equal(got, want) {
				t.Errorf("the chart's copy of %s is another one (%v). HINT: make helm", file, err)
			}
		}
	}
}
