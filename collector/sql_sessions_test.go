package collector

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// However many applications there are, and whatever they call themselves, 20 have series and the rest is summed up.
func TestSessionsByWhoeverHasMost(t *testing.T) {
	t.Parallel()
	pgtest.EachVersion(t, pgtest.Options{}, func(t *testing.T, c *pgtest.Cluster) {
		ctx := t.Context()
		must(t, c.Exec(ctx, "CREATE ROLE app LOGIN"))
		open := func(role, application string) *pgx.Conn {
			cfg, err := pgx.ParseConfig(c.SocketDSN(role, "postgres"))
			must(t, err)
			cfg.RuntimeParams["application_name"] = application
			conn, err := pgx.ConnectConfig(ctx, cfg)
			must(t, err)
			t.Cleanup(func() { _ = conn.Close(ctx) })
			return conn
		}
		for i := range 24 {
			open("app", fmt.Sprintf("many %02d", i))
		}
		for range 2 {
			open("app", "twice \"quoted\"")
		}
		waiting := open(pgtest.Superuser, "twice \"quoted\"")
		done := make(chan struct{})
		go func() { defer close(done); _, _ = waiting.Exec(ctx, "SELECT pg_sleep(600)") }()
		t.Cleanup(func() { <-done })
		t.Cleanup(func() {
			_ = c.Exec(ctx, "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)'")
		})

		pgtest.Eventually(t, 20*time.Second, func() error {
			got := ask(t, c, "postgres", "sessions", "wait_events", "session_ages")
			sum, names := 0.0, 0
			for series, v := range got {
				if strings.HasPrefix(series, "pg_reliability_application_sessions|") {
					sum, names = sum+v, names+1
				}
			}
			for series, want := range map[string]float64{
				`pg_reliability_user_sessions|usename="app"`:                                         26,
				`pg_reliability_user_sessions_active|usename="app"`:                                  0,
				`pg_reliability_user_sessions_active|usename="postgres"`:                             1,
				`pg_reliability_application_sessions|application_name="twice \"quoted\""`:            3,
				`pg_reliability_application_sessions|application_name="(other)"`:                     5,
				`pg_reliability_client_sessions|client_addr="local"`:                                 27,
				`pg_reliability_client_sessions_active|client_addr="local"`:                          1,
				`pg_reliability_wait_event_processes|wait_event_type="Timeout"|wait_event="PgSleep"`: 1,
				`pg_reliability_session_ages|age="1m"`:                                               27,
				`pg_reliability_session_ages|age="older"`:                                            0,
			} {
				if v, ok := got[series]; !ok || v != want {
					return fmt.Errorf("%s = %v (there: %v), want %v; got %v", series, v, ok, want, got)
				}
			}
			if names != 21 || sum != 27 {
				return fmt.Errorf("%d names of applications with %v sessions", names, sum)
			}
			if age := got["pg_reliability_session_oldest_seconds"]; age <= 0 || age > 300 {
				return fmt.Errorf("the oldest connection is %v s old", age)
			}
			return nil
		})
	})
}
