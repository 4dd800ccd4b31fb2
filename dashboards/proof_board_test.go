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
)

// proofBoard is what a dashboard asks of Prometheus, read as Grafana reads it.
type proofBoard struct {
	UID         string
	Title       string
	Panels      []proofPanel
	Templating  struct{ List []proofVariable }
	Annotations struct{ List []proofAnnotation }
}

type proofPanel struct {
	Type, Title, TimeFrom string
	Panels                []proofPanel // of a row that is closed
	Targets               []proofTarget
}

type proofTarget struct {
	RefID      string
	Expr       string
	Instant    bool
	Range      bool
	Datasource proofSource
}

type proofSource struct{ Type, UID string }

type proofAnnotation struct {
	Name, Expr string
	Datasource proofSource
}

type proofVariable struct {
	Name, Type, Regex, AllValue string
	Multi, IncludeAll           bool
	Query                       json.RawMessage
}

// text is the variable's query, which newer Grafanas wrap into an object.
func (v proofVariable) text() string {
	var wrapped struct{ Query string }
	if json.Unmarshal(v.Query, &wrapped) == nil {
		return wrapped.Query
	}
	var plain string
	_ = json.Unmarshal(v.Query, &plain)
	return plain
}

func proofBoards(t *testing.T) []proofBoard {
	t.Helper()
	files, err := filepath.Glob("*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dashboards here: %v", err)
	}
	var all []proofBoard
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var board proofBoard
		if err := json.Unmarshal(b, &board); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, board)
	}
	return all
}

// flat lists the panels, those of closed rows too, but not the rows.
func (b proofBoard) flat() []proofPanel {
	var all []proofPanel
	var walk func([]proofPanel)
	walk = func(panels []proofPanel) {
		for _, p := range panels {
			if p.Type != "row" {
				all = append(all, p)
			}
			walk(p.Panels)
		}
	}
	walk(b.Panels)
	return all
}

// proofChoice is what a person has chosen in the variables' menus, as Grafana writes it into queries.
type proofChoice map[string]proofValue

type proofValue struct {
	values []string
	raw    string // goes in unchanged: an allValue
	regex  bool   // the variable is multi or has All, so that its values are written for =~
}

// all that a person sees who has chosen nothing: All where there is All, and else each value in turn.
func (b proofBoard) choices(p *proofPrometheus, builtin map[string]string) ([]proofChoice, error) {
	choices := []proofChoice{{}}
	for _, v := range b.Templating.List {
		if v.Type == "datasource" {
			continue
		}
		var next []proofChoice
		for _, c := range choices {
			options, err := v.options(p, c, builtin)
			if err != nil {
				return nil, fmt.Errorf("variable %s: %w", v.Name, err)
			}
			with := func(value proofValue) {
				value.regex = v.Multi || v.IncludeAll
				one := proofChoice{v.Name: value}
				for k, old := range c {
					one[k] = old
				}
				next = append(next, one)
			}
			switch {
			case v.IncludeAll && v.AllValue != "":
				with(proofValue{raw: v.AllValue})
			case v.IncludeAll || v.Multi:
				with(proofValue{values: options})
			default:
				for _, o := range options {
					with(proofValue{values: []string{o}})
				}
			}
		}
		if len(next) == 0 {
			return nil, fmt.Errorf("variable %s: its query %q has no values", v.Name, v.text())
		}
		if len(next) > 64 {
			return nil, fmt.Errorf("variable %s: %d combinations are more than anybody looks through", v.Name, len(next))
		}
		choices = next
	}
	return choices, nil
}

var (
	labelValues = regexp.MustCompile(`^label_values\((?:(.+),\s*)?([a-zA-Z_]\w*)\s*\)$`)
	queryResult = regexp.MustCompile(`^query_result\((.+)\)$`)
)

func (v proofVariable) options(p *proofPrometheus, chosen proofChoice, builtin map[string]string) ([]string, error) {
	switch v.Type {
	case "query":
	case "constant", "textbox":
		return []string{v.text()}, nil
	case "custom", "interval":
		var all []string
		for _, o := range strings.Split(v.text(), ",") {
			if _, value, found := strings.Cut(o, " : "); found {
				o = value
			}
			all = append(all, strings.TrimSpace(o))
		}
		return all, nil
	default:
		return nil, fmt.Errorf("no idea what type %q is", v.Type)
	}
	query, err := chosen.interpolate(v.text(), builtin)
	if err != nil {
		return nil, err
	}
	var found []string
	switch {
	case labelValues.MatchString(query):
		m := labelValues.FindStringSubmatch(query)
		found, err = p.labelValues(m[1], m[2])
	case queryResult.MatchString(query):
		found, err = p.texts(queryResult.FindStringSubmatch(query)[1])
	default:
		return nil, fmt.Errorf("no idea what the query %q means", query)
	}
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("the query %s has no values", query)
	}
	if err != nil || v.Regex == "" {
		return found, err
	}
	return v.filter(found)
}

func (v proofVariable) filter(found []string) ([]string, error) {
	re, err := regexp.Compile(strings.Trim(v.Regex, "/"))
	if err != nil {
		return nil, err
	}
	var kept []string
	for _, f := range found {
		m := re.FindStringSubmatch(f)
		if m != nil && !slices.Contains(kept, m[len(m)-1]) {
			kept = append(kept, m[min(1, len(m)-1)])
		}
	}
	if len(kept) == 0 {
		return nil, fmt.Errorf("the regex %s leaves nothing of %v", v.Regex, found)
	}
	return kept, nil
}

var reference = regexp.MustCompile(`\$\{(\w+)(?::(\w+))?\}|\[\[(\w+)(?::(\w+))?\]\]|\$([A-Za-z_]\w*)`)

// interpolate replaces variables as Grafana's Prometheus data source does. A variable nobody defines is an error: Grafana
// would leave it in the query.
func (c proofChoice) interpolate(text string, builtin map[string]string) (string, error) {
	var unknown error
	out := reference.ReplaceAllStringFunc(text, func(s string) string {
		m := reference.FindStringSubmatch(s)
		name, format := m[1]+m[3]+m[5], m[2]+m[4]
		if value, found := builtin[name]; found {
			return value
		}
		value, found := c[name]
		if !found {
			unknown = fmt.Errorf("%s names no variable", s)
			return s
		}
		switch {
		case value.raw != "":
			return value.raw
		case format == "raw":
			return strings.Join(value.values, ",")
		case format == "pipe":
			return strings.Join(value.values, "|")
		case format == "regex" || format == "" && value.regex:
			var escaped []string
			for _, v := range value.values {
				escaped = append(escaped, strings.ReplaceAll(regexp.QuoteMeta(v), `\`, `\\`))
			}
			if len(escaped) == 1 {
				return escaped[0]
			}
			return "(" + strings.Join(escaped, "|") + ")"
		case format == "":
			return strings.ReplaceAll(strings.Join(value.values, ","), `\`, `\\`)
		}
		unknown = fmt.Errorf("%s has a format this test does not know", s)
		return s
	})
	return out, unknown
}
