package alerts

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"text/template"
	"time"
)

const (
	// shortestRange holds enough samples for a rate when Prometheus scrapes once a second, as it does in compressed runs.
	shortestRange = 5 * time.Second
	// shortestState outlives one scrape that a busy machine lost.
	shortestState = 2 * time.Second
	// shortestInterval of a rule group.
	shortestInterval = time.Second
)

// renderer gives the templates their words.
type renderer struct {
	config   Config
	compress float64
	used     map[string][]string // by threshold, the rules that use it
	rule     string              // the one being written
}

func (r *renderer) funcs() template.FuncMap {
	return template.FuncMap{
		"v": r.value, "h": r.human, "say": r.say, "d": r.duration, "r": r.window, "i": r.interval,
		"alert": r.begin, "record": r.begin, "links": r.links, "story": story,
		"board": r.board, "windows": windows, "burns": burns, "kinds": kinds,
	}
}

func (r *renderer) threshold(name string) (Threshold, error) {
	t, ok := r.config.Thresholds[name]
	if !ok {
		return Threshold{}, fmt.Errorf("the threshold %q is not in thresholds.yml", name)
	}
	r.used[name] = append(r.used[name], r.rule)
	return t, nil
}

// value is a threshold as a number in an expression.
func (r *renderer) value(name string) (string, error) {
	t, err := r.threshold(name)
	if err != nil {
		return "", err
	}
	if t.Unit == "duration" {
		t.Value /= r.compress
	}
	return number(t.Value), nil
}

// human is a threshold in a sentence. It is the uncompressed one: what is shipped.
func (r *renderer) human(name string) (string, error) {
	t, err := r.threshold(name)
	if err != nil {
		return "", err
	}
	return t.Human(), nil
}

// say is human for comments, which use nothing.
func (r *renderer) say(name string) string { return r.config.Thresholds[name].Human() }

// duration is how long a state must last.
func (r *renderer) duration(text string) (string, error) { return r.shorten(text, shortestState) }

// window is how far an expression looks back.
func (r *renderer) window(text string) (string, error) { return r.shorten(text, shortestRange) }

// interval is a rule group's.
func (r *renderer) interval(text string) (string, error) { return r.shorten(text, shortestInterval) }

func (r *renderer) shorten(text string, least time.Duration) (string, error) {
	if r.compress == 1 {
		return text, nil
	}
	days, found := strings.CutSuffix(text, "d")
	if found {
		n, err := strconv.Atoi(days)
		if err != nil {
			return "", fmt.Errorf("the duration %q: %w", text, err)
		}
		text = strconv.Itoa(n*24) + "h"
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return "", fmt.Errorf("the duration %q: %w", text, err)
	}
	d = max(time.Duration(float64(d)/r.compress), min(d, least))
	return fmt.Sprintf("%dms", d.Milliseconds()), nil
}

// begin a rule.
func (r *renderer) begin(name string) string {
	r.rule = name
	return name
}

// ofServer chooses on a board what an alert is about. A variable that is there without a value would choose nothing.
const ofServer = "?{{ with $labels.cluster }}var-cluster={{ . }}{{ end }}{{ with $labels.instance }}&var-instance={{ . }}{{ end }}"

// story ends the description of an alert whose outage has a story: where the exporter shows it. Of an exporter that shows none nothing is
// added.
func story() string {
	return "{{ with query (printf `pgr:target:page{job=%q,instance=%q}` $labels.job $labels.instance) }}" +
		" Why: {{ . | first | label `url` }}incidents{{ end }}"
}

// links are the last annotations of an alert: where to read on, and where to look.
func (r *renderer) links(board string) string { return r.lead(board, ofServer) }

// board are the links of an alert that is about no server of ours.
func (r *renderer) board(board string) string { return r.lead(board, "") }

func (r *renderer) lead(board, query string) string {
	return fmt.Sprintf("runbook_url: %s%s.md\n          dashboard_url: '%spgr-%s%s'",
		r.config.Links.Runbook, r.rule, r.config.Links.Dashboard, board, query)
}

// burn is one pair of windows after the SRE workbook.
type burn struct{ Long, Short, Factor, Severity string }

func burns() []burn {
	return []burn{
		{"1h", "5m", "burn_1h_factor", "critical"},
		{"6h", "30m", "burn_6h_factor", "critical"},
		{"1d", "2h", "burn_1d_factor", "warning"},
		{"3d", "6h", "burn_3d_factor", "warning"},
	}
}

// kind of id that can run out.
type kind struct{ Upper, Lower, Words string }

func kinds() []kind {
	return []kind{{"XID", "xid", "transaction"}, {"MXID", "mxid", "multixact"}}
}

func windows(names ...string) []string { return names }

// number without an exponent and without the noise of binary fractions.
func number(v float64) string {
	return strconv.FormatFloat(math.Round(v*1e9)/1e9, 'f', -1, 64)
}
