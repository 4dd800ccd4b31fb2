package probe

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// shown is a prober, bare or as a test runs it.
type shown interface{ Metrics() prometheus.Collector }

// samples of a scrape, such as `pg_up` or `pg_reliability_role{role="primary"}`. Histograms count.
func samples(t *testing.T, p shown) map[string]float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	must(t, r.Register(p.Metrics()))
	families, err := r.Gather()
	must(t, err)
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			out[f.GetName()+labels(m)] = value(m)
		}
	}
	return out
}

func labels(m *dto.Metric) string {
	var pairs []string
	for _, l := range m.GetLabel() {
		pairs = append(pairs, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
	}
	if pairs == nil {
		return ""
	}
	slices.Sort(pairs)
	return "{" + strings.Join(pairs, ",") + "}"
}

func value(m *dto.Metric) float64 {
	switch {
	case m.GetGauge() != nil:
		return m.GetGauge().GetValue()
	case m.GetCounter() != nil:
		return m.GetCounter().GetValue()
	}
	return float64(m.GetHistogram().GetSampleCount())
}

func assertSamples(t *testing.T, p shown, present map[string]float64, absent ...string) {
	t.Helper()
	got := samples(t, p)
	for name, want := range present {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s = %v (present: %v), want %v", name, v, ok, want)
		}
	}
	for _, prefix := range absent {
		for name := range got {
			if strings.HasPrefix(name, prefix) {
				t.Errorf("%s = %v, want it absent", name, got[name])
			}
		}
	}
}

func assertClean(t *testing.T, p shown) {
	t.Helper()
	problems, err := testutil.CollectAndLint(p.Metrics())
	must(t, err)
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestMetricsBeforeTheFirstProbe(t *testing.T) {
	c := connectTo(t, "postgres://u@127.0.0.1:1/x")
	o := quick(c)
	o.Logger, o.Write, o.Instance = discard(), true, "i"
	p, err := New(o)
	must(t, err)
	present := map[string]float64{
		`pg_reliability_up_reason{reason="unknown"}`: 1, `pg_reliability_up_reason{reason="ok"}`: 0,
		"pg_reliability_outage_in_progress_seconds": 0, "pg_reliability_recovery_duration_seconds": 0,
		`pg_reliability_restarts_total{kind="restart"}`:                           0,
		`pg_reliability_probe_total{probe="write",result="too_many_connections"}`: 0,
		`pg_reliability_state_persistence{status="off"}`:                          1,
		`pg_reliability_restart_kind_observable{kind="container"}`:                0,
	}
	for _, r := range postgres.Reasons() {
		present[fmt.Sprintf("pg_reliability_outages_total{reason=%q}", r)] = 0
		present[fmt.Sprintf("pg_reliability_downtime_seconds_total{reason=%q}", r)] = 0
	}
	assertSamples(t, p, present, "pg_up", "pg_reliability_probe_success", "pg_reliability_probe_reason", "pg_reliability_role",
		"pg_postmaster_start_time_seconds", "pg_reliability_last_", `pg_reliability_restarts_total{kind="container"}`,
		`pg_reliability_restarts_total{kind="crash"}`, `pg_reliability_restart_kind_observable{kind="crash"}`,
		"pg_reliability_longest")
	assertClean(t, p)
}

func TestMetricsThroughAnOutage(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, durable())
	o := quick(connectTo(t, c.MonitorDSN()))
	o.StateDir = t.TempDir()
	p := start(t, o)
	up := p.waitFor(t, postgres.OK)
	assertSamples(t, p, map[string]float64{
		"pg_up": 1, `pg_reliability_up_reason{reason="ok"}`: 1, `pg_reliability_up_reason{reason="other"}`: 0,
		`pg_reliability_probe_success{probe="read"}`: 1, `pg_reliability_probe_success{probe="login"}`: 1,
		`pg_reliability_probe_reason{probe="login",reason="ok"}`: 1, `pg_reliability_role{role="primary"}`: 1,
		`pg_reliability_role{role="standby"}`: 0, `pg_reliability_restarts_total{kind="crash"}`: 0,
		`pg_reliability_restart_kind_observable{kind="crash"}`: 1,
		"pg_postmaster_start_time_seconds":                     float64(up.Server.StartTime.UnixMicro()) / 1e6,
		`pg_reliability_state_persistence{status="ok"}`:        1,
	}, `pg_reliability_probe_success{probe="write"}`, "pg_reliability_last_outage", `pg_reliability_restarts_total{kind="container"}`)

	// Without notice: a server that is stopped in order has a moment in which it says that it shuts down.
	c.KillServer()
	p.waitFor(t, postgres.Refused)
	p.wait(t, "down for a while", func(s Snapshot) bool { return s.Downtime > 300*time.Millisecond })
	got := samples(t, p)
	if a, b := got["pg_reliability_outage_in_progress_seconds"], got[`pg_reliability_downtime_seconds_total{reason="refused"}`]; a < 0.3 ||
		b < 0.3 {
		t.Errorf("in progress %v s, downtime %v s; want both to grow", a, b)
	}
	assertSamples(t, p, map[string]float64{
		"pg_up": 0, `pg_reliability_up_reason{reason="refused"}`: 1, `pg_reliability_probe_success{probe="login"}`: 0,
		`pg_reliability_outages_total{reason="refused"}`: 1, "pg_reliability_recovery_duration_seconds": 0,
	}, "pg_reliability_role", "pg_postmaster_start_time", "pg_reliability_last_outage_end")

	must(t, c.Launch(t.Context()))
	p.waitAfter(t)
	p.ObserveContainer("c", 1, time.Now(), false)
	p.ObserveContainer("c", 3, time.Now(), false)
	p.wait(t, "told of the container", func(s Snapshot) bool { return s.Restarts[Container] == 2 })
	assertSamples(t, p, map[string]float64{
		"pg_up": 1, `pg_reliability_restarts_total{kind="restart"}`: 1, `pg_reliability_outages_total{reason="refused"}`: 1,
		"pg_reliability_recovery_duration_seconds": 1, "pg_reliability_outage_in_progress_seconds": 0,
		`pg_reliability_restarts_total{kind="container"}`:          2,
		`pg_reliability_restart_kind_observable{kind="container"}`: 1,
	})
	assertClean(t, p)
	p.stop()

	p = start(t, o)
	p.waitFor(t, postgres.OK)
	assertSamples(t, p, map[string]float64{
		`pg_reliability_restarts_total{kind="restart"}`: 1, `pg_reliability_outages_total{reason="refused"}`: 1,
		"pg_reliability_recovery_duration_seconds": 1, `pg_reliability_restarts_total{kind="container"}`: 2,
	})
}

func TestACrashThatCantBeSeenIsAbsent(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	must(t, c.Exec(t.Context(), "REVOKE pg_monitor FROM "+pgtest.Monitor))
	p := start(t, quick(connectTo(t, c.MonitorDSN())))
	p.waitFor(t, postgres.OK)
	assertSamples(t, p, map[string]float64{
		`pg_reliability_restart_kind_observable{kind="crash"}`:   0,
		`pg_reliability_restart_kind_observable{kind="restart"}`: 1,
	}, `pg_reliability_restarts_total{kind="crash"}`)
}

func TestWritesOnAPrimaryAndNotOnAStandby(t *testing.T) {
	t.Parallel()
	pgtest.EachVersion(t, durable(), func(t *testing.T, c *pgtest.Cluster) {
		o := quick(connectTo(t, c.MonitorDSN()))
		o.Write, o.Instance, o.WriteInterval = true, `it's a \ name`, 100*time.Millisecond
		p := start(t, o)
		p.wait(t, "without its table", func(s Snapshot) bool { return s.Probes[Write].Reason == postgres.Query })
		if s := p.Snapshot(); s.Reason != postgres.OK || s.Outages != 0 {
			t.Errorf("snapshot = %+v, want reads and logins alone to decide", s)
		}
		runScript(t, c, "../../deploy/sql/heartbeat.sql")
		runScript(t, c, "../../deploy/sql/heartbeat.sql") // may be run again
		p.wait(t, "written", func(s Snapshot) bool { return s.Probes[Write].Reason == postgres.OK })
		pgtest.Eventually(t, 20*time.Second, func() error {
			got, err := c.Query(t.Context(), "postgres", "SELECT instance || ' ' || count(*) OVER () || ' ' || (beats > 2) FROM "+
				"reliability.heartbeat")
			must(t, err)
			if want := `it's a \ name 1 true`; got != want {
				return fmt.Errorf("heartbeats = %q, want %q", got, want)
			}
			return nil
		})
		must(t, c.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '"+pgtest.Monitor+"'"))
		if s := p.waitAfter(t); s.Probes[Write].Reason != postgres.OK {
			t.Errorf("write = %+v, want a new session to write at once", s.Probes[Write])
		}
		conn, err := c.Connect(t.Context(), "postgres")
		must(t, err)
		_, err = conn.Exec(t.Context(), "BEGIN; LOCK TABLE reliability.heartbeat")
		must(t, err)
		p.wait(t, "late behind a lock", func(s Snapshot) bool { return s.Probes[Write].Reason == postgres.LockTimeout })
		must(t, conn.Close(t.Context()))
		p.wait(t, "written after the lock", func(s Snapshot) bool { return s.Probes[Write].Reason == postgres.OK })

		standby, err := c.Standby(t.Context())
		must(t, err)
		t.Cleanup(func() { _ = standby.Close() })
		o = quick(connectTo(t, standby.MonitorDSN()))
		o.Write, o.Instance, o.WriteInterval = true, "i", 100*time.Millisecond
		p = start(t, o)
		p.waitFor(t, postgres.OK)
		reads := samples(t, p)[`pg_reliability_probe_total{probe="read",result="ok"}`]
		pgtest.Eventually(t, 20*time.Second, func() error { // longer than a write interval
			if n := samples(t, p)[`pg_reliability_probe_total{probe="read",result="ok"}`]; n < reads+5 {
				return fmt.Errorf("%v reads", n)
			}
			return nil
		})
		assertSamples(t, p, map[string]float64{
			`pg_reliability_probe_total{probe="write",result="ok"}`:        0,
			`pg_reliability_probe_total{probe="write",result="read_only"}`: 0,
		}, `pg_reliability_probe_success{probe="write"}`)
		must(t, standby.Promote(t.Context()))
		p.wait(t, "written after the promotion", func(s Snapshot) bool { return s.Probes[Write].Reason == postgres.OK })
	})
}

// runScript runs a file's statements as psql would.
func runScript(t *testing.T, c *pgtest.Cluster, file string) {
	t.Helper()
	script, err := os.ReadFile(file)
	must(t, err)
	conn, err := c.Connect(t.Context(), "postgres")
	must(t, err)
	defer conn.Close(t.Context())
	_, err = conn.PgConn().Exec(t.Context(), string(script)).ReadAll()
	must(t, err)
}

// A write probe without its table was silent for the first interval.
func TestTheFirstWriteFollowsTheFirstLoginAtOnce(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	o := quick(connectTo(t, c.MonitorDSN()))
	o.Write, o.Instance, o.WriteInterval = true, "i", time.Hour // of itself there is none in this test
	p := start(t, o)
	p.wait(t, "told", func(s Snapshot) bool { return s.Reason == postgres.OK && s.Probes[Write].Error != "" })
}

func TestAWriteFollowsTheEndOfAnOutageAtOnce(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, durable())
	runScript(t, c, "../../deploy/sql/heartbeat.sql")
	o := quick(connectTo(t, c.MonitorDSN()))
	o.Write, o.Instance, o.WriteInterval = true, "i", time.Hour // of itself there is none in this test
	p := start(t, o)
	p.waitFor(t, postgres.OK)
	c.Pause()
	p.waitFor(t, postgres.Timeout)
	c.Resume()
	p.wait(t, "written", func(s Snapshot) bool { return s.Reason == postgres.OK && s.Probes[Write].Reason == postgres.OK })
}
