package probe

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/sessions"
)

// seen is the value of a metric, summed over the labels that are not named.
func seen(t *testing.T, p *running, name string, labels ...string) (sum float64) {
	t.Helper()
	for series, value := range samples(t, p) {
		if strings.HasPrefix(series, name) && containsAll(series, labels) {
			sum += value
		}
	}
	return sum
}

func containsAll(s string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(s, part) {
			return false
		}
	}
	return true
}

func TestEachReadBringsASampleOfSessions(t *testing.T) {
	t.Parallel()
	pgtest.EachVersion(t, pgtest.Options{}, func(t *testing.T, c *pgtest.Cluster) {
		ctx := t.Context()
		must(t, c.Exec(ctx, "CREATE TABLE IF NOT EXISTS queue (id int)"))
		var holder, waiter *pgx.Conn
		for _, conn := range []**pgx.Conn{&holder, &waiter} {
			is, err := c.Connect(ctx, "postgres")
			must(t, err)
			defer is.Close(context.WithoutCancel(ctx))
			*conn = is
		}
		_, err := holder.Exec(ctx, "BEGIN; LOCK TABLE queue")
		must(t, err)
		waits, stop := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() { defer close(ended); _, _ = waiter.Exec(waits, "SELECT * FROM queue") }()
		defer func() { stop(); <-ended }()

		p := start(t, quick(connectTo(t, c.MonitorDSN())))
		pgtest.Eventually(t, 15*time.Second, func() error {
			s, ok := p.Sessions().Newest()
			if !ok || s.Blocked != 1 || s.IdleInTransaction != 1 || s.Used < 3 || s.Max < 10 || s.OldestSeconds <= 0 ||
				len(s.Waits) != 1 || s.Waits[0] != (sessions.Wait{Event: "Lock:relation", Sessions: 1}) {
				return fmt.Errorf("the sample is %+v", s)
			}
			return nil
		})
		for _, labels := range [][]string{
			{`state="active"`, `wait_event_type="Lock"`, `wait_event="relation"`},
			{`state="idle in transaction"`, `wait_event_type="Client"`, `wait_event="ClientRead"`},
		} {
			pgtest.Eventually(t, 15*time.Second, func() error { // who has just fallen idle may wait for nobody yet
				if seen(t, p, "pg_reliability_session_samples_total", labels...) == 0 {
					return fmt.Errorf("none is counted of %v", labels)
				}
				return nil
			})
		}
	})
}

// A sample never makes a read fail, or late: what takes it away or slows it down is counted as the sample's.
func TestASampleSaysNothingOfTheRead(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		setup  []string
		undo   []string
		result sessions.Result
	}{
		"denied": {
			[]string{"REVOKE EXECUTE ON FUNCTION pg_stat_get_activity FROM PUBLIC, pg_monitor, pg_read_all_stats"},
			[]string{"GRANT EXECUTE ON FUNCTION pg_stat_get_activity TO PUBLIC"}, sessions.Denied,
		},
		"without pg_monitor": {[]string{"REVOKE pg_monitor FROM " + pgtest.Monitor},
			[]string{"GRANT pg_monitor TO " + pgtest.Monitor}, sessions.Denied},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := pgtest.New(t, pgtest.Options{})
			must(t, c.Exec(t.Context(), tc.setup...))
			o := quick(connectTo(t, c.MonitorDSN()))
			o.ReadTimeout = time.Second
			p := start(t, o)
			p.waitFor(t, postgres.OK)
			pgtest.Eventually(t, 15*time.Second, func() error {
				if n := seen(t, p, "pg_reliability_session_sampling_total", fmt.Sprintf(`result=%q`, tc.result)); n == 0 {
					return errors.New("no sample ended so")
				}
				return nil
			})
			p.waitAfter(t)
			if s := p.Snapshot(); s.Outages != 0 || s.Stalled != 0 {
				t.Errorf("%d outages, %s of stalls", s.Outages, s.Stalled)
			}
			must(t, c.Exec(t.Context(), tc.undo...))
		})
	}
}

// slowly is a server whose samples take long.
type slowly struct{ connector }

func (c slowly) Connect(ctx context.Context) (session, error) {
	s, err := c.connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return slowSession{s}, nil
}

type slowSession struct{ session }

func (s slowSession) QueryWith(ctx context.Context, sql string, more postgres.Statement, answered func([][]*string, error),
) ([][]*string, error) {
	more.SQL = "SELECT pg_sleep(60)"
	return s.session.QueryWith(ctx, sql, more, answered)
}

func TestASlowSampleMakesNoReadLate(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	o := quick(connectTo(t, c.MonitorDSN()))
	o.ReadTimeout, o.LoginTimeout, o.StallThreshold = 2*time.Second, 2*time.Second, 2*time.Second
	p := prepare(t, o)
	p.reader.connector = slowly{p.reader.connector}
	p.run(t)
	p.waitFor(t, postgres.OK)
	pgtest.Eventually(t, 15*time.Second, func() error {
		for _, result := range []sessions.Result{sessions.Failed, sessions.Skipped} { // and then the server is left alone
			if seen(t, p, "pg_reliability_session_sampling_total", fmt.Sprintf(`result=%q`, result)) == 0 {
				return fmt.Errorf("none has %s", result)
			}
		}
		return nil
	})
	p.waitAfter(t)
	if s := p.Snapshot(); s.Outages != 0 || s.Stalled != 0 {
		t.Errorf("%d outages, %s of stalls", s.Outages, s.Stalled)
	}
}
