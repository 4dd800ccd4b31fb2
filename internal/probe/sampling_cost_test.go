package probe

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/sessions"
)

// reads are what a prober's reads took, and the CPU that the server's process spent for them.
type reads struct {
	took  []time.Duration
	spent time.Duration
}

// TestCostOfSamples measures what a sample of sessions adds to a read: to its median, and to the CPU of the server's process. Reads with
// and without take turns, as the machine has other things to do. PG_RELIABILITY_LONG=1 go test ./internal/probe -run CostOfSamples -v.
func TestCostOfSamples(t *testing.T) {
	if os.Getenv("PG_RELIABILITY_LONG") == "" {
		t.Skip("a measurement of two minutes; PG_RELIABILITY_LONG=1 asks for it")
	}
	pg := pgtest.New(t, pgtest.Options{Settings: map[string]string{"max_connections": "250"}})
	for _, count := range []int{10, 200} {
		for range count {
			conn, err := pg.Connect(t.Context(), "postgres")
			must(t, err)
			t.Cleanup(func() { conn.Close(t.Context()) }) //nolint:usetesting // the server ends them anyway
		}
		o := quick(connectTo(t, pg.MonitorDSN()))
		o.ReadInterval, o.ReadTimeout, o.LoginInterval, o.CalmLoginInterval = 100*time.Millisecond, 2*time.Second, time.Hour, time.Hour
		p := prepare(t, o)
		var mu sync.Mutex
		var now *reads
		p.OnOutcome(func(o Outcome, _ Snapshot) {
			mu.Lock()
			defer mu.Unlock()
			if now != nil && o.Kind == Read && o.Reason == postgres.OK {
				now.took = append(now.took, o.Ended.Sub(o.Started))
			}
		})
		p.run(t)
		pgtest.Eventually(t, 20*time.Second, func() error {
			if s, ok := p.Sessions().Newest(); !ok || s.Used < count {
				return fmt.Errorf("the sample is %+v", s)
			}
			return nil
		})
		pid, err := pg.Query(t.Context(), "postgres", "SELECT pid FROM pg_stat_activity WHERE usename = '"+pgtest.Monitor+
			"' ORDER BY backend_start LIMIT 1")
		must(t, err)
		with, without := &reads{}, &reads{}
		for range 6 {
			for _, r := range []*reads{without, with} {
				var refused error
				if r == without { // as for a role that may see nothing: none is asked for in the next minute
					refused = &pgconn.PgError{Code: "42501"}
				}
				p.Sessions().Take(time.Now().Add(-time.Minute), 0, nil, nil)
				if refused != nil {
					p.Sessions().Take(time.Now(), 0, nil, refused)
				}
				before := cpuOf(t, pid)
				mu.Lock()
				now = r
				mu.Unlock()
				time.Sleep(8 * time.Second) // the time is what is measured
				mu.Lock()
				now = nil
				mu.Unlock()
				r.spent += cpuOf(t, pid) - before
			}
		}
		slices.Sort(with.took)
		slices.Sort(without.took)
		m1, m0 := with.took[len(with.took)/2], without.took[len(without.took)/2]
		each1, each0 := with.spent/time.Duration(len(with.took)), without.spent/time.Duration(len(without.took))
		t.Logf("%d sessions: the median of %d reads is %s with samples and %s without; CPU of the server's process for each %s and %s, so a "+
			"minute of samples costs it %s", count, len(with.took), m1, m0, each1, each0, 60*(each1-each0))
		if limit := pgtest.Patience(300 * time.Microsecond); m1-m0 > limit {
			t.Errorf("%d sessions: a sample adds %s to a read, more than %s", count, m1-m0, limit)
		}
	}
	t.Logf("memory of a full history: %d bytes", memoryOfSamples())
}

// cpuOf a process so far, in the scheduler's own account.
func cpuOf(t *testing.T, pid string) time.Duration {
	t.Helper()
	data, err := os.ReadFile("/proc/" + pid + "/schedstat")
	must(t, err)
	n, err := strconv.ParseInt(strings.Fields(string(data))[0], 10, 64)
	must(t, err)
	return time.Duration(n)
}

// memoryOfSamples is what stays in memory of five minutes of samples, each of as many groups as there may be.
func memoryOfSamples() uint64 {
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	s := sessions.NewSampler()
	value := func(text string) *string { return &text }
	at := time.Now()
	for n := range 300 {
		var rows [][]*string
		for i := range sessions.MaxRows {
			rows = append(rows, []*string{value("active"), value("IO"), value(fmt.Sprint("DataFileRead", n%3, i)), value("2"), value("2"),
				value("1"), value("100")})
		}
		s.Take(at.Add(time.Duration(n)*time.Second), 0, rows, nil)
	}
	after := heap()
	runtime.KeepAlive(s)
	return after - min(before, after)
}
