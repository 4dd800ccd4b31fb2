package postgres_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// A limit of the role that is shorter than the way from the login to the first statement ended each session before it could be lifted.
func TestLimitsThatEndASessionBeforeItsFirstStatement(t *testing.T) {
	t.Parallel()
	const (
		idle        = "ALTER ROLE " + pgtest.Monitor + " SET idle_session_timeout = '1ms'"
		transaction = "ALTER ROLE " + pgtest.Monitor + " SET transaction_timeout = '1ms'"
	)
	pgtest.EachVersion(t, pgtest.Options{}, func(t *testing.T, c *pgtest.Cluster) {
		var limits []string
		if c.Install.Major >= 14 {
			limits = append(limits, idle)
		}
		if c.Install.Major >= 17 {
			limits = append(limits, transaction)
		}
		if err := c.Exec(t.Context(), limits...); err != nil {
			t.Fatal(err)
		}
		proxy := pgtest.NewProxy(t, c)
		proxy.Delay(10 * time.Millisecond)
		for name, dsn := range map[string]string{
			"near": c.MonitorDSN(), "far": proxy.DSN(c.MonitorDSN()), "socket": c.SocketDSN(pgtest.Monitor, "postgres"),
		} {
			conn := connector(t, dsn)
			var all sync.WaitGroup
			for range 4 { // the prober and the pool begin together
				all.Go(func() {
					if err := answers(t, conn); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				})
			}
			all.Wait()
		}
	})
}

func answers(t *testing.T, c *postgres.Connector) error {
	t.Helper()
	s, err := c.Connect(t.Context())
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer s.Close()
	if _, err := s.Query(t.Context(), "SELECT pg_sleep(0.02)"); err != nil {
		return fmt.Errorf("query: %w", err)
	}
	return nil
}
