package alerts_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/alerts"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/pages"
)

// selections are a metric with matchers.
var selections = regexp.MustCompile(`\b(?:pg_\w+|pgr:[\w:]+)\{[a-z][^}]*\}`)

var template = regexp.MustCompile(`\$labels\.(\w+)`)

// A rule that reads a metric or a label nobody exports can never fire: each is looked up on the real pages.
func TestEveryMetricAndLabelIsOnARealPage(t *testing.T) {
	t.Parallel()
	programs := programPages(t)
	pgtest.EachVersion(t, pages.Server(), func(t *testing.T, c *pgtest.Cluster) {
		p := programs.Clone()
		p.Servers(t, house, c)
		l := lookup(t, p)
		l.Version = pages.Major(t, c)
		_, _, rules := shipped(t)
		for _, r := range rules {
			name := r.Alert + r.Record
			labels, errs := l.Check(r.Expr)
			for _, err := range errs {
				t.Errorf("%s: %v", name, err)
			}
			for _, text := range r.Annotations {
				for _, found := range template.FindAllStringSubmatch(text, -1) {
					if !slices.Contains(labels, found[1]) {
						t.Errorf("%s: no series it reads has the label %s", name, found[1])
					}
				}
			}
		}
		checkTexts(t, p, l, rules)
	})
}

// checkTexts: what a runbook or an alert's text names exists as well, and what it selects by.
func checkTexts(t *testing.T, p *pages.Pages, l *pages.Lookup, rules []alerts.Rule) {
	t.Helper()
	records := map[string]bool{}
	for _, r := range rules {
		records[r.Record] = true
	}
	texts := map[string]string{}
	for _, r := range rules {
		texts[r.Alert] += r.Annotations["description"]
	}
	books, _ := filepath.Glob("runbooks/*.md")
	for _, b := range books {
		text, err := os.ReadFile(b)
		if err != nil {
			t.Fatal(err)
		}
		texts[b] = string(text)
	}
	ours := regexp.MustCompile(`\b(pgr:[\w:]+|pg_reliability_\w+|pg_up|pg_settings_\w+)\b`)
	programs := []string{"pg_reliability_exporter", "pg_reliability_backup", "pg_reliability_monitor", "pg_reliability_otlp"}
	for where, text := range texts {
		for _, selection := range selections.FindAllString(text, -1) {
			if _, errs := l.Check(selection); len(errs) > 0 {
				t.Errorf("%s: %v", where, errors.Join(errs...))
			}
		}
		for _, name := range ours.FindAllString(text, -1) {
			switch {
			case records[name], len(p.Series[name]) > 0, p.Types[name] != "", slices.Contains(programs, name), l.Declared[name].Desc != nil:
			case strings.HasSuffix(name, "_") && begins(l, name): // of a search
			default:
				t.Errorf("%s names %s, which is on no real page", where, name)
			}
		}
	}
}

func begins(l *pages.Lookup, prefix string) bool {
	for name := range l.Declared {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
