package test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

const root = "../../.."

func rulesOf(t *testing.T, found objects) *monitoringv1.PrometheusRule {
	t.Helper()
	for _, object := range found {
		if rule, ok := object.(*monitoringv1.PrometheusRule); ok {
			return rule
		}
	}
	t.Fatal("no PrometheusRule")
	return nil
}

// sources are the groups of alerts/*.rules.yml.
func sources(t *testing.T) []monitoringv1.RuleGroup {
	t.Helper()
	var groups []monitoringv1.RuleGroup
	files, _ := filepath.Glob(root + "/alerts/*.rules.yml")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var spec monitoringv1.PrometheusRuleSpec
		if err := yaml.UnmarshalStrict(text, &spec); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		groups = append(groups, spec.Groups...)
	}
	if len(groups) < 8 {
		t.Fatalf("%d groups", len(groups))
	}
	return groups
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestRulesAreTheProjects(t *testing.T) {
	got := rulesOf(t, rendered(t, "values/minimal.yaml")).Spec.Groups
	if want := sources(t); asJSON(t, got) != asJSON(t, want) {
		t.Error("the PrometheusRule with default values is not alerts/*.rules.yml. HINT: make helm")
	}
}

func TestRulesWithEverything(t *testing.T) {
	links := 0
	rule := rulesOf(t, rendered(t, "values/everything.yaml"))
	var alerts int
	for _, g := range rule.Spec.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" {
				if r.Labels["team"] != "" {
					t.Errorf("%s got a label: it is no alert", r.Record)
				}
				continue
			}
			alerts++
			if r.Alert == "PostgresRestarted" || r.Alert == "PostgresTargetAbsent" {
				t.Errorf("%s is disabled and there", r.Alert)
			}
			if r.Labels["team"] != "data" || r.Labels["severity"] == "" || r.Labels["area"] == "" {
				t.Errorf("%s has the labels %v", r.Alert, r.Labels)
			}
			if strings.Contains(asJSON(t, r), "localhost") {
				t.Errorf("%s has a link to localhost", r.Alert)
			}
			if strings.HasPrefix(r.Annotations["dashboard_url"], "https://grafana.example.com/d/pgr-") {
				links++
			}
			if _, err := os.Stat(root + "/alerts/runbooks/" + filepath.Base(r.Annotations["runbook_url"])); err != nil {
				t.Errorf("%s: %v", r.Alert, err)
			}
		}
	}
	if alerts < 60 || links < 60 {
		t.Errorf("%d alerts, %d links to dashboards", alerts, links)
	}
	if size := len(asJSON(t, rule)); size > 900_000 {
		t.Errorf("the PrometheusRule has %d bytes; Kubernetes stores 1 MiB", size)
	}
}

func writeRules(t *testing.T, dir string, groups []monitoringv1.RuleGroup) string {
	t.Helper()
	text, err := yaml.Marshal(monitoringv1.PrometheusRuleSpec{Groups: groups})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "rules.yml")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func promtool(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "promtool", args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestPrometheusTakesTheRules(t *testing.T) {
	for _, file := range []string{"values/minimal.yaml", "values/everything.yaml"} {
		groups := rulesOf(t, rendered(t, file)).Spec.Groups
		promtool(t, "check", "rules", "--lint=all", "--lint-fatal", writeRules(t, t.TempDir(), groups))
	}
}

// testdata/kubernetes.yml says what fires and what stays silent.
func TestKubernetesAlertsFire(t *testing.T) {
	dir := t.TempDir()
	groups := slices.DeleteFunc(slices.Clone(rulesOf(t, rendered(t, "values/everything.yaml")).Spec.Groups),
		func(g monitoringv1.RuleGroup) bool { return g.Name != "pgr-kubernetes" })
	writeRules(t, dir, groups)
	tests, err := os.ReadFile("testdata/kubernetes.yml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "tests.yml")
	if err := os.WriteFile(file, tests, 0o644); err != nil {
		t.Fatal(err)
	}
	promtool(t, "test", "rules", file)
}

// The claims' alerts compare with the numbers of the volumes' ones, and default links are those that are replaced.
func TestNumbersAndLinksAreThoseOfThresholds(t *testing.T) {
	text, err := os.ReadFile(root + "/alerts/thresholds.yml")
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Links      struct{ Runbook, Dashboard string }
		Thresholds map[string]struct{ Value float64 }
	}
	if err := yaml.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	values := readValues(t, chartDir+"/values.yaml")["alerts"].(map[string]any)
	if values["runbookUrl"] != c.Links.Runbook || values["dashboardUrl"] != c.Links.Dashboard {
		t.Errorf("the chart's links are %v and %v, thresholds.yml has %+v. HINT: Change values.yaml and templates/alerts.yaml",
			values["runbookUrl"], values["dashboardUrl"], c.Links)
	}
	own := map[string]bool{}
	for _, g := range sources(t) {
		for _, r := range g.Rules {
			if r.Alert == "PostgresDiskFull" {
				_, number, _ := strings.Cut(r.Expr.StrVal, "> ")
				own[fmt.Sprint(number, *r.For, r.Labels["severity"])] = true
			}
		}
	}
	compared := 0
	for _, g := range rulesOf(t, rendered(t, "values/everything.yaml")).Spec.Groups {
		for _, r := range g.Rules {
			if _, number, _ := strings.Cut(r.Expr.StrVal, "> "); g.Name == "pgr-kubernetes" && r.Alert == "PostgresDiskFull" {
				compared++
				if !own[fmt.Sprint(number, *r.For, r.Labels["severity"])] {
					t.Errorf("a claim's %s at %s for %s is not as alerts/disk.rules.yml has it: %v", r.Labels["severity"], number, *r.For, own)
				}
			}
		}
	}
	if compared != 2 {
		t.Errorf("compared %d", compared)
	}
}

func TestBoardsAreTheProjects(t *testing.T) {
	boards, _ := filepath.Glob(root + "/dashboards/*.json")
	found := rendered(t, "values/everything.yaml")
	seen := 0
	for id, object := range found {
		c, ok := object.(*corev1.ConfigMap)
		if !ok || c.Labels["grafana_dashboard"] != "1" {
			continue
		}
		if len(c.Data) != 1 || c.Namespace != "monitoring" {
			t.Errorf("%s: %d boards in namespace %q", id, len(c.Data), c.Namespace)
		}
		for name, text := range c.Data {
			want, err := os.ReadFile(root + "/dashboards/" + strings.TrimPrefix(name, "pgr-"))
			if err != nil || strings.TrimSpace(text) != strings.TrimSpace(string(want)) || !json.Valid([]byte(text)) {
				t.Errorf("%s is not the project's board %s (%v). HINT: make helm", id, name, err)
			}
			if len(text) > 1<<20-4096 {
				t.Errorf("%s has %d bytes; a ConfigMap holds 1 MiB", id, len(text))
			}
			seen++
		}
	}
	if seen != len(boards) || seen < 7 {
		t.Errorf("%d ConfigMaps for %d boards", seen, len(boards))
	}
}
