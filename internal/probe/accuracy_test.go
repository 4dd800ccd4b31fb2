package probe

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// blow is a way for a database to be away for a while. do returns when it began and, by an outside clock, when it was over.
type blow struct {
	name string
	// silent: nothing breaks, so that only the next read can notice.
	silent bool
	// network: it is the network that is cut, and not the server.
	network bool
	do      func(t *testing.T, c *pgtest.Cluster, n *cut, d time.Duration) (from, to time.Time)
}

func blows() []blow {
	back := func(t *testing.T, c *pgtest.Cluster) time.Time {
		t.Helper()
		for limit := time.Now().Add(pgtest.Patience(30 * time.Second)); time.Now().Before(limit); time.Sleep(2 * time.Millisecond) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			conn, err := pgx.Connect(ctx, c.MonitorDSN())
			cancel()
			if err == nil {
				_ = conn.Close(t.Context())
				return time.Now()
			}
		}
		t.Fatal("the server does not come back")
		return time.Time{}
	}
	return []blow{
		{name: "kill -9 and start", do: func(t *testing.T, c *pgtest.Cluster, _ *cut, d time.Duration) (from, to time.Time) {
			from = time.Now()
			c.KillServer()
			time.Sleep(time.Until(from.Add(d)))
			must(t, c.LaunchNoWait())
			return from, back(t, c)
		}},
		{name: "immediate restart", do: func(t *testing.T, c *pgtest.Cluster, _ *cut, _ time.Duration) (from, to time.Time) {
			from = time.Now()
			must(t, c.StopWith(syscall.SIGQUIT))
			must(t, c.LaunchNoWait())
			return from, back(t, c)
		}},
		{name: "kill -9 of one backend", do: func(t *testing.T, c *pgtest.Cluster, _ *cut, _ time.Duration) (from, to time.Time) {
			conn, err := c.Connect(t.Context(), "postgres")
			must(t, err)
			from = time.Now()
			must(t, syscall.Kill(int(conn.PgConn().PID()), syscall.SIGKILL))
			_, _ = conn.Exec(t.Context(), "SELECT pg_sleep(10)") // until the crash cuts it
			return from, back(t, c)
		}},
		{name: "connections cut and refused", network: true, do: func(_ *testing.T, _ *pgtest.Cluster, n *cut, d time.Duration) (from, to time.Time) {
			from = time.Now()
			n.refuse(true)
			time.Sleep(d)
			n.refuse(false)
			return from, time.Now()
		}},
		{name: "SIGSTOP and SIGCONT", silent: true, do: func(_ *testing.T, c *pgtest.Cluster, _ *cut, d time.Duration) (from, to time.Time) {
			from = time.Now()
			c.Pause()
			time.Sleep(d)
			c.Resume()
			return from, time.Now()
		}},
		{name: "packets lost", silent: true, network: true, do: func(_ *testing.T, _ *pgtest.Cluster, n *cut, d time.Duration) (from, to time.Time) {
			from = time.Now()
			n.lose(true)
			time.Sleep(d)
			n.lose(false)
			return from, time.Now()
		}},
	}
}

// row is what one outage was, and what a prober made of it.
type row struct {
	blow           blow
	interval       time.Duration
	length         time.Duration
	count          uint64
	found, stalled time.Duration
}

// Outages against an outside clock: a handful, or as many as $PROBE_OUTAGES says, of 0.2 to 20 s. Then the table is for docs/up.md.
func TestOutagesAgainstAnOutsideClock(t *testing.T) {
	total, _ := strconv.Atoi(os.Getenv("PROBE_OUTAGES"))
	longest := 20 * time.Second
	if total == 0 {
		total, longest = len(blows()), 900*time.Millisecond
		t.Parallel()
	}
	c := pgtest.New(t, pgtest.Options{})
	n := newCut(t, c)
	probers := map[bool][]*running{}
	var intervals []time.Duration
	for _, interval := range []time.Duration{DefaultReadInterval, 250 * time.Millisecond} {
		intervals = append(intervals, interval)
		for network, dsn := range map[bool]string{false: c.MonitorDSN(), true: n.dsn(t, c.MonitorDSN())} {
			o := Options{Connector: connectTo(t, dsn), Target: "db:5432/x", ReadInterval: interval}
			p := start(t, o)
			p.waitFor(t, postgres.OK)
			probers[network] = append(probers[network], p)
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a test's
	var rows []row
	for i := range total {
		b := blows()[i%len(blows())]
		for _, all := range probers {
			for _, p := range all {
				p.waitAfter(t)
			}
		}
		time.Sleep(time.Duration(random.Int64N(int64(min(longest, 1200*time.Millisecond))))) // at any phase of the probers' intervals
		var before []Snapshot
		for _, p := range probers[b.network] {
			before = append(before, p.Snapshot())
		}
		d := 200*time.Millisecond + time.Duration(random.Int64N(int64(longest-200*time.Millisecond)))
		from, to := b.do(t, c, n, d)
		for j, p := range probers[b.network] {
			s := p.waitAfter(t)
			rows = append(rows, row{
				blow: b, interval: intervals[j], length: to.Sub(from), count: s.Outages - before[j].Outages,
				found: s.Downtime - before[j].Downtime, stalled: s.Stalled - before[j].Stalled,
			})
		}
	}
	for _, r := range rows {
		t.Logf("%-28s interval %-6s %8s: %d outages of %8s, stalled %8s", r.blow.name, r.interval, r.length.Round(time.Millisecond), r.count,
			r.found.Round(time.Millisecond), r.stalled.Round(time.Millisecond))
		slack := pgtest.Patience(250 * time.Millisecond)
		switch {
		case !r.blow.silent && r.length < 200*time.Millisecond && r.count == 0:
			// Over before the next dial: a user who tries again does not feel it.
		case !r.blow.silent:
			if r.count != 1 || (r.found-r.length).Abs() > slack {
				t.Errorf("%s for %s: %d outages of %s, want one of that length within %s", r.blow.name, r.length, r.count, r.found, slack)
			}
		case r.length > DefaultTimeout+r.interval: // surely one that a read ran into, and timed out
			if r.count != 1 || (r.found-r.length).Abs() > r.interval+slack {
				t.Errorf("%s for %s: %d outages of %s, want one within an interval", r.blow.name, r.length, r.count, r.found)
			}
		case r.length > r.interval+DefaultStallThreshold && r.length < DefaultTimeout:
			if r.count != 0 || r.stalled < r.length-r.interval-slack || r.stalled > r.length+slack {
				t.Errorf("%s for %s: %d outages, stalled %s, want a stall within an interval", r.blow.name, r.length, r.count, r.stalled)
			}
		}
	}
	if total > len(blows()) {
		t.Logf("for docs/up.md:\n%s", accuracy(rows))
	}
}

// accuracy sums rows up as a table.
func accuracy(rows []row) string {
	out := "| Fault | Read interval | Outages | Found as outages | Found as stalls | Error of the length, median | 95 % | largest |\n|---|---|---|---|---|---|---|---|\n"
	for _, b := range blows() {
		for _, interval := range []time.Duration{DefaultReadInterval, 250 * time.Millisecond} {
			var errs []time.Duration
			all, found, stalls := 0, 0, 0
			for _, r := range rows {
				if r.blow.name != b.name || r.interval != interval {
					continue
				}
				all++
				switch {
				case r.count > 0:
					found++
					errs = append(errs, (r.found - r.length).Abs())
				case r.stalled > 0:
					stalls++
				}
			}
			slices.Sort(errs)
			at := func(q float64) string {
				if len(errs) == 0 {
					return ""
				}
				return fmt.Sprintf("%.3f s", errs[int(q*float64(len(errs)-1))].Seconds())
			}
			out += fmt.Sprintf("| %s | %s | %d | %d | %d | %s | %s | %s |\n", b.name, interval, all, found, stalls, at(0.5), at(0.95), at(1))
		}
	}
	return out
}
