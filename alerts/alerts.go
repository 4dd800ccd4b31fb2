// Package alerts holds what pages people: Prometheus rules, Alertmanager's configuration, their tests and the
// runbooks. Thresholds have one place, thresholds.yml; `go generate ./alerts` writes rules and the runbooks' second
// line from it, and the tests fail when anything has drifted.
package alerts

import (
	"bytes"
	"embed"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"text/template"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
)

//go:generate go run ./generate
//go:generate ../deploy/helm/sync.sh

//go:embed thresholds.yml
var thresholdsFile []byte

//go:embed rules/*.rules.yml.tmpl
var sources embed.FS

// Threshold is one number that alerts compare with.
type Threshold struct {
	Value float64 `yaml:"value"`
	// Unit is duration or seconds (both seconds; the first is shortened in compressed runs), ratio, count, factor,
	// bytes or bytes_per_second.
	Unit string `yaml:"unit"`
	// UsedBy are the rules that compare with it, sorted: what the rules' sources ask for.
	UsedBy []string `yaml:"-"`
}

// Config is thresholds.yml.
type Config struct {
	Links struct {
		// Runbook and Dashboard are what a runbook's file name and a dashboard's uid are appended to.
		Runbook   string `yaml:"runbook"`
		Dashboard string `yaml:"dashboard"`
	} `yaml:"links"`
	Thresholds map[string]Threshold `yaml:"thresholds"`
}

// Load reads thresholds.yml, and the rules' sources for who uses each. An unknown key or unit is an error, and so is a threshold that
// no rule uses.
func Load() (Config, error) { return load(thresholdsFile) }

func load(thresholds []byte) (Config, error) {
	c, err := parse(thresholds)
	if err != nil {
		return Config{}, err
	}
	used := map[string][]string{}
	if _, err := c.render(1, used); err != nil {
		return Config{}, err
	}
	for name, t := range c.Thresholds {
		if t.UsedBy = slices.Compact(slices.Sorted(slices.Values(used[name]))); len(t.UsedBy) == 0 {
			return Config{}, fmt.Errorf("alerts/thresholds.yml: %s is used by no rule. HINT: Remove it", name)
		}
		c.Thresholds[name] = t
	}
	return c, nil
}

func parse(text []byte) (Config, error) {
	var c Config
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&c); err != nil {
		return Config{}, fmt.Errorf("alerts/thresholds.yml: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Thresholds)) {
		switch t := c.Thresholds[name]; t.Unit {
		case "duration", "seconds", "ratio", "count", "factor", "bytes", "bytes_per_second":
		default:
			return Config{}, fmt.Errorf("alerts/thresholds.yml: %s has the unit %q. HINT: The file's head lists the units", name, t.Unit)
		}
	}
	return c, nil
}

// countable: outages within the recovery objective are told from longer ones by a bucket of the exporter's histogram.
// At any other bound there is no series, and what compares with it would be silent for ever.
func (c Config) countable() error {
	const name = "recovery_objective_seconds"
	bounds := probe.RecoveryBuckets()
	if objective := c.Thresholds[name]; !slices.Contains(bounds, objective.Value) {
		return fmt.Errorf("alerts/thresholds.yml: %s is %s, and the exporter does not count outages up to that. HINT: Choose one of %v",
			name, number(objective.Value), bounds)
	}
	return nil
}

// Rules are the rule files by name, as Prometheus reads them. compress divides how long a state must last before it
// is an alert, and the windows that look back; 1 is what is shipped, tests of real faults take more. The windows of
// the availability objective and the recovery objective stay as they are.
func (c Config) Rules(compress float64) (map[string]string, error) {
	if err := c.countable(); err != nil {
		return nil, err
	}
	return c.render(compress, map[string][]string{})
}

// ThresholdsOf are the names of the thresholds an alert compares with, sorted.
func (c Config) ThresholdsOf(alert string) []string {
	var names []string
	for name, t := range c.Thresholds {
		if slices.Contains(t.UsedBy, alert) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (c Config) render(compress float64, used map[string][]string) (map[string]string, error) {
	files, err := sources.ReadDir("rules")
	if err != nil {
		return nil, fmt.Errorf("list the rules' sources: %w", err)
	}
	out := map[string]string{}
	for _, f := range files {
		text, err := sources.ReadFile(path.Join("rules", f.Name()))
		if err != nil {
			return nil, fmt.Errorf("read the rules' source: %w", err)
		}
		r := renderer{config: c, compress: compress, used: used}
		t, err := template.New(f.Name()).Delims("<<", ">>").Funcs(r.funcs()).Parse(string(text))
		if err != nil {
			return nil, fmt.Errorf("alerts/rules: %w", err)
		}
		var b strings.Builder
		fmt.Fprintf(&b, "# Written by `go generate ./alerts` from rules/%s and thresholds.yml: change those.\n#\n", f.Name())
		if err := t.Execute(&b, nil); err != nil {
			return nil, fmt.Errorf("alerts/rules: %w", err)
		}
		out[strings.TrimSuffix(f.Name(), ".tmpl")] = b.String()
	}
	return out, nil
}

// Human is a threshold as a person reads it: 80%, 5m, 1GiB.
func (t Threshold) Human() string {
	switch t.Unit {
	case "ratio":
		return number(t.Value*100) + "%"
	case "duration", "seconds":
		return humanDuration(t.Value)
	case "bytes":
		return humanBytes(t.Value)
	case "bytes_per_second":
		return humanBytes(t.Value) + "/s"
	}
	return number(t.Value)
}

func humanBytes(v float64) string {
	for _, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		if v < 1024 {
			return number(v) + unit
		}
		v /= 1024
	}
	return number(v) + "TiB"
}

func humanDuration(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d%(24*time.Hour) == 0:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return number(seconds) + "s"
}
