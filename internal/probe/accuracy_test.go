package probe

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// blow is a way for a database to be away for a while. do returns when it began (from the one moment to the other: a full machine
// takes its time to send signals) and, by an outside clock, when it was over.
type blow struct {
	name string
	// silent: nothing breaks, so that only a sign of life or a read that is missed can tell.
	silent bool
	// network: it is the network that is cut, and not the server.
	network bool
	// kernel: it is done by the kernel, for those who may ask it.
	kernel bool
	do     func(t *testing.T, c *pgtest.Cluster, n *cut, d time.Duration) span
}

// span is how long a server was away: since a moment between from and gone.
type span struct{ from, gone, to time.Time }

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
		{name: "kill -9 and start", do: func(t *testing.T, c *pgtest.Cluster, _ *cut, d time.Duration) span {
			from := time.Now()
			c.KillServer()
			gone := time.Now()
			time.Sleep(time.Until(from.Add(d)))
			must(t, c.LaunchNoWait())
			return span{from, gone, back(t, c)}
		}},
		{name: "immediate restart", do: func(t *testing.T, c *pgtest.Cluster, _ *cut, _ time.Duration) span {
			from := time.Now()
			must(t, c.StopWith(syscall.SIGQUIT))
			gone := time.Now()
			must(t, c.LaunchNoWait())
			return span{from, gone, back(t, c)}
		}},
		{name: "kill -9 of one backend", do: func(t *testing.T, c *pgtest.Cluster, _ *cut, _ time.Duration) span {
			conn, err := c.Connect(t.Context(), "postgres")
			must(t, err)
			witness, err := c.Connect(t.Context(), "postgres")
			must(t, err)
			from := time.Now()
			must(t, syscall.Kill(int(conn.PgConn().PID()), syscall.SIGKILL))
			_, _ = witness.Exec(t.Context(), "SELECT pg_sleep(10)") // until the server has noticed, and throws out all others
			gone := time.Now()
			return span{from, gone, back(t, c)}
		}},
		{name: "connections cut and refused", network: true, do: func(_ *testing.T, _ *pgtest.Cluster, n *cut, d time.Duration) span {
			from := time.Now()
			n.refuse(true)
			time.Sleep(d)
			n.refuse(false)
			return span{from, from, time.Now()}
		}},
		{name: "SIGSTOP and SIGCONT", silent: true, do: func(_ *testing.T, c *pgtest.Cluster, _ *cut, d time.Duration) span {
			from := time.Now()
			c.Pause()
			gone := time.Now()
			time.Sleep(d)
			c.Resume()
			return span{from, gone, time.Now()}
		}},
		{name: "packets lost", silent: true, network: true, do: func(_ *testing.T, _ *pgtest.Cluster, n *cut, d time.Duration) span {
			from := time.Now()
			n.lose(true)
			time.Sleep(d)
			n.lose(false)
			return span{from, from, time.Now()}
		}},
		{name: "packets dropped by the kernel", silent: true, kernel: true, do: func(t *testing.T, c *pgtest.Cluster, _ *cut,
			d time.Duration,
		) span {
			from := time.Now()
			mend, err := dropPackets(t, c.Port)
			must(t, err)
			gone := time.Now()
			time.Sleep(d)
			mend()
			return span{from, gone, back(t, c)}
		}},
	}
}

// blowsHere are those that this machine allows, and that $PROBE_FAULTS, a regular expression, names.
func blowsHere(t *testing.T, c *pgtest.Cluster) []blow {
	t.Helper()
	wanted := regexp.MustCompile(os.Getenv("PROBE_FAULTS"))
	mend, err := dropPackets(t, c.Port)
	if err == nil {
		mend()
	}
	return slices.DeleteFunc(blows(), func(b blow) bool {
		if b.kernel && err != nil {
			t.Run(b.name, func(t *testing.T) { t.Skipf("not on this machine, or not with this user's rights: %v", err) })
			return true
		}
		return !wanted.MatchString(b.name)
	})
}

// row is what one outage was, and what a prober made of it.
type row struct {
	blow           blow
	interval       time.Duration
	length, unsure time.Duration
	count          uint64
	found, stalled time.Duration
}

// off is by how much the length that was found is not the outside clock's.
func (r row) off() time.Duration {
	d := r.length - r.found - r.stalled
	return max(-d, d-r.unsure, 0)
}

// Outages against an outside clock: a handful, or as many as $PROBE_OUTAGES says, of 0.2 to 20 s. Then the table is for docs/up.md.
func TestOutagesAgainstAnOutsideClock(t *testing.T) {
	total, _ := strconv.Atoi(os.Getenv("PROBE_OUTAGES"))
	longest, err := time.ParseDuration(cmp.Or(os.Getenv("PROBE_LONGEST"), "20s"))
	must(t, err)
	if total == 0 {
		longest = 900 * time.Millisecond
		t.Parallel()
	}
	c := pgtest.New(t, pgtest.Options{})
	faults := blowsHere(t, c)
	table := total > 0
	total = cmp.Or(total, len(faults))
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
		b := faults[i%len(faults)]
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
		was := b.do(t, c, n, d)
		for j, p := range probers[b.network] {
			s := p.waitAfter(t)
			rows = append(rows, row{
				blow: b, interval: intervals[j], length: was.to.Sub(was.from), unsure: was.gone.Sub(was.from), count: s.Outages - before[j].Outages,
				found: s.Downtime - before[j].Downtime, stalled: s.Stalled - before[j].Stalled,
			})
			if s.Outages > before[j].Outages {
				t.Logf("outage %d, %s at %s: begins %s after it did, ends %s after", i, b.name, intervals[j],
					s.LastOutageStart.Sub(was.from).Round(time.Millisecond), s.LastOutageEnd.Sub(was.to).Round(time.Millisecond))
			}
		}
	}
	load, _ := os.ReadFile("/proc/loadavg")
	t.Logf("the machine's load at the end: %s", load)
	for _, r := range rows {
		t.Logf("%-28s interval %-6s %8s (%s unsure): %d outages of %8s, stalled %8s", r.blow.name, r.interval, r.length.Round(time.Millisecond),
			r.unsure.Round(time.Millisecond), r.count,
			r.found.Round(time.Millisecond), r.stalled.Round(time.Millisecond))
		slack := pgtest.Patience(250 * time.Millisecond)
		switch {
		case !r.blow.silent && r.length < 200*time.Millisecond && r.count == 0:
			// Over before the next dial: a user who tries again does not feel it.
		case !r.blow.silent:
			if r.count != 1 || r.off() > slack {
				t.Errorf("%s for %s: %d outages of %s, want one of that length within %s", r.blow.name, r.length, r.count, r.found, slack)
			}
		case r.length > DefaultTimeout+DefaultPulseInterval+unheard+slack: // surely one that a sign of life or a read ran into, and timed out
			if r.count != 1 || r.off() > slack {
				t.Errorf("%s for %s: %d outages of %s, want one within %s", r.blow.name, r.length, r.count, r.found, slack)
			}
		case r.length > DefaultPulseInterval+DefaultStallThreshold+slack && r.length < DefaultTimeout:
			if r.count != 0 || r.off() > slack {
				t.Errorf("%s for %s: %d outages, stalled %s, want a stall within %s", r.blow.name, r.length, r.count, r.stalled, slack)
			}
		}
	}
	if table {
		t.Logf("for docs/up.md:\n%s", accuracy(faults, rows))
	}
}

// accuracy sums rows up as a table.
func accuracy(faults []blow, rows []row) string {
	out := "| Fault | Read interval | Outages | Found as outages | Found as stalls | Error of the length, median | 95 % | largest " +
		"|\n|---|---|---|---|---|---|---|---|\n"
	for _, b := range faults {
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
				case r.stalled > 0:
					stalls++
				default:
					continue
				}
				errs = append(errs, r.off())
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
