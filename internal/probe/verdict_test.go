package probe

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// Each row is a row of docs/up.md's table.
func TestVerdicts(t *testing.T) {
	const ok = postgres.OK
	limits := map[Kind]time.Duration{Read: 5 * time.Second, Login: 32 * time.Second, Write: 17 * time.Second}
	told := func(reasons ...postgres.Reason) Snapshot {
		s := Snapshot{Probes: map[Kind]Result{}, MaxAge: limits, Known: true, Since: at(10), Server: Server{Role: Primary}}
		for i, r := range reasons {
			s.Probes[[]Kind{Read, Login, Write}[i]] = Result{At: at(99), Reason: r, Since: at(10)}
		}
		if s.Reason = reasons[0]; s.Reason == ok {
			s.Reason = reasons[1]
		}
		return s
	}
	late := told(ok, ok)
	late.Probes[Read] = Result{At: at(90), Reason: ok}
	standby := told(ok, ok, postgres.ReadOnly)
	standby.Server.Role = Standby
	for name, tc := range map[string]struct {
		s        Snapshot
		status   Status
		reason   postgres.Reason
		upReason postgres.Reason
		fit      bool
	}{
		"no probe has reported yet":    {Snapshot{Reason: postgres.Other}, StatusUnknown, ReasonUnknown, ReasonUnknown, false},
		"none for too long":            {late, StatusUnknown, ReasonUnknown, ReasonUnknown, false},
		"reads and logins succeed":     {told(ok, ok), StatusUp, ok, ok, true},
		"writes, too":                  {told(ok, ok, ok), StatusUp, ok, ok, true},
		"a standby turns a write down": {standby, StatusUp, ok, ok, true},
		"writes fail":                  {told(ok, ok, postgres.LockTimeout), StatusDegraded, postgres.LockTimeout, ok, true},
		"logins are refused":           {told(ok, postgres.Auth), StatusDown, postgres.Auth, postgres.Auth, false},
		"no slot is left": {told(ok, postgres.TooManyConnections), StatusDown, postgres.TooManyConnections,
			postgres.TooManyConnections, false},
		"reads time out":  {told(postgres.Timeout, ok), StatusDown, postgres.Timeout, postgres.Timeout, false},
		"it starts":       {told(postgres.StartingUp, postgres.StartingUp), StatusDown, postgres.StartingUp, postgres.StartingUp, false},
		"it is not there": {told(postgres.Refused, postgres.Refused), StatusDown, postgres.Refused, postgres.Refused, false},
	} {
		v := tc.s.Judge(at(100))
		if v.Status != tc.status || v.Reason != tc.reason || v.UpReason() != tc.upReason || v.Fit() != tc.fit || v.Message == "" {
			t.Errorf("%s: %+v, up reason %s, fit %v; want %+v", name, v, v.UpReason(), v.Fit(), tc)
		}
	}
}

// A rule pg_up == 0 that was brought along from another exporter must fire when users are turned away, though the
// connection that the exporter keeps goes on working.
func TestPgUpIsWhatAUserOfTheDatabaseFeels(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	p := start(t, quick(connectTo(t, c.MonitorDSN())))
	p.waitFor(t, postgres.OK)
	hba := filepath.Join(c.DataDir(), "pg_hba.conf")
	before, err := os.ReadFile(hba)
	must(t, err)
	must(t, os.WriteFile(hba, []byte("host all "+pgtest.Monitor+" all reject\n"+string(before)), 0o600))
	must(t, c.Reload())
	s := p.waitFor(t, postgres.PgHBA)
	if !s.Answers() || s.OutageStart.IsZero() || !strings.Contains(s.Probes[Login].Error, "pg_hba.conf rejects") {
		t.Errorf("snapshot = %+v, want reads to go on, and an outage", s)
	}
	assertSamples(t, p, map[string]float64{
		"pg_up": 0, `pg_reliability_up_reason{reason="pg_hba"}`: 1, `pg_reliability_up_reason{reason="ok"}`: 0,
		`pg_reliability_probe_success{probe="read"}`: 1, `pg_reliability_probe_success{probe="login"}`: 0,
		`pg_reliability_role{role="primary"}`: 1,
	})
	must(t, os.WriteFile(hba, before, 0o600))
	must(t, c.Reload())
	p.waitFor(t, postgres.OK)
	assertSamples(t, p, map[string]float64{"pg_up": 1, `pg_reliability_up_reason{reason="ok"}`: 1,
		`pg_reliability_up_reason{reason="pg_hba"}`: 0})
}
