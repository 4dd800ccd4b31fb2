package main

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// The usual connection string of a cluster names all of its servers and says which of them is meant. The prober, the pool and the page
// are about that one.
func TestTargetSessionAttrsOfAPrimaryAndItsStandby(t *testing.T) {
	t.Parallel()
	primary := pgtest.New(t, pgtest.Options{})
	standby, err := primary.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = standby.Close() })
	for attrs, replica := range map[string]float64{
		"any": 1, "read-write": 0, "read-only": 1, "primary": 0, "standby": 1, "prefer-standby": 1,
	} {
		t.Run(attrs, func(t *testing.T) {
			t.Parallel()
			r := launch(t, fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d,127.0.0.1:%d/postgres?sslmode=disable&target_session_attrs=%s",
				pgtest.Monitor, pgtest.Password, standby.Port, primary.Port, attrs))
			pgtest.Eventually(t, patience, func() error {
				return errors.Join(r.reason(t, "ok"), r.scrape(t).is("pg_replication_is_replica", replica))
			})
		})
	}
}

// A server that ends sessions which idle, as all of ours do between two scrapes, takes nothing from a page.
func TestIdleSessionTimeoutOfTheServer(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{Settings: map[string]string{"idle_session_timeout": "500ms"}})
	r := launch(t, c.MonitorDSN())
	pgtest.Eventually(t, patience, func() error { return r.reason(t, "ok") })
	for range 4 {
		time.Sleep(time.Second) // longer than the server's patience: this is the time that is tested
		page := r.scrape(t)
		if err := errors.Join(page.is("pg_up", 1), page.is("pg_replication_is_replica", 0),
			page.is(`pg_reliability_collector_success{collector="stat_database"}`, 1)); err != nil {
			t.Error(err)
		}
	}
}
