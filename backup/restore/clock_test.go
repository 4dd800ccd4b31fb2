package restore_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/restore"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// outsideClock connects to a database each 20 ms and notes the longest that a login took.
type outsideClock struct {
	mu      sync.Mutex
	longest time.Duration
	stop    context.CancelFunc
	done    chan struct{}
}

func startClock(t *testing.T, dsn string) *outsideClock {
	ctx, cancel := context.WithCancel(context.Background())
	c := &outsideClock{stop: cancel, done: make(chan struct{})}
	var logins sync.WaitGroup
	go func() {
		defer close(c.done)
		for tick := time.NewTicker(20 * time.Millisecond); ctx.Err() == nil; <-tick.C {
			logins.Add(1)
			go func() {
				defer logins.Done()
				began := time.Now()
				conn, err := pgx.Connect(ctx, dsn)
				if err == nil {
					_ = conn.Close(context.Background())
				}
				c.mu.Lock()
				defer c.mu.Unlock()
				if ctx.Err() == nil {
					c.longest = max(c.longest, time.Since(began))
				}
			}()
			if ctx.Err() != nil {
				break
			}
		}
		logins.Wait()
	}()
	t.Cleanup(func() { cancel(); <-c.done })
	return c
}

func (c *outsideClock) read() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.longest
}

// New connections, to whatever database, wait for the swap: never for longer than the drain and a second, whatever is in
// the way and however often the swap is tried.
func TestNobodyWaitsForTheSwapLongerThanTheDrain(t *testing.T) {
	const drain = time.Second
	for name, tc := range map[string]struct {
		// block keeps the swap from succeeding, until the function it returns is called.
		block func(t *testing.T, b *bench) func()
		fails failure.Reason
	}{
		"nothing in the way":                {nil, ""},
		"a transaction in the old database": {func(t *testing.T, b *bench) func() { return holdOpen(t, b, "shop", "SELECT 1") }, ""},
		"a catalogue that stays locked": {func(t *testing.T, b *bench) func() {
			return holdOpen(t, b, "postgres", "LOCK TABLE pg_database IN ROW EXCLUSIVE MODE")
		}, ""}, // then new connections are not made to wait
		"a database that stays locked": {func(t *testing.T, b *bench) func() {
			return holdOpen(t, b, "postgres", "COMMENT ON DATABASE shop IS 'under way'")
		}, failure.Restore},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			backup := b.run(t)
			if tc.block != nil {
				defer tc.block(t, b)()
			}
			clock := startClock(t, b.pg.DSN(pgtest.Superuser, "template1"))
			r := b.restorer(t, b.pg)
			r.Drain = drain
			_, err := r.Restore(t.Context(), restore.Options{Backup: backup, Database: "shop"})
			longest := clock.read()
			t.Logf("the longest login took %s", longest)
			if longest > drain+time.Second {
				t.Errorf("a login took %s, want at most the drain of %s and a second", longest, drain)
			}
			if failure.Of(err) != tc.fails {
				t.Errorf("restore: %v, want %q", err, tc.fails)
			}
			if tc.fails != "" && !strings.Contains(err.Error(), "pid ") {
				t.Errorf("%v does not name who is in the way", err)
			}
		})
	}
}

// holdOpen runs a statement in a transaction that stays open.
func holdOpen(t *testing.T, b *bench, database, sql string) (end func()) {
	t.Helper()
	conn, err := b.pg.Connect(context.Background(), database)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "BEGIN; "+sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	return func() { _ = conn.Close(context.Background()) }
}
