package main

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// A server that was told to stop once everybody has left stops: we leave.
func TestASmartShutdownEnds(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	r := launch(t, c.MonitorDSN(), "--probe.login-interval=1s", "--probe.calm-login-interval=1s")
	pgtest.Eventually(t, 20*time.Second, func() error {
		p := r.scrape(t) // which opens the pool's
		if p["pg_up"] != 1 {
			return fmt.Errorf("pg_up is %v", p["pg_up"])
		}
		return r.health(t, "ok")
	})
	if err := c.StopWith(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}
