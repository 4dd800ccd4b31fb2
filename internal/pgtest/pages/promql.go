// Package pages reads metrics pages of real programs, and finds on them what an expression asks for: a name or a label
// that nobody exports is a rule that never fires or a panel that stays empty.
package pages

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var (
	selector = regexp.MustCompile(
		`\b((?:pgr:[\w:]+)|(?:(?:pg|pgbouncer|patroni|prometheus|alertmanager|scrape|process)_\w+)|up|ALERTS(?:_FOR_STATE)?)\b(\{[^}]*\})?`)
	matcher  = regexp.MustCompile(`(\w+)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*")`)
	grouping = regexp.MustCompile(`\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)`)
	quoted   = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	call     = regexp.MustCompile(`(\w+)\(\s*$`)
	span     = regexp.MustCompile(`^\[([^\]:]*)`)
)

// Selector is a metric's name in an expression, with its matchers in braces, or "".
type Selector struct {
	Metric, Matchers string
	// Range is what is in brackets behind it, and Function what is applied to that: 5m of rate(up[5m]).
	Range, Function string
}

// Selectors are those of an expression. Metrics are told by how our and Prometheus' names begin.
func Selectors(expr string) []Selector {
	expr = grouping.ReplaceAllString(expr, "()")
	var all []Selector
	for _, m := range selector.FindAllStringSubmatchIndex(expr, -1) {
		if inQuotes(expr, m[0]) {
			continue
		}
		s := Selector{Metric: expr[m[2]:m[3]]}
		if m[4] >= 0 {
			s.Matchers = expr[m[4]:m[5]]
		}
		if r := span.FindStringSubmatch(expr[m[1]:]); r != nil {
			s.Range = r[1]
			if f := call.FindStringSubmatch(expr[:m[0]]); f != nil {
				s.Function = f[1]
			}
		}
		all = append(all, s)
	}
	return all
}

func inQuotes(expr string, at int) bool {
	return slices.ContainsFunc(quoted.FindAllStringIndex(expr, -1), func(q []int) bool { return q[0] < at && at < q[1] })
}

// Grouped are the labels that an expression groups or matches series by.
func Grouped(expr string) []string {
	var all []string
	for _, found := range grouping.FindAllStringSubmatch(expr, -1) {
		for _, l := range strings.Split(found[1], ",") {
			if l = strings.TrimSpace(l); l != "" {
				all = append(all, l)
			}
		}
	}
	return all
}

// Without is the selector without the matchers of some labels, such as those that Prometheus adds.
func (s Selector) Without(labels ...string) Selector {
	var kept []string
	for _, m := range matcher.FindAllStringSubmatch(s.Matchers, -1) {
		if !slices.Contains(labels, m[1]) {
			kept = append(kept, m[0])
		}
	}
	s.Matchers = "{" + strings.Join(kept, ", ") + "}"
	return s
}

// Select is nil when some series has all labels the matchers name, with values that are asked for. A matcher that
// excludes must name a label that is there.
func Select(series []map[string]string, matchers string) error {
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
