package probe

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// running is a prober at work.
type running struct {
	*Prober
	log  *pgtest.Buffer
	lost chan struct{}
	stop func() // ends Run and waits for it
}

func connectTo(t testing.TB, dsn string) *postgres.Connector {
	t.Helper()
	c, err := postgres.NewConnector(postgres.ConnectorOptions{DSN: dsn, Settings: postgres.Settings{
		ApplicationName: "pg_reliability_exporter", StatementTimeout: 5 * time.Second, LockTimeout: time.Second,
	}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// quick probes more often than the defaults do, so that tests are short.
func quick(c *postgres.Connector) Options {
	return Options{
		Connector: c, Target: c.Target(), ReadInterval: 100 * time.Millisecond, LoginInterval: 500 * time.Millisecond,
		ReadTimeout: 400 * time.Millisecond, LoginTimeout: 400 * time.Millisecond,
	}
}

func start(t testing.TB, o Options) *running {
	t.Helper()
	r := prepare(t, o)
	r.run(t)
	return r
}

// prepare makes a prober that does not run yet.
func prepare(t testing.TB, o Options) *running {
	t.Helper()
	r := &running{log: &pgtest.Buffer{}, lost: make(chan struct{}, 100)}
	o.Logger = log.NewLogfmtLogger(r.log)
	o.OnConnectionLost = func() { r.lost <- struct{}{} }
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	r.Prober = p
	return r
}

func (r *running) run(t testing.TB) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	r.stop = func() { cancel(); <-done }
	t.Cleanup(func() {
		r.stop()
		if t.Failed() {
			t.Logf("prober's log:\n%s", r.log)
		}
	})
}

// wait until the snapshot is as it should be.
func (r *running) wait(t testing.TB, what string, f func(Snapshot) bool) Snapshot {
	t.Helper()
	var s Snapshot
	pgtest.Eventually(t, 15*time.Second, func() error {
		if s = r.Snapshot(); !f(s) {
			return fmt.Errorf("not %s: %+v", what, s)
		}
		return nil
	})
	return s
}

func (r *running) waitFor(t testing.TB, reason postgres.Reason) Snapshot {
	t.Helper()
	return r.wait(t, string(reason), func(s Snapshot) bool { return s.Known && s.Reason == reason })
}

// waitAfter waits for a probe that began after the call and found the server fit.
func (r *running) waitAfter(t testing.TB) Snapshot {
	t.Helper()
	now := time.Now()
	return r.wait(t, "fit after the event", func(s Snapshot) bool {
		p := s.Probes[Read]
		return s.Known && s.Reason == postgres.OK && p.At.Add(-p.Latency).After(now)
	})
}

func assertRestarts(t *testing.T, s Snapshot, want map[RestartKind]uint64) {
	t.Helper()
	if !maps.Equal(s.Restarts, want) {
		t.Errorf("restarts = %v, want %v", s.Restarts, want)
	}
}

// durable servers keep what they committed when they crash.
func durable() pgtest.Options {
	return pgtest.Options{Settings: map[string]string{"synchronous_commit": "on"}}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRestartKinds(t *testing.T) {
	for name, tc := range map[string]struct {
		do   func(*pgtest.Cluster, context.Context) error
		want map[RestartKind]uint64
	}{
		"fast restart":         {(*pgtest.Cluster).Restart, map[RestartKind]uint64{Restart: 1}},
		"backend killed":       {(*pgtest.Cluster).KillBackend, map[RestartKind]uint64{Crash: 1}},
		"reload is no restart": {func(c *pgtest.Cluster, _ context.Context) error { return c.Reload() }, map[RestartKind]uint64{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pgtest.EachVersion(t, durable(), func(t *testing.T, c *pgtest.Cluster) {
				p := start(t, quick(connectTo(t, c.MonitorDSN()))) // the role users get, no superuser
				p.waitFor(t, postgres.OK)
				must(t, tc.do(c, t.Context()))
				assertRestarts(t, p.waitAfter(t), tc.want)
			})
		})
	}
}

func TestPromotionAndStandbyFacts(t *testing.T) {
	t.Parallel()
	pgtest.EachVersion(t, pgtest.Options{}, func(t *testing.T, c *pgtest.Cluster) {
		s, err := c.Standby(t.Context())
		must(t, err)
		t.Cleanup(func() { _ = s.Close() })
		p := start(t, quick(connectTo(t, s.MonitorDSN())))
		p.waitFor(t, postgres.OK)

		must(t, c.Exec(t.Context(), "CREATE TABLE t (id int)"))
		snap := p.wait(t, "replaying all it receives, with its checkpointer", func(s Snapshot) bool {
			return s.Server.ReplayLag == 0 && !s.Server.CheckpointerStart.IsZero() // which a server that has only begun may not show yet
		})
		if got := snap.Server; got.Role != Standby || got.Timeline != 1 || got.CheckpointerStart.IsZero() || got.SystemIdentifier == "" {
			t.Errorf("server = %+v, want a standby on timeline 1 with all its facts", got)
		}
		must(t, c.Exec(t.Context(), "REVOKE pg_monitor FROM "+pgtest.Monitor))
		p.wait(t, "blind to the receiver", func(s Snapshot) bool {
			return s.Reason == postgres.OK && s.Server.CheckpointerStart.IsZero() && s.Server.ReplayLag == UnknownLag
		})
		must(t, c.Exec(t.Context(), "GRANT pg_monitor TO "+pgtest.Monitor))
		p.wait(t, "replaying all it receives", func(s Snapshot) bool { return s.Server.ReplayLag == 0 })
		must(t, c.Stop())
		p.wait(t, "behind, with the link cut", func(s Snapshot) bool { return s.Server.ReplayLag > 300*time.Millisecond })

		must(t, s.Promote(t.Context()))
		snap = p.waitAfter(t)
		assertRestarts(t, snap, map[RestartKind]uint64{Promotion: 1})
		if got := snap.Server; got.Role != Primary || got.Timeline != 2 || got.ReplayLag != UnknownLag {
			t.Errorf("server = %+v, want a primary on timeline 2 without a lag", got)
		}
	})
}

// The address leads to another server: here the next of a connection string with two.
func TestFailover(t *testing.T) {
	t.Parallel()
	pgtest.EachVersion(t, pgtest.Options{}, func(t *testing.T, old *pgtest.Cluster) {
		promoted, err := old.Standby(t.Context())
		must(t, err)
		t.Cleanup(func() { _ = promoted.Close() })
		p := start(t, quick(connectTo(t, fmt.Sprintf("host=127.0.0.1,127.0.0.1 port=%d,%d user=%s password=%s dbname=postgres sslmode=disable",
			old.Port, promoted.Port, pgtest.Monitor, pgtest.Password))))
		was := p.waitFor(t, postgres.OK).Server
		must(t, promoted.Promote(t.Context()))
		must(t, old.Stop())
		s := p.waitAfter(t)
		assertRestarts(t, s, map[RestartKind]uint64{Failover: 1})
		if s.Server.Address == was.Address || s.Server.Timeline != was.Timeline+1 || s.Server.SystemIdentifier != was.SystemIdentifier {
			t.Errorf("server = %+v after %+v, want the promoted one", s.Server, was)
		}
	})
}

func TestFactsAreExact(t *testing.T) {
	t.Parallel()
	pgtest.EachVersion(t, pgtest.Options{}, func(t *testing.T, c *pgtest.Cluster) {
		query := func(sql string) string {
			v, err := c.Query(t.Context(), "postgres", sql)
			must(t, err)
			return v
		}
		p := start(t, quick(connectTo(t, c.MonitorDSN())))
		got := p.waitFor(t, postgres.OK).Server
		const layout = "2006-01-02 15:04:05.000000"
		for what, pair := range map[string][2]string{
			"start": {got.StartTime.Format(layout), query("to_char(pg_postmaster_start_time() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')")},
			"checkpointer": {got.CheckpointerStart.Format(layout),
				query("SELECT to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') FROM pg_stat_activity WHERE backend_type = " +
					"'checkpointer'")},
			"system identifier": {got.SystemIdentifier, query("SELECT system_identifier FROM pg_control_system()")},
			"timeline":          {fmt.Sprint(got.Timeline), query("SELECT timeline_id FROM pg_control_checkpoint()")},
			"version":           {fmt.Sprint(got.Version), query("current_setting('server_version_num')")},
			"address":           {got.Address, fmt.Sprintf("127.0.0.1:%d", c.Port)},
			"role":              {string(got.Role), "primary"},
			"lag":               {got.ReplayLag.String(), UnknownLag.String()},
		} {
			if pair[0] != pair[1] {
				t.Errorf("%s = %s, want %s", what, pair[0], pair[1])
			}
		}
	})
}

func TestARoleWithLittleToSayStillProbes(t *testing.T) {
	t.Parallel()
	pgtest.EachVersion(t, durable(), func(t *testing.T, c *pgtest.Cluster) {
		must(t, c.Exec(t.Context(), "REVOKE pg_monitor FROM "+pgtest.Monitor))
		p := start(t, quick(connectTo(t, c.MonitorDSN())))
		got := p.waitFor(t, postgres.OK).Server
		if got.Role != Primary || got.StartTime.IsZero() || got.Timeline != 1 || !got.CheckpointerStart.IsZero() {
			t.Errorf("without pg_monitor: server = %+v, want all but the checkpointer's start", got)
		}
		p.stop()

		must(t, c.Exec(t.Context(), `DO $$ DECLARE f regprocedure; BEGIN
			FOR f IN SELECT oid FROM pg_proc WHERE proname IN ('pg_control_system', 'pg_postmaster_start_time', 'inet_server_addr') LOOP
				EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f);
			END LOOP; END $$`))
		p = start(t, quick(connectTo(t, c.MonitorDSN())))
		got = p.waitFor(t, postgres.OK).Server
		if got.Role != Primary || got.Timeline != 1 || !got.StartTime.IsZero() || got.SystemIdentifier != "" || got.Address != "" {
			t.Errorf("with functions revoked: server = %+v, want role and timeline alone", got)
		}
		must(t, c.Exec(t.Context(), "REVOKE EXECUTE ON FUNCTION pg_is_in_recovery() FROM PUBLIC"))
		must(t, c.KillBackend(t.Context())) // a new session asks for its rights anew
		p.wait(t, "up without a role", func(s Snapshot) bool { return s.Reason == postgres.OK && s.Server.Role == UnknownRole })
	})
}

// A server may be caught writing pg_control, and some that speak PostgreSQL's protocol have none.
func TestAFactThatCantBeReadIsNoOutage(t *testing.T) {
	t.Parallel()
	pgtest.EachVersion(t, pgtest.Options{}, func(t *testing.T, c *pgtest.Cluster) {
		p := start(t, quick(connectTo(t, c.MonitorDSN())))
		p.waitFor(t, postgres.OK)
		control := filepath.Join(c.DataDir(), "global", "pg_control")
		whole, err := os.ReadFile(control)
		must(t, err)
		torn := bytes.Clone(whole)
		torn[40] ^= 0xff
		must(t, os.WriteFile(control, torn, 0o600))
		s := p.wait(t, "without a system identifier", func(s Snapshot) bool { return s.Server.SystemIdentifier == "" })
		if got := s.Server; s.Reason != postgres.OK || s.Outages != 0 || got.Role != Primary || got.StartTime.IsZero() ||
			got.CheckpointerStart.IsZero() {
			t.Errorf("snapshot = %+v, want it up, with what can be told", s)
		}
		must(t, os.WriteFile(control, whole, 0o600))
		s = p.wait(t, "with a system identifier", func(s Snapshot) bool { return s.Server.SystemIdentifier != "" })
		assertRestarts(t, s, map[RestartKind]uint64{})
	})
}
