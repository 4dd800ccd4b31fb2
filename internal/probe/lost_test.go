package probe

import (
	"syscall"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// A session that was cut, and a new one that a busy server was long to give, were neither an outage nor a stall while the server turned
// nobody down.
func TestALoginThatIsHeldAfterACut(t *testing.T) {
	t.Parallel()
	const held = 1500 * time.Millisecond
	for name, restarts := range map[string]bool{"of a server that was restarted": true, "of a server that runs on": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := pgtest.New(t, pgtest.Options{})
			network := newCut(t, c)
			o := quick(connectTo(t, network.dsn(t, c.MonitorDSN())))
			o.ReadTimeout, o.LoginTimeout = time.Minute, time.Minute
			p := start(t, o)
			before := p.waitFor(t, postgres.OK)

			from := time.Now()
			network.hold(true)
			if restarts {
				must(t, c.StopWith(syscall.SIGQUIT)) // at once, whoever has not logged in yet
				must(t, c.Launch(t.Context()))
			}
			time.Sleep(held - time.Since(from))
			network.hold(false)
			after := p.waitAfter(t)
			most := time.Since(from)

			lasted := after.Downtime - before.Downtime
			if !restarts {
				lasted = after.Stalled - before.Stalled
			}
			if lasted < held-300*time.Millisecond || lasted > most {
				t.Errorf("it lasted %s, want about %s and no more than %s", lasted, held, most)
			}
			if outages := after.Outages - before.Outages; outages == 1 != restarts {
				t.Errorf("%d outages: %+v", outages, after)
			}
		})
	}
}
