package watchdog

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// watcher asks a server all that the watchdog and the prober ask, all the time, and keeps how long each answer took.
type watcher struct {
	mu      sync.Mutex
	longest map[string]time.Duration
	last    time.Time     // when there was an answer of any kind
	silence time.Duration // the longest time between two of them
}

// answered takes an answer, of a question that was asked at a moment.
func (w *watcher) answered(kind string, asked time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	w.longest[kind] = max(w.longest[kind], now.Sub(asked))
	w.silence = max(w.silence, now.Sub(w.last))
	w.last = now
}

// during asks while something is done to the server.
func (w *watcher) during(t *testing.T, pg *pgtest.Cluster, do func()) {
	t.Helper()
	connector, err := postgres.NewConnector(postgres.ConnectorOptions{DSN: pg.MonitorDSN()})
	if err != nil {
		t.Fatal(err)
	}
	w.longest, w.last = map[string]time.Duration{}, time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	ask := func(kind string, every time.Duration, question func(ctx context.Context) bool) {
		asking.Go(func() {
			for ctx.Err() == nil {
				asked := time.Now()
				asking.Go(func() {
					if question(ctx) {
						w.answered(kind, asked)
					}
				})
				time.Sleep(every)
			}
		})
	}
	ask("knock", 250*time.Millisecond, func(ctx context.Context) bool {
		told := connector.Knock(ctx, func() {})
		return told == postgres.Answered || told == postgres.TurnedAway
	})
	ask("login", time.Second, func(ctx context.Context) bool {
		conn, err := pgx.Connect(ctx, pg.MonitorDSN())
		if err == nil {
			_ = conn.Close(ctx)
		}
		return ctx.Err() == nil // also an error is an answer
	})
	ask("read", time.Second, func(ctx context.Context) bool { // of a session of its own: one after another would hide the slow ones
		conn, err := pgx.Connect(ctx, pg.MonitorDSN())
		if err != nil {
			return ctx.Err() == nil
		}
		defer conn.Close(ctx)
		_, err = conn.Exec(ctx, "SELECT 1", pgx.QueryExecModeSimpleProtocol)
		return err == nil
	})
	do()
	w.answered("end", time.Now())
	cancel()
	asking.Wait()
}

// TestLoadedServersAnswer is where DefaultAfter comes from: how long servers that are well, and have more to do than their machine can,
// leave all questions without an answer. It must be less than half of the time after which the watchdog acts.
func TestLoadedServersAnswer(t *testing.T) {
	if os.Getenv("PG_RELIABILITY_LONG") == "" {
		t.Skip("takes minutes, and two gigabytes. HINT: Set PG_RELIABILITY_LONG=1")
	}
	pg := pgtest.New(t, pgtest.Options{Settings: map[string]string{"fsync": "on", "max_wal_size": "4GB", "checkpoint_timeout": "1h",
		"max_connections": "300", "max_locks_per_transaction": "1000", "shared_buffers": "256MB"}})
	run := func(statements ...string) func() {
		return func() {
			if err := pg.Exec(t.Context(), statements...); err != nil {
				t.Error(err)
			}
		}
	}
	// clients do something at once, for a time.
	clients := func(n int, d time.Duration, each func(ctx context.Context, i int)) {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() {
				for ctx.Err() == nil {
					each(ctx, i)
				}
			})
		}
		all.Wait()
	}
	version, err := pg.Query(t.Context(), "postgres", "SELECT current_setting('server_version_num')::int / 10000")
	if err != nil {
		t.Fatal(err)
	}
	strategy := ""
	if major, _ := strconv.Atoi(version); major >= 15 {
		strategy = " STRATEGY file_copy"
	}
	wide := "INSERT INTO load SELECT i, repeat(md5(i::text), 30) FROM generate_series(1, %d) i"
	run("CREATE TABLE load (id int, filler text)", fmt.Sprintf(wide, 100000), "CREATE INDEX ON load (id)", "ANALYZE load")()
	var many strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&many, "CREATE TABLE many_%d (id int PRIMARY KEY);", i)
	}
	for _, load := range []struct {
		name string
		do   func()
	}{
		{"nothing", func() { time.Sleep(5 * time.Second) }},
		{"100 clients that compute and sort", func() {
			clients(100, 20*time.Second, func(ctx context.Context, i int) {
				if conn, err := pg.Connect(ctx, "postgres"); err == nil {
					for ctx.Err() == nil {
						_, _ = conn.Exec(ctx, "SELECT count(*) FROM (SELECT * FROM load WHERE id > $1 ORDER BY md5(filler)) x", 90000)
					}
					_ = conn.Close(context.WithoutCancel(ctx))
				}
			})
		}},
		{"100 clients that write", func() {
			clients(100, 20*time.Second, func(ctx context.Context, i int) {
				if conn, err := pg.Connect(ctx, "postgres"); err == nil {
					for ctx.Err() == nil {
						_, _ = conn.Exec(ctx, "UPDATE load SET filler = md5(random()::text) WHERE id = (random() * 100000)::int")
					}
					_ = conn.Close(context.WithoutCancel(ctx))
				}
			})
		}},
		{"150 clients that log in, ask and leave", func() {
			clients(150, 20*time.Second, func(ctx context.Context, i int) {
				if conn, err := pg.Connect(ctx, "postgres"); err == nil {
					_, _ = conn.Exec(ctx, "SELECT count(*) FROM pg_class")
					_ = conn.Close(context.WithoutCancel(ctx))
				}
			})
		}},
		{"700 MB of WAL, and its checkpoint", func() {
			run("CREATE DATABASE big")()
			if err := pg.ExecIn(t.Context(), "big", "CREATE TABLE load (id int, filler text)", fmt.Sprintf(wide, 600000), "CHECKPOINT"); err != nil {
				t.Error(err)
			}
		}},
		{"its database of 700 MB copied and dropped", run("CREATE DATABASE copy TEMPLATE big"+strategy, "DROP DATABASE copy",
			"DROP DATABASE big")},
		{"5,000 tables made in one transaction", func() {
			conn, err := pg.Connect(t.Context(), "postgres")
			if err == nil {
				_, err = conn.Exec(t.Context(), many.String())
				conn.Close(t.Context())
			}
			if err != nil {
				t.Error(err)
			}
		}},
		{"5,000 tables dropped in one transaction", run("DO $$ BEGIN FOR i IN 0..4999 LOOP EXECUTE format('DROP TABLE many_%s', i); " +
			"END LOOP; END $$")},
		{"crash recovery of a gigabyte of WAL", func() {
			run("CHECKPOINT", fmt.Sprintf(wide, 800000))()
			pg.KillServer()
			if err := pg.Launch(t.Context()); err != nil {
				t.Error(err)
			}
		}},
		{"an orderly restart with as much to write", func() {
			run(fmt.Sprintf(wide, 300000))()
			if err := pg.Restart(t.Context()); err != nil {
				t.Error(err)
			}
		}},
	} {
		w := &watcher{}
		began := time.Now()
		w.during(t, pg, load.do)
		ms := func(d time.Duration) string { return d.Round(time.Millisecond).String() }
		t.Logf("| %s | %s | %s | %s | %s | %s |", load.name, time.Since(began).Round(time.Second), ms(w.longest["knock"]), ms(w.longest["login"]),
			ms(w.longest["read"]), ms(w.silence))
		if w.silence > DefaultAfter/2 {
			t.Errorf("%s: no answer of any kind for %s", load.name, w.silence)
		}
	}
}
