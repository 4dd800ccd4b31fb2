package probe

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

const (
	skewMetric        = "pg_reliability_clock_skew_seconds"
	uncertaintyMetric = "pg_reliability_clock_skew_uncertainty_seconds"
)

func TestTheQuickestSampleOfAMinuteTellsTheSkew(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	for name, tc := range map[string]struct {
		samples [][2]int // second, milliseconds of the round trip
		best    []int    // after each, the second of the best one
		kept    int
	}{
		"one":                            {[][2]int{{0, 5}}, []int{0}, 1},
		"a quicker one":                  {[][2]int{{0, 5}, {1, 4}}, []int{0, 1}, 1},
		"slow ones":                      {[][2]int{{0, 5}, {1, 50}, {2, 2000}, {3, 6}}, []int{0, 0, 0, 0}, 2},
		"as quick, and newer":            {[][2]int{{0, 5}, {1, 5}}, []int{0, 1}, 1},
		"the best is a minute old":       {[][2]int{{0, 5}, {30, 7}, {59, 9}, {60, 8}, {90, 100}}, []int{0, 0, 0, 30, 60}, 2},
		"one an hour is the newest each": {[][2]int{{0, 5}, {3600, 500}}, []int{0, 3600}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var s skews
			var best []int
			for _, x := range tc.samples {
				s = s.add(Skew{At: start.Add(time.Duration(x[0]) * time.Second), Uncertainty: time.Duration(x[1]) * time.Millisecond / 2})
				b := s.best()
				best = append(best, int(b.At.Sub(start)/time.Second))
			}
			if !slices.Equal(best, tc.best) || len(s) != tc.kept {
				t.Errorf("best at %v, %d kept; want %v, %d", best, len(s), tc.best, tc.kept)
			}
		})
	}
}

func TestAClockThatIsSetIsBelievedAtOnce(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	var s skews
	for i, tc := range []struct{ offset, uncertainty, best time.Duration }{
		{2 * time.Hour, time.Millisecond, 2 * time.Hour},
		{2*time.Hour + 40*time.Millisecond, 50 * time.Millisecond, 2 * time.Hour}, // slow, and the same clock
		{-2 * time.Hour, 50 * time.Millisecond, -2 * time.Hour},
		{-2 * time.Hour, 60 * time.Millisecond, -2 * time.Hour},
		{0, time.Second, 0},
	} {
		s = s.add(Skew{At: at.Add(time.Duration(i) * time.Second), Offset: tc.offset, Uncertainty: tc.uncertainty})
		if got := s.best().Offset; got != tc.best {
			t.Errorf("after sample %d the skew is %s, want %s", i, got, tc.best)
		}
	}
}

// No real server's clock can be set without setting ours, so this one is a script.
func TestTheSkewOfAServersClock(t *testing.T) {
	played(t, func(t *testing.T, s *script, p *Prober) {
		near := func(what string, want, within time.Duration) {
			t.Helper()
			got := samples(t, p)
			skew, ok := got[skewMetric]
			if off := math.Abs(skew - want.Seconds()); !ok || off > within.Seconds() || off > got[uncertaintyMetric]+1e-6 {
				t.Errorf("%s: skew %v (there: %v), uncertainty %v; want %v", what, skew, ok, got[uncertaintyMetric], want)
			}
		}
		s.until(3 * time.Second)
		assertSamples(t, p, nil, "pg_reliability_clock_") // it does not tell its time
		s.mu.Lock()
		s.ahead = 7 * time.Second
		s.mu.Unlock()
		s.until(10 * time.Second)
		near("ahead", 7*time.Second, time.Millisecond)
		s.set(fine, func() (time.Duration, error) { return 900 * time.Millisecond, nil })
		s.until(40 * time.Second)
		near("slow", 7*time.Second, time.Millisecond) // by the quick ones before
		s.until(80 * time.Second)
		near("slow for long", 7*time.Second, 450*time.Millisecond+time.Millisecond)
		if u := samples(t, p)[uncertaintyMetric]; math.Round(u*1000) != 450 {
			t.Errorf("uncertainty %v of a round trip of 900 ms", u)
		}
		s.set(fine, fine)
		s.mu.Lock()
		s.ahead = -2 * time.Hour
		s.mu.Unlock()
		s.until(200 * time.Second)
		near("behind", -2*time.Hour, time.Millisecond)
		s.set(frozen, frozen)
		s.until(210 * time.Second)
		assertSamples(t, p, map[string]float64{"pg_up": 0}, "pg_reliability_clock_") // nobody knows
	})
}

func TestAnotherServersClockIsForgotten(t *testing.T) {
	s := newState()
	at := time.Unix(1_700_000_000, 0)
	read := func(system string, skew, uncertainty time.Duration) time.Duration {
		at = at.Add(time.Second)
		s.observe(Outcome{
			Kind: Read, Reason: postgres.OK, Started: at, Ended: at, Server: Server{SystemIdentifier: system, ReplayLag: UnknownLag},
			Skew: &Skew{At: at, Offset: skew, Uncertainty: uncertainty},
		})
		return s.skews.best().Offset
	}
	for _, step := range []struct {
		system          string
		skew, slow, was time.Duration
	}{{"1", time.Hour, 1, time.Hour}, {"1", time.Hour + drift, 2, time.Hour}, {"2", time.Second, 3, time.Second}} {
		if got := read(step.system, step.skew, step.slow); got != step.was {
			t.Errorf("server %s: %v, want %v", step.system, got, step.was)
		}
	}
}

// The server of these tests has our clock.
func TestTheSkewOfARealServer(t *testing.T) {
	t.Parallel()
	pgtest.EachVersion(t, pgtest.Options{}, func(t *testing.T, c *pgtest.Cluster) {
		proxy := pgtest.NewProxy(t, c)
		o := quick(connectTo(t, proxy.DSN(c.MonitorDSN())))
		o.ReadTimeout = 10 * time.Second
		p := start(t, o)
		p.waitFor(t, postgres.OK)
		within := func() error {
			got := samples(t, p)
			skew, ok := got[skewMetric]
			u := got[uncertaintyMetric]
			if !ok || u <= 0 || u > 0.5 || math.Abs(skew) > u+0.001 {
				return fmt.Errorf("skew %v (there: %v), uncertainty %v", skew, ok, u)
			}
			return nil
		}
		pgtest.Eventually(t, 10*time.Second, within)
		quickest := samples(t, p)[uncertaintyMetric]
		proxy.Delay(200 * time.Millisecond)
		p.wait(t, "slow", func(s Snapshot) bool { return s.Probes[Read].Latency > 200*time.Millisecond })
		must(t, within())
		if u := samples(t, p)[uncertaintyMetric]; u > quickest {
			t.Errorf("uncertainty %v after slow probes, %v before", u, quickest)
		}
	})
}
