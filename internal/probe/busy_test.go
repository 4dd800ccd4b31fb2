package probe

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// crowd keeps the prober's goroutine from its work, 300 ms at a time, as a machine that is full does.
func crowd(p *Prober, d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		p.loop.post(func() { time.Sleep(300 * time.Millisecond) })
	}
}

// The login of a fleet's target took more than its 2 s on a full machine; the driver's own limit of 5 s does not know why either.
func TestALoginThatAFullMachineSlowedIsNoOutage(t *testing.T) {
	for name, tc := range map[string]struct {
		login   func() (time.Duration, error)
		busy    time.Duration
		outages uint64
	}{
		"slow on a full machine": {func() (time.Duration, error) { return 7 * time.Second, nil }, 12 * time.Second, 0},
		"cut by the driver on a full machine": {func() (time.Duration, error) {
			return 5 * time.Second, &postgres.Failure{Reason: postgres.Timeout, Err: context.DeadlineExceeded}
		}, 9 * time.Second, 0},
		"slow on a quiet machine":   {func() (time.Duration, error) { return 4 * time.Second, nil }, 0, 1},
		"without end on a full one": {frozen, 60 * time.Second, 1},
	} {
		t.Run(name, func(t *testing.T) {
			played(t, func(t *testing.T, s *script, p *Prober) {
				s.until(9 * time.Second)
				first := true
				s.set(func() (time.Duration, error) {
					if first || name == "without end on a full one" {
						first = false
						return tc.login()
					}
					return fine()
				}, fine)
				crowd(p, tc.busy)
				s.until(25*time.Second + tc.busy)
				if snap := p.Snapshot(); snap.Outages != tc.outages {
					t.Errorf("%d outages, want %d: %+v", snap.Outages, tc.outages, snap)
				}
			})
		})
	}
}

// What the exporter's own end cuts was counted as an outage now and then, and kept.
func TestTheExportersEndIsNoOutage(t *testing.T) {
	for range 50 { // which of two events comes first is left to chance
		synctest.Test(t, func(t *testing.T) {
			s := &script{login: fine, query: fine, thawed: make(chan struct{}), began: time.Now()}
			p, err := newProber(Options{Target: "db:5432/x", Logger: discard()}, s, nil)
			must(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { defer close(done); p.Run(ctx) }()
			s.until(9 * time.Second)
			s.set(frozen, fine)
			s.until(11 * time.Second)
			go p.loop.post(func() { time.Sleep(100 * time.Millisecond) }) // both are there when the prober looks
			synctest.Wait()
			cancel()
			<-done
			if snap := p.Snapshot(); snap.Outages != 0 {
				t.Fatalf("%d outages: %s", snap.Outages, snap.Reason)
			}
		})
	}
}
