package dashboards_test

import (
	"errors"
	"strings"
	"testing"
)

// emptyQuery names a query by its board's uid, its panel's title and its letter.
type emptyQuery struct{ board, panel, ref, reason string }

func (e emptyQuery) name() string { return strings.Join([]string{e.board, e.panel, e.ref}, " / ") }

// emptyByDesign are queries without data in the proof's minute, each with its reason. One that has data after all, or
// that no board has any more, fails the test: take it off the list.
var emptyByDesign = []emptyQuery{
	{"pgr-overview", "Certificate ends in", "A", "these servers have no TLS"},
	{"pgr-backups", "Time since WAL was archived", "B",
		"only pgBackRest says how far archived WAL reaches, and this repository is of pg_dump"},
	{"pgr-overview", "RPO: could be lost", "B", inTime},
	{"pgr-backups", "RPO: could be lost", "B", inTime},
	{"pgr-backups", "Newest good backup", "B", inTime},
	{"pgr-backups", "Last proved by a restore", "B", lookedAfter},
	{"pgr-backups", "Newest one's files last read", "B", lookedAfter},
	{"pgr-backups", "Good backups of those kept", "B", lookedAfter},
	{"pgr-fleet", "Without a proved backup", "C", lookedAfter},
	{"pgr-overview", "RPO: could be lost", "E", lookedAfter},
	{"pgr-settings", "MD5 passwords", "A", "only a superuser may see them, and the exporter's role is none"},
	{"pgr-pgbouncer", "Prepared statements", "A", inNoBouncer},
	{"pgr-pgbouncer", "Prepared statements", "B", inNoBouncer},
	{"pgr-pgbouncer", "Prepared statements", "C", inNoBouncer},
	{"pgr-pgbouncer", "Prepared statements", "D", inNoBouncer},
	{"pgr-capacity", "Container", "A", inNoContainer},
	{"pgr-capacity", "Its health check", "A", inNoContainer},
	{"pgr-capacity", "Restarts by its engine", "A", inNoContainer},
	{"pgr-capacity", "Killed for want of memory", "A", inNoContainer},
	{"pgr-capacity", "Runs for", "A", inNoContainer},
	{"pgr-capacity", "Memory limit", "A", inNoContainer},
}

const (
	inTime        = "no backup is older than its limit of hours; promtool's tests of the alert compare the same"
	lookedAfter   = "the job is on time; promtool's test of late ones asks the same"
	inNoBouncer   = "PgBouncer counts them since 1.24, and the package manager's is older"
	inNoContainer = "these servers are in no container; TestCompose of deploy/compose asks a real engine"
)

func TestListOfEmptyQueriesMustBeTrue(t *testing.T) {
	design := []emptyQuery{{"b", "p", "A", "it rains"}}
	none := errors.New("no data")
	for name, tc := range map[string]struct {
		names  []string
		failed map[string]error
		want   string
	}{
		"empty as listed": {[]string{"b / p / A", "b / p / B"}, map[string]error{"b / p / A": none}, ""},
		"empty and not listed": {[]string{"b / p / A", "b / p / B"}, map[string]error{"b / p / A": none, "b / p / B": none},
			"b / p / B: no data"},
		"listed, but it has data": {[]string{"b / p / A"}, nil, "b / p / A has data, but is listed as empty by design (it rains)"},
		"listed, but it is gone":  {[]string{"b / p / B"}, nil, "b / p / A is listed as empty by design, but no board has it"},
	} {
		got := strings.Join(complaints(tc.names, tc.failed, design), "\n")
		if !strings.HasPrefix(got, tc.want) || (got == "") != (tc.want == "") {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

// As Grafana's documentation of variables in Prometheus queries has it.
func TestVariablesAreWrittenAsGrafanaWritesThem(t *testing.T) {
	chosen := proofChoice{
		"one":  {values: []string{"db1"}},
		"some": {values: []string{"db1:9187", "db.2"}, regex: true},
		"all":  {raw: ".+", regex: true},
	}
	for text, want := range map[string]string{
		`up{instance="$one"}`:               `up{instance="db1"}`,
		`up{instance=~"$some"}`:             `up{instance=~"(db1:9187|db\\.2)"}`,
		`up{instance=~"${all}|"}`:           `up{instance=~".+|"}`,
		`up{instance=~"${some:pipe}"}`:      `up{instance=~"db1:9187|db.2"}`,
		`rate(x{i="[[one]]"}[$__interval])`: `rate(x{i="db1"}[1s])`,
	} {
		got, err := chosen.interpolate(text, map[string]string{"__interval": "1s"})
		if err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", text, got, err, want)
		}
	}
	if got, err := chosen.interpolate("up{i=\"$nobody\"}", nil); err == nil {
		t.Errorf("a variable nobody defines became %s", got)
	}
}
