package gather

import (
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/pg-reliability/pg_reliability_exporter/alerts"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

// What a rule tickets or pages is a problem on the page, at the rule's own threshold.
func TestMeasuredProblemsAreThoseOfTheRules(t *testing.T) {
	config, err := alerts.Load()
	if err != nil {
		t.Fatal(err)
	}
	limits := Thresholds{ByName: map[string]float64{}}
	for name, is := range config.Thresholds {
		limits.ByName[name] = is.Value
	}
	rules, err := config.Rules(1)
	if err != nil {
		t.Fatal(err)
	}
	var texts strings.Builder
	for _, text := range rules {
		texts.WriteString(text)
	}
	worst := func(p []status.Problem, of string) string {
		for _, one := range p {
			if one.Alert == of {
				return one.Severity
			}
		}
		return ""
	}
	for _, m := range allMeasured() {
		if !strings.Contains(texts.String(), m.metric.Name) || !strings.Contains(texts.String(), "alert: "+m.alert+"\n") {
			t.Errorf("no rule reads %s, or there is no alert %s", m.metric.Name, m.alert)
		}
		for _, name := range []string{m.ticket, m.page} {
			if is, ok := config.Thresholds[name]; name != "" && (!ok || !slices.Contains(is.UsedBy, m.alert)) {
				t.Errorf("%s does not use the threshold %s", m.alert, name)
			}
		}
		at := func(v float64) string {
			p := newPage([]*dto.MetricFamily{gaugeFamily(m.metric.Name, v, "datname", "shop")})
			return worst(problems(&status.Status{GeneratedAt: noon}, limits, probe.Snapshot{}, p, probe.HistoryBucket{}, &counters{}), m.alert)
		}
		ticket := limits.ByName[m.ticket]
		if below, above := at(ticket), at(ticket*1.001+0.001); below != "" || above != status.Warning {
			t.Errorf("%s: %q at the threshold, %q above", m.alert, below, above)
		}
		if m.page != "" && at(limits.ByName[m.page]*1.001) != status.Critical {
			t.Errorf("%s is not critical above %s", m.alert, m.page)
		}
	}
	answers := probe.Snapshot{Probes: map[probe.Kind]probe.Result{probe.Read: {At: noon, Reason: postgres.OK}}, User: `"mon"`}
	blind, soon, skewed := answers, answers, answers
	blind.Server.Sight = probe.PartialSight
	soon.ChainEnd = noon.Add(time.Hour)
	skewed.Skew = probe.Skew{Offset: -5 * time.Second, Uncertainty: time.Second}
	for alert, s := range map[string]probe.Snapshot{"PostgresMonitoringIncomplete": blind, "PostgresCertificateExpires": soon,
		"PostgresClockSkew": skewed} {
		if worst(problems(&status.Status{GeneratedAt: noon}, limits, answers, nil, probe.HistoryBucket{}, &counters{}), alert) != "" {
			t.Errorf("%s without a reason", alert)
		}
		p := problems(&status.Status{GeneratedAt: noon}, limits, s, nil, probe.HistoryBucket{}, &counters{})
		if worst(p, alert) == "" {
			t.Errorf("%s is no problem: %+v", alert, p)
		}
		if alert == "PostgresMonitoringIncomplete" && !strings.Contains(p[0].Message, `HINT: GRANT pg_monitor TO "mon"`) {
			t.Errorf("message %q", p[0].Message)
		}
	}
}

// A state directory that does not keep the counts is told of with what to do, also while the server is down.
func TestAStateThatIsNotKeptIsAProblem(t *testing.T) {
	limits := Thresholds{ByName: map[string]float64{}}
	for want, keeping := range map[string]probe.Keeping{
		"HINT: Look for a disk or network file system that hangs": {Loading: true},
		"HINT: Give each its own --state.dir":                     {Locked: true},
		"can't be used: mkdir x: not a directory. counts of outages and restarts will be lost when the exporter stops. HINT: Give": {
			Failing: true, Error: "mkdir x: not a directory"},
	} {
		p := problems(&status.Status{GeneratedAt: noon}, limits, probe.Snapshot{Keeping: keeping}, nil, probe.HistoryBucket{}, &counters{})
		named := status.Problem{Alert: "PostgresMonitoringIncomplete", Severity: status.Warning}
		if len(p) != 1 || p[0].Alert != named.Alert || p[0].Severity != named.Severity || !strings.Contains(p[0].Message, want) {
			t.Errorf("%+v: %+v, want %q", keeping, p, want)
		}
	}
}
