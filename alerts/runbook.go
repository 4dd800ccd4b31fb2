package alerts

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Rule is an alert or a recording as Prometheus reads it.
type Rule struct {
	Record      string            `yaml:"record"`
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

// Parse lists the rules of rule files, in the order of the files' names.
func Parse(files map[string]string) ([]Rule, error) {
	var all []Rule
	for _, name := range slices.Sorted(maps.Keys(files)) {
		var f struct {
			Groups []struct{ Rules []Rule }
		}
		if err := yaml.Unmarshal([]byte(files[name]), &f); err != nil {
			return nil, fmt.Errorf("alerts/%s: %w", name, err)
		}
		for _, g := range f.Groups {
			all = append(all, g.Rules...)
		}
	}
	return all, nil
}

// Facts is the second line of an alert's runbook: severities, how long each must last, the thresholds, and where the
// shell is set up in which the commands work. It is
// generated, so that no runbook quotes a number that is no longer true.
func (c Config) Facts(rules []Rule, alert string) string {
	var parts []string
	for _, r := range rules {
		if r.Alert != alert {
			continue
		}
		s := "`" + r.Labels["severity"] + "`"
		if w := r.Labels["window"]; w != "" {
			s += " (" + w + ")"
		}
		if r.For != "" {
			s += " after " + r.For
		}
		parts = append(parts, s)
	}
	line := strings.Join(parts, ", ")
	var limits []string
	for _, name := range c.ThresholdsOf(alert) {
		limits = append(limits, fmt.Sprintf("%s %s", name, c.Thresholds[name].Human()))
	}
	if len(limits) > 0 {
		line += " · " + strings.Join(limits, " · ")
	}
	return line + " · [your shell](../README.md#your-shell)"
}
