package alerts_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/pg-reliability/pg_reliability_exporter/alerts"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/stack"
)

func TestRuleFilesAreWhatThresholdsAndSourcesSay(t *testing.T) {
	_, files, _ := shipped(t)
	for name, want := range files {
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s is stale (%v). HINT: Run go generate ./alerts", name, err)
		}
	}
	onDisk, _ := filepath.Glob("*.rules.yml")
	if want := slices.Sorted(maps.Keys(files)); !slices.Equal(onDisk, want) {
		t.Errorf("rule files are %v, want %v", onDisk, want)
	}
}

func TestPromtoolAcceptsTheRules(t *testing.T) {
	names, _ := filepath.Glob("*.rules.yml")
	if out, err := output(t, stack.Tool(t, "promtool"), append([]string{"check", "rules", "--lint-fatal"}, names...)...); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// An alert says how bad it is, what is wrong, by how much, and where to read on.
func TestEachAlertHasItsLabelsAndAnnotations(t *testing.T) {
	config, _, rules := shipped(t)
	severities := []string{"critical", "warning", "info"}
	areas := []string{"availability", "activity", "replication", "disk", "maintenance", "backup", "slo", "pipeline"}
	for _, r := range rules {
		if r.Alert == "" {
			continue
		}
		name := r.Alert + "/" + r.Labels["severity"]
		if !slices.Contains(severities, r.Labels["severity"]) || !slices.Contains(areas, r.Labels["area"]) {
			t.Errorf("%s: severity %q, area %q", name, r.Labels["severity"], r.Labels["area"])
		}
		if s := r.Annotations["summary"]; s == "" || strings.Contains(s, "{{") {
			t.Errorf("%s: the summary must be one static sentence: %q", name, s)
		}
		if d := r.Annotations["description"]; !strings.Contains(d, "$value") {
			t.Errorf("%s: the description does not show the value: %q", name, d)
		}
		if want := config.Links.Runbook + r.Alert + ".md"; r.Annotations["runbook_url"] != want {
			t.Errorf("%s: runbook_url is %q, want %q", name, r.Annotations["runbook_url"], want)
		}
		if !strings.HasPrefix(r.Annotations["dashboard_url"], config.Links.Dashboard+"pgr-") {
			t.Errorf("%s: dashboard_url is %q", name, r.Annotations["dashboard_url"])
		}
	}
}

var gaugeLike = regexp.MustCompile(`(rate|increase)\((pg_\w+|up\b)`)

// A rate of a gauge is a number without a meaning, which no alert should compare with.
func TestOnlyCountersHaveRates(t *testing.T) {
	t.Parallel()
	l := lookup(t, realPages(t))
	_, _, rules := shipped(t)
	for _, r := range rules {
		for _, m := range gaugeLike.FindAllStringSubmatch(r.Expr, -1) {
			name := m[2]
			if base := strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_count"); l.Type(name) == "" && l.Type(base) == "histogram" {
				continue
			}
			if l.Type(name) != "counter" {
				t.Errorf("%s%s: %s of %s, which is a %s", r.Alert, r.Record, m[1], name, l.Type(name))
			}
		}
	}
}

// unitFile is a promtool test as promtool reads it.
type unitFile struct {
	Tests []struct {
		Name           string
		AlertRuleTests []struct {
			EvalTime  string `yaml:"eval_time"`
			Alertname string
			ExpAlerts []struct {
				ExpLabels map[string]string `yaml:"exp_labels"`
			} `yaml:"exp_alerts"`
		} `yaml:"alert_rule_test"`
	}
}

func TestPromtoolUnitTestsPass(t *testing.T) {
	t.Parallel()
	promtool := stack.Tool(t, "promtool")
	files, _ := filepath.Glob("tests/*.yml")
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			// Behind the servers of the chaos tests, whose seconds count. A quarter of its work would be to collect garbage.
			if out, err := output(t, "nice", "-n", "19", "env", "GOGC=400", promtool, "test", "rules", f); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// In one story each alert is silent before, fires, and ends: with each of its severities.
func TestEachAlertHasAUnitTest(t *testing.T) {
	type seen struct{ silent, fires, ends bool }
	best := map[string]seen{}
	known := map[string]bool{}
	_, _, rules := shipped(t)
	for _, r := range rules {
		if r.Alert != "" {
			known[r.Alert] = true
		}
	}
	files, _ := filepath.Glob("tests/*.yml")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var u unitFile
		if err := yaml.Unmarshal(b, &u); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		for _, story := range u.Tests {
			now := map[string]seen{}
			for _, check := range story.AlertRuleTests {
				if !known[check.Alertname] {
					t.Errorf("%s: %q tests %s, which is no alert", f, story.Name, check.Alertname)
				}
				firing := map[string]bool{}
				for _, e := range check.ExpAlerts {
					firing[e.ExpLabels["severity"]] = true
				}
				for _, severity := range []string{"critical", "warning", "info"} {
					key := check.Alertname + "/" + severity
					s := now[key]
					switch {
					case firing[severity]:
						s.fires = true
					case s.fires:
						s.ends = true
					default:
						s.silent = true
					}
					now[key] = s
				}
			}
			for key, s := range now {
				b := best[key]
				// Silence before, in any story; fire and end, in one.
				best[key] = seen{b.silent || s.silent, b.fires || s.fires && s.ends, b.ends || s.fires && s.ends}
				if key == "Watchdog/info" && s.fires {
					best[key] = seen{true, true, true} // it never ends: its chaos test stops it
				}
			}
		}
	}
	for _, r := range rules {
		if r.Alert == "" {
			continue
		}
		if s := best[r.Alert+"/"+r.Labels["severity"]]; !s.silent || !s.fires || !s.ends {
			t.Errorf("%s/%s: unit tests show it silent before: %v, firing and ending: %v", r.Alert, r.Labels["severity"], s.silent, s.fires)
		}
	}
}

// Who uses a threshold is read from the rules' sources, alerts and recordings alike.
func TestThresholdsHaveTheirUsers(t *testing.T) {
	config, _, rules := shipped(t)
	known := map[string]bool{}
	for _, r := range rules {
		known[r.Alert+r.Record] = true
	}
	for name, threshold := range config.Thresholds {
		for _, user := range threshold.UsedBy {
			if !known[user] {
				t.Errorf("%s is used by %s, which is no rule", name, user)
			}
		}
	}
	want := []string{"PostgresDown", "PostgresRecoverySlow", "pgr:recovery_within_objective:ratio_30d"}
	if got := config.Thresholds["recovery_objective_seconds"].UsedBy; !slices.Equal(got, want) {
		t.Errorf("recovery_objective_seconds is used by %v, want %v", got, want)
	}
}

// Compressed rules differ in durations alone: the chaos tests run what is shipped.
func TestCompressionChangesDurationsAlone(t *testing.T) {
	config, files, _ := shipped(t)
	compressed, err := config.Rules(60)
	if err != nil {
		t.Fatal(err)
	}
	changed := 0
	for name := range files {
		a, b := strings.Split(files[name], "\n"), strings.Split(compressed[name], "\n")
		if len(a) != len(b) {
			t.Fatalf("%s has %d lines, compressed %d", name, len(a), len(b))
		}
		for i := range a {
			if a[i] == b[i] {
				continue
			}
			changed++
			if strings.Contains(a[i], "description") || strings.Contains(a[i], "pgr:downtime") ||
				withoutNumbers(a[i]) != withoutNumbers(b[i]) {
				t.Errorf("%s:%d\n%s\n%s", name, i+1, a[i], b[i])
			}
		}
	}
	if changed == 0 {
		t.Error("nothing was compressed")
	}
}

var durations = regexp.MustCompile(`\b\d+(\.\d+)?(ms|s|m|h|d)?\b`)

func withoutNumbers(line string) string { return durations.ReplaceAllString(line, "N") }

func TestUnknownThresholdIsAnError(t *testing.T) {
	config, err := alerts.Load()
	if err != nil {
		t.Fatal(err)
	}
	name := slices.Sorted(maps.Keys(config.Thresholds))[0]
	delete(config.Thresholds, name)
	if _, err := config.Rules(1); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", name)) {
		t.Errorf("without the threshold %s: %v", name, err)
	}
}

// An objective between the bounds of the exporter's histogram has no series: what compares with it could never fire.
func TestRecoveryObjectiveThatNobodyCountsIsAnError(t *testing.T) {
	config, _, _ := shipped(t)
	objective := config.Thresholds["recovery_objective_seconds"]
	objective.Value = 45
	config.Thresholds["recovery_objective_seconds"] = objective
	if _, err := config.Rules(1); err != nil {
		t.Errorf("45 s, which is a bound: %v", err)
	}
	objective.Value = 40
	config.Thresholds["recovery_objective_seconds"] = objective
	if _, err := config.Rules(1); err == nil || !strings.Contains(err.Error(), "recovery_objective_seconds is 40") ||
		!strings.Contains(err.Error(), "HINT") {
		t.Errorf("40 s, which is none: %v", err)
	}
}

// Prometheus reads a sample for 5 minutes. What is written less often than twice in that time is missing while its group
// is evaluated, and after each restart: alerts that read it would end and begin again.
func TestRecordingsDoNotRunOut(t *testing.T) {
	_, files, _ := shipped(t)
	intervals := regexp.MustCompile(`(?m)^    interval: (\S+)$`)
	for name, text := range files {
		found := intervals.FindAllStringSubmatch(text, -1)
		if len(found) == 0 {
			t.Errorf("%s has no interval", name)
		}
		for _, f := range found {
			if d, err := time.ParseDuration(f[1]); err != nil || d > 150*time.Second {
				t.Errorf("%s: a group is evaluated every %s (%v)", name, f[1], err)
			}
		}
	}
}
