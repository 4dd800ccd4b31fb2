package probe

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// observe makes what measures arrivals on a server, as an exporter there does.
func observe(t *testing.T, c *pgtest.Cluster, o Options) *Arrivals {
	t.Helper()
	p := start(t, o)
	p.waitFor(t, postgres.OK)
	pool, err := postgres.NewPool(postgres.PoolOptions{Connector: o.Connector, Min: 1, Max: 3, Apart: 2, Logger: log.NewNopLogger()})
	must(t, err)
	t.Cleanup(pool.Close)
	return NewArrivals(pool, p.Prober)
}

// lags are what it measures now, by who wrote.
func (a *Arrivals) lags(t *testing.T) (map[string]time.Duration, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), pgtest.Patience(ArrivalsInterval))
	defer cancel()
	a.next = time.Time{} // a minute has passed
	var out metric.Sink
	err := a.Collect(ctx, &out)
	got := map[string]time.Duration{}
	for _, s := range out.Samples {
		got[s.Labels[0]] = time.Duration(s.Value * float64(time.Second))
	}
	return got, err
}

// A standby that is paused is behind by as long as that lasts, whatever is written meanwhile, and so is a subscriber whose subscription is
// disabled; both catch up. The server that is written to has no lag, and neither has a subscriber's own heartbeat.
func TestHeartbeatsTellHowFarBehindStandbysAndSubscribersAre(t *testing.T) {
	t.Parallel()
	settings := pgtest.Options{Settings: map[string]string{"wal_level": "logical"}}
	pgtest.EachVersion(t, settings, func(t *testing.T, c *pgtest.Cluster) {
		runScript(t, c, "../../deploy/sql/heartbeat.sql")
		o := quick(connectTo(t, c.MonitorDSN()))
		o.Write, o.Instance, o.WriteInterval, o.WriteTimeout = true, "there's", 100*time.Millisecond, pgtest.Patience(5*time.Second)
		primary := observe(t, c, o)
		standby, err := c.Standby(t.Context())
		must(t, err)
		t.Cleanup(func() { _ = standby.Close() })
		behind := observe(t, standby, quick(connectTo(t, standby.MonitorDSN())))

		subscriber := pgtest.New(t, pgtest.Options{Install: c.Install})
		runScript(t, subscriber, "../../deploy/sql/heartbeat.sql")
		must(t, c.Exec(t.Context(), "CREATE PUBLICATION beats FOR TABLE reliability.heartbeat"))
		must(t, subscriber.Exec(t.Context(), fmt.Sprintf("CREATE SUBSCRIPTION beats CONNECTION '%s' PUBLICATION beats",
			c.SocketDSN(pgtest.Superuser, "postgres"))))
		o = quick(connectTo(t, subscriber.MonitorDSN()))
		o.Write, o.Instance = true, "here"
		copied := observe(t, subscriber, o)

		pgtest.Eventually(t, 20*time.Second, func() error { // the pool's first login may have met a server at its start
			got, err := primary.lags(t)
			if len(got) > 0 {
				t.Fatalf("the server that is written to: %v", got)
			}
			return err
		})
		const least = 3 * time.Second
		for _, tc := range []struct {
			name               string
			at                 *pgtest.Cluster
			arrivals           *Arrivals
			interrupt, restore string
		}{
			{"standby", standby, behind, "SELECT pg_wal_replay_pause()", "SELECT pg_wal_replay_resume()"},
			{"subscriber", subscriber, copied, "ALTER SUBSCRIPTION beats DISABLE", "ALTER SUBSCRIPTION beats ENABLE"},
		} {
			is := func(what string, right func(time.Duration) bool) {
				t.Helper()
				pgtest.Eventually(t, 60*time.Second, func() error {
					got, err := tc.arrivals.lags(t)
					if lag, there := got["there's"]; err != nil || !there || len(got) != 1 || !right(lag) {
						return fmt.Errorf("%s: %s: %v, %w", tc.name, what, got, err)
					}
					return nil
				})
			}
			is("follows", func(lag time.Duration) bool { return lag < least })
			must(t, tc.at.Exec(t.Context(), tc.interrupt))
			is("is behind", func(lag time.Duration) bool { return lag > least })
			must(t, tc.at.Exec(t.Context(), tc.restore))
			is("has caught up", func(lag time.Duration) bool { return lag < least })
		}
		must(t, subscriber.Exec(t.Context(), "DROP SUBSCRIPTION beats"))
	})
}

// What the owner of the table could put in its place is not read.
func TestHeartbeatsAreReadFromTheirTableAlone(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	runScript(t, c, "../../deploy/sql/heartbeat.sql")
	must(t, c.Exec(t.Context(), "CREATE TABLE trace (who text)", "GRANT INSERT ON trace TO PUBLIC",
		"CREATE FUNCTION fire() RETURNS bigint LANGUAGE sql VOLATILE AS 'INSERT INTO public.trace VALUES (current_user) RETURNING 1'",
		"CREATE VIEW reliability.other AS SELECT 'x' AS instance, now() AS beat_at, public.fire() AS beats",
		"GRANT SELECT ON reliability.other TO "+pgtest.Monitor))
	s, err := c.Standby(t.Context())
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	a := observe(t, s, quick(connectTo(t, s.MonitorDSN())))
	for _, tc := range []struct{ change, want string }{
		{"REVOKE SELECT ON reliability.heartbeat FROM " + pgtest.Monitor, "may not read"},
		{"ALTER TABLE reliability.heartbeat RENAME TO away", ""}, // there is none
		{"ALTER VIEW reliability.other RENAME TO heartbeat", "not an ordinary table"},
	} {
		must(t, c.Exec(t.Context(), tc.change))
		pgtest.Eventually(t, 60*time.Second, func() error {
			got, err := a.lags(t)
			if len(got) > 0 || tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				return fmt.Errorf("%s: %v, %w", tc.change, got, err)
			}
			return nil
		})
	}
	if traces, err := c.Query(t.Context(), "postgres", "SELECT count(*) FROM trace"); err != nil || traces != "0" {
		t.Errorf("code of the owner's ran %s times, %v", traces, err)
	}
}
