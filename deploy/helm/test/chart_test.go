// Package test renders the chart with Helm's own library and holds what comes out against Kubernetes' and the Prometheus
// operator's types, against itself, and against our programs. A module of its own: none of these libraries are the exporter's.
package test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
)

const (
	chartDir  = "../pg-reliability"
	namespace = "monitoring"
)

var update = flag.Bool("update", false, "write the golden files and README.md's table anew")

// render is `helm template watch`: objects by kind/name, and the notes.
func render(values map[string]any) (objects, string, error) { return renderAs("watch", values) }

func renderAs(name string, values map[string]any) (objects, string, error) {
	chart, err := loader.Load(chartDir)
	if err != nil {
		return nil, "", fmt.Errorf("load the chart: %w", err)
	}
	release := chartutil.ReleaseOptions{Name: name, Namespace: namespace, Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValues(chart, values, release, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, "", err
	}
	files, err := engine.Engine{Strict: true}.Render(chart, all)
	if err != nil {
		return nil, "", err
	}
	var notes string
	found := objects{}
	for path, text := range files {
		if filepath.Base(path) == "NOTES.txt" {
			notes = text
			continue
		}
		if err := found.read(text); err != nil {
			return nil, "", fmt.Errorf("%s: %w\n%.1000s", path, err, text)
		}
	}
	return found, notes, nil
}

func readValues(t *testing.T, file string) map[string]any {
	t.Helper()
	values, err := chartutil.ReadValuesFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// memo is what was rendered: reading the boards takes a second.
var memo = map[string]objects{}

// rendered is what a file's values give, to be looked at and not changed.
func rendered(t *testing.T, file string) objects {
	t.Helper()
	if memo[file] == nil {
		found, _, err := render(readValues(t, file))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		memo[file] = found
	}
	return memo[file]
}

// valuesFiles are those of this test and those that documents tell people to use.
func valuesFiles(t *testing.T) []string {
	t.Helper()
	files, _ := filepath.Glob("values/*.yaml")
	examples, _ := filepath.Glob("../../kubernetes/*/*values.yaml")
	if len(files) < 5 || len(examples) < 2 {
		t.Fatalf("found %d and %d files with values", len(files), len(examples))
	}
	return append(files, examples...)
}

func eachValues(t *testing.T, check func(t *testing.T, found objects)) {
	t.Helper()
	for _, file := range valuesFiles(t) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) { check(t, rendered(t, file)) })
	}
}

func TestLint(t *testing.T) {
	for _, file := range valuesFiles(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			for _, m := range lint.All(chartDir, readValues(t, file), namespace, true).Messages {
				if m.Severity >= support.WarningSev {
					t.Error(m)
				}
			}
		})
	}
}

func TestGolden(t *testing.T) {
	for _, file := range valuesFiles(t) {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			found, notes, err := render(readValues(t, file))
			if err != nil {
				t.Fatal(err)
			}
			got := found.golden(t, notes)
			golden := filepath.Join("golden", name+".yaml")
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s is not what is rendered, first at %s\nHINT: Look at the difference: make test-helm TESTFLAGS=-update; git diff", golden,
					firstDifference(got, want))
			}
		})
	}
}

func firstDifference(a, b []byte) string {
	got, want := strings.Split(string(a), "\n"), strings.Split(string(b), "\n")
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("line %d: rendered %q, golden %q", i+1, got[i], want[i])
		}
	}
	return fmt.Sprintf("the end: %d lines rendered, %d golden", len(got), len(want))
}

func TestWhatTheValuesSayIsThere(t *testing.T) {
	for file, want := range map[string][]string{
		"minimal": {"ConfigMap", "Deployment", "NetworkPolicy", "PersistentVolumeClaim", "PrometheusRule", "Service", "ServiceAccount",
			"ServiceMonitor"},
		"everything": {"ConfigMap", "Deployment", "NetworkPolicy", "PersistentVolumeClaim", "PrometheusRule", "Service", "ServiceAccount",
			"ServiceMonitor", "StatefulSet"},
		"cronjob": {"ConfigMap", "CronJob", "Deployment", "NetworkPolicy", "PodMonitor", "PrometheusRule", "Service", "ServiceAccount"},
		"fleet": {"ConfigMap", "Deployment", "NetworkPolicy", "PersistentVolumeClaim", "PrometheusRule", "ScrapeConfig", "Service",
			"ServiceAccount", "ServiceMonitor"},
		"noalerts": {"Deployment", "PersistentVolumeClaim", "Service"},
	} {
		var got []string
		for id := range rendered(t, "values/"+file+".yaml") {
			kind, _, _ := strings.Cut(id, "/")
			got = append(got, kind)
		}
		slices.Sort(got)
		if got = slices.Compact(got); !slices.Equal(got, want) {
			t.Errorf("%s: rendered %v, want %v", file, got, want)
		}
	}
}
