package alerts_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// needsEngine is what a page shows only beside a container engine, which not every machine that runs the tests has.
// Its names are checked against the catalogue, which is generated from the code.
var needsEngine = regexp.MustCompile(`^pg_reliability_container_|kind="container"`)

var (
	// selector is a metric's name with its matchers, if any.
	selector = regexp.MustCompile(`\b((?:pgr:[\w:]+)|(?:(?:pg|prometheus|alertmanager|scrape)_\w+)|up)\b(\{[^}]*\})?`)
	matcher  = regexp.MustCompile(`(\w+)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*")`)
	// grouping is a list of labels.
	grouping = regexp.MustCompile(`\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)`)
	template = regexp.MustCompile(`\$labels\.(\w+)`)
)

// targetLabels come from Prometheus' configuration, and from rules.
var targetLabels = []string{"job", "instance", "cluster", "alertname"}

// A rule that reads a metric or a label nobody exports can never fire: each is looked up on the real pages.
func TestEveryMetricAndLabelIsOnARealPage(t *testing.T) {
	t.Parallel()
	programs := programPages(t)
	pgtest.EachVersion(t, pageServer(), func(t *testing.T, c *pgtest.Cluster) {
		p := programs.clone()
		p.servers(t, c)
		checkRules(t, p)
	})
}

func checkRules(t *testing.T, p *pages) {
	t.Helper()
	catalogue, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	_, _, rules := shipped(t)
	records := map[string]bool{}
	for _, r := range rules {
		records[r.Record] = true
	}
	for _, r := range rules {
		name := r.Alert + r.Record
		labels := slices.Clone(targetLabels)
		for _, found := range selector.FindAllStringSubmatch(withoutGroupings(r.Expr), -1) {
			metric, matchers := found[1], found[2]
			switch {
			case needsEngine.MatchString(metric + matchers):
				if !strings.Contains(string(catalogue), metric) {
					t.Errorf("%s: %s is not in docs/metrics.md", name, metric)
				}
				labels = append(labels, "container")
				continue
			case metric == "up" || metric == "scrape_duration_seconds": // Prometheus makes them
				continue
			case strings.HasPrefix(metric, "pgr:"):
				if !records[metric] {
					t.Errorf("%s: no rule records %s", name, metric)
				}
				labels = append(labels, "slot_name", "slot_type", "volume", "system_identifier", "datname")
				continue
			}
			series := p.series[metric]
			if len(series) == 0 {
				t.Errorf("%s: %s is on no real page", name, metric)
				continue
			}
			if err := selects(series, matchers); err != nil {
				t.Errorf("%s: %s%s: %v", name, metric, matchers, err)
			}
			for _, s := range series {
				labels = append(labels, slices.Collect(maps.Keys(s))...)
			}
		}
		for _, found := range grouping.FindAllStringSubmatch(r.Expr, -1) {
			for _, l := range strings.Split(found[1], ",") {
				if l = strings.TrimSpace(l); l != "" && !slices.Contains(labels, l) {
					t.Errorf("%s: no series it reads has the label %s", name, l)
				}
			}
		}
		for _, text := range r.Annotations {
			for _, found := range template.FindAllStringSubmatch(text, -1) {
				if !slices.Contains(labels, found[1]) {
					t.Errorf("%s: no series it reads has the label %s", name, found[1])
				}
			}
		}
	}
}

// What a runbook or an alert's text names exists as well.
func TestEveryMetricInARunbookIsOnARealPage(t *testing.T) {
	t.Parallel()
	p := realPages(t)
	_, _, rules := shipped(t)
	records := map[string]bool{}
	for _, r := range rules {
		records[r.Record] = true
	}
	catalogue, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
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
	programs := []string{"pg_reliability_exporter", "pg_reliability_backup", "pg_reliability_monitor"}
	for where, text := range texts {
		for _, name := range ours.FindAllString(text, -1) {
			switch {
			case records[name], len(p.series[name]) > 0, p.types[name] != "", slices.Contains(programs, name):
			// What appears after an error, or beside a container engine, is in the catalogue.
			case strings.Contains(string(catalogue), "`"+name+"`"):
			case strings.HasSuffix(name, "_") && strings.Contains(string(catalogue), "`"+name): // the beginning of a search
			default:
				t.Errorf("%s names %s, which is on no real page", where, name)
			}
		}
	}
}

// withoutGroupings leaves what can hold a metric's name.
func withoutGroupings(expr string) string {
	expr = grouping.ReplaceAllString(expr, "()")
	return expr
}

// selects is nil when some series has all labels the matchers name, with values that are asked for. A matcher that
// excludes must name a label that is there.
func selects(series []map[string]string, matchers string) error {
	type condition struct {
		label, op string
		re        *regexp.Regexp
	}
	var all []condition
	for _, m := range matcher.FindAllStringSubmatch(matchers, -1) {
		value, err := strconv.Unquote(m[3])
		if err != nil {
			return fmt.Errorf("the value %s: %w", m[3], err)
		}
		if !strings.HasSuffix(m[2], "~") {
			value = regexp.QuoteMeta(value)
		}
		re, err := regexp.Compile("^(?:" + value + ")$")
		if err != nil {
			return fmt.Errorf("the value %s: %w", m[3], err)
		}
		all = append(all, condition{m[1], m[2], re})
		if m[2] == "=~" { // each alternative is meant
			for _, alternative := range strings.Split(value, "|") {
				if strings.ContainsAny(alternative, `\()`) {
					continue
				}
				if !slices.ContainsFunc(series, func(s map[string]string) bool { return s[m[1]] == alternative }) {
					return fmt.Errorf("no series has %s=%q", m[1], alternative)
				}
			}
		}
	}
	for _, s := range series {
		if !slices.ContainsFunc(all, func(c condition) bool {
			v, ok := s[c.label]
			return !ok || c.re.MatchString(v) == strings.HasPrefix(c.op, "!")
		}) {
			return nil
		}
	}
	return fmt.Errorf("no series on a real page matches, of %d", len(series))
}

func TestSelectsSeesWhatIsMissing(t *testing.T) {
	series := []map[string]string{{"kind": "crash"}, {"kind": "restart"}}
	for matchers, ok := range map[string]bool{
		``:                        true,
		`{kind="crash"}`:          true,
		`{kind=~"crash|restart"}`: true,
		`{kind!="crash"}`:         true,
		`{kind="crahs"}`:          false,
		`{kind=~"crash|oom"}`:     false,
		`{kin="crash"}`:           false,
		`{kin!="crash"}`:          false,
	} {
		if err := selects(series, matchers); (err == nil) != ok {
			t.Errorf("%s: %v", matchers, err)
		}
	}
}
