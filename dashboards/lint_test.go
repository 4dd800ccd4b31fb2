package dashboards_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/pages"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/stack"
)

// The rules of Grafana's dashboard-linter, under its names, and some of our own. Its rules for Loki don't apply.

// exception is a rule that panels break on purpose.
type exception struct {
	rule string
	what *regexp.Regexp // the metric, or the board
	why  string
}

var exceptions = []exception{
	{"uneditable-dashboard-rule", regexp.MustCompile(`^pgr-`), "people may try things; provisioning decides whether they can save them, " +
		"and `go generate` writes the files anew"},
	{"target-job-rule", regexp.MustCompile(`^ALERTS(_FOR_STATE)?$`), "an alert about a whole cluster has no job or instance: theirs or " +
		"none is asked for; the watchdog has none at all"},
	{"target-instance-rule", regexp.MustCompile(`^ALERTS(_FOR_STATE)?$`), "as above"},
	{"target-job-rule", regexp.MustCompile(`^pgr:cluster:(primaries|standbys)$`), "counted for whole clusters, without job and instance"},
	{"target-instance-rule", regexp.MustCompile(`^pgr:cluster:(primaries|standbys)$`), "as above"},
	{"target-job-rule", regexp.MustCompile(`^(prometheus|alertmanager)_`), "they are targets of their own, whatever their job is called, " +
		"and not among the servers to choose from"},
	{"target-instance-rule", regexp.MustCompile(`^(prometheus|alertmanager)_`), "as above"},
}

// broken reports a rule broken, unless that is on purpose; used exceptions are remembered.
type linter struct {
	*testing.T
	used map[int]bool
}

func (l *linter) broken(rule, what, format string, args ...any) {
	l.Helper()
	for i, e := range exceptions {
		if e.rule == rule && e.what.MatchString(what) {
			l.used[i] = true
			return
		}
	}
	l.Errorf("%s: %s", rule, fmt.Sprintf(format, args...))
}

func TestLint(t *testing.T) {
	l := &linter{t, map[int]bool{}}
	for name, b := range shipped(t) {
		l.board(name, b)
		l.variables(name, b)
		for _, p := range b.Panels {
			l.panel(name, p)
		}
	}
	for i, e := range exceptions {
		if !l.used[i] {
			t.Errorf("the exception from %s for %s is used by nobody", e.rule, e.what)
		}
	}
}

func (l *linter) board(name string, b board) {
	if b.Editable {
		l.broken("uneditable-dashboard-rule", b.UID, "%s is editable", name)
	}
	if want := "pgr-" + strings.TrimSuffix(name, ".json"); b.UID != want || b.ID != nil {
		l.Errorf("%s: its uid is %q, want %q and no id", name, b.UID, want)
	}
	if b.Title == "" || b.Description == "" || b.Refresh == "" || b.Timezone != "browser" || b.GraphTooltip != 1 ||
		!slices.Contains(b.Tags, "pg_reliability") {
		l.Errorf("%s lacks a title, description, refresh, the browser's time zone, a shared crosshair or its tag", name)
	}
	for _, a := range b.Annotations.List {
		if a.BuiltIn == 0 && a.Datasource.UID != "${datasource}" {
			l.Errorf("%s: the annotation %s asks the data source %q", name, a.Name, a.Datasource.UID)
		}
		if a.BuiltIn == 0 && !a.UseValueForTime {
			l.Errorf("%s: the annotation %s is a line at each step of a long view", name, a.Name)
		}
	}
}

func (l *linter) variables(name string, b board) {
	var names []string
	for _, v := range b.Templating.List {
		names = append(names, v.Name)
		if v.Name == "datasource" {
			var query string
			if err := json.Unmarshal(v.Query, &query); err != nil || query != "prometheus" || v.Type != "datasource" || v.Label != "Data source" {
				l.broken("template-datasource-rule", b.UID, "%s: %+v", name, v)
			}
			continue
		}
		if v.Type == "custom" { // with its values written out
			continue
		}
		rule := "template-" + v.Name + "-rule"
		all := map[string]string{"job": ".+", "instance": ".+", "cluster": ".*"}[v.Name] // no cluster is one, too
		if v.Type != "query" || v.Datasource.UID != "${datasource}" || !v.Multi || !v.IncludeAll || v.AllValue != all ||
			!strings.EqualFold(v.Label, v.Name) {
			l.broken(rule, b.UID, "%s: %+v", name, v)
		}
		if v.Refresh != 2 {
			l.broken("template-on-time-change-reload-rule", b.UID, "%s: %s is not asked for again when the time changes", name, v.Name)
		}
		if !regexp.MustCompile(`^label_values\(\w+(\{[^}]*\})?, ` + v.Name + `\)$`).MatchString(v.Definition) {
			l.broken("template-label-promql-rule", b.UID, "%s: %s is %s", name, v.Name, v.Definition)
		}
	}
	if want := []string{"datasource", "job", "cluster", "instance"}; !slices.Equal(names, want) && !slices.Equal(names, append(want, "own")) {
		l.Errorf("%s has the variables %v", name, names)
	}
}

// units are those of Grafana that the boards use.
var units = strings.Fields("none short string locale percentunit s m bytes binBps ops wps dateTimeAsIso dateTimeFromNow")

func (l *linter) panel(name string, p panel) {
	if p.Type == "row" {
		return
	}
	where := fmt.Sprintf("%s: %q", name, p.Title)
	if p.Title == "" || p.Description == "" {
		l.broken("panel-title-description-rule", where, "%s lacks a title or a description", where)
	}
	if p.Type == "text" {
		return
	}
	if p.Datasource != (datasource{"prometheus", "${datasource}"}) {
		l.broken("panel-datasource-rule", where, "%s: %+v", where, p.Datasource)
	}
	used := []string{p.FieldConfig.Defaults.Unit}
	for _, o := range p.FieldConfig.Overrides {
		for _, property := range o.Properties {
			if property.ID == "unit" {
				var unit string
				_ = json.Unmarshal(property.Value, &unit)
				used = append(used, unit)
			}
		}
	}
	for _, unit := range used {
		if !slices.Contains(units, unit) {
			l.broken("panel-units-rule", where, "%s has the unit %q. HINT: Use one of %v, or add it to this list if Grafana has it",
				where, unit, units)
		}
	}
	if len(p.Targets) == 0 {
		l.broken("panel-no-targets-rule", where, "%s asks nothing", where)
	}
	// Unknown is not zero: every panel says what the absence of its data means.
	if p.FieldConfig.Defaults.NoValue == "" {
		l.Errorf("%s does not say what the absence of a value means", where)
	}
	for _, s := range p.FieldConfig.Defaults.Thresholds.Steps {
		if s.Value != nil && *s.Value == 80 {
			l.Errorf("%s has Grafana's own threshold of 80", where)
		}
	}
	for _, q := range p.Targets {
		if q.Datasource != p.Datasource {
			l.broken("panel-datasource-rule", where, "%s: %+v", where, q.Datasource)
		}
		l.target(where+" "+q.RefID, q.Expr, !q.Range)
	}
}

// grafanaVariable is one of Grafana's. What it does not know it leaves alone, such as the groups of a regular expression: $1.
var grafanaVariable = regexp.MustCompile(`\$[{A-Za-z_]`)

var hardCoded = regexp.MustCompile(`[\[:]\d+[a-z]|offset\s+\d`)

func (l *linter) target(where, expr string, instant bool) {
	if hardCoded.MatchString(expr) {
		l.Errorf("%s has a range of its own: %s", where, expr)
	}
	for _, s := range pages.Selectors(expr) {
		for _, label := range []string{"job", "instance"} {
			if !strings.Contains(s.Matchers, fmt.Sprintf(`%s=~"$%[1]s"`, label)) {
				l.broken("target-"+label+"-rule", s.Metric, "%s: %s%s", where, s.Metric, s.Matchers)
			}
		}
		if (s.Function == "rate" || s.Function == "irate") && s.Range != "$__rate_interval" {
			l.broken("target-rate-interval-rule", s.Metric, "%s: %s over %s", where, s.Metric, s.Range)
		}
		if s.Range == "$__range" && !instant && !strings.Contains(expr, "@ end()") && s.Function != "last_over_time" {
			l.Errorf("%s: %s over all of the time shown at each step of a graph: %s", where, s.Metric, expr)
		}
		if strings.HasSuffix(s.Metric, "_total") && !slices.Contains([]string{"rate", "irate", "increase"}, s.Function) {
			l.broken("target-counter-agg-rule", s.Metric, "%s: %s%s is a counter. HINT: Put it into rate() or increase()",
				where, s.Metric, s.Matchers)
		}
	}
}

// asked is an expression as Prometheus is asked it.
func asked(expr string) string {
	return strings.NewReplacer("$__rate_interval", "4m", "$__range_s", "21600", "$__range", "6h", "$job", ".+", "$cluster", ".*", "$instance",
		".+", "$own", "1").Replace(expr)
}

// target-promql-rule: Prometheus itself says whether an expression is one.
func TestPromtoolAcceptsEveryExpression(t *testing.T) {
	type rule struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	var rules []rule
	for name, b := range shipped(t) {
		add := func(expr string) {
			if grafanaVariable.MatchString(asked(expr)) {
				t.Errorf("%s asks for a variable that it does not have: %s", name, expr)
			}
			rules = append(rules, rule{fmt.Sprintf("lint:%s:%d", strings.TrimSuffix(name, ".json"), len(rules)), asked(expr)})
		}
		for _, p := range b.Panels {
			for _, q := range p.Targets {
				add(q.Expr)
			}
		}
		for _, a := range b.Annotations.List {
			if a.Expr != "" {
				add(a.Expr)
			}
		}
	}
	text, err := json.Marshal(map[string]any{"groups": []any{map[string]any{"name": "lint", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := output(stack.Tool(t, "promtool"), "check", "rules", file); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
