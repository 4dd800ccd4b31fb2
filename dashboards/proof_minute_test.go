package dashboards_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// load keeps db1 busy until the test ends. What fails while the server is away is part of the story.
func (h *house) load() {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	h.Cleanup(func() { cancel(); wg.Wait() })
	wg.Go(func() {
		for ctx.Err() == nil {
			_ = h.db1.ExecIn(ctx, "shop",
				"INSERT INTO orders (amount) SELECT g FROM generate_series(1, 50) AS g",
				"UPDATE orders SET amount = amount + 1 WHERE id % 100 = 1",
				"DELETE FROM orders WHERE id % 100 = 2",
				"SELECT * FROM orders WHERE id = 7",
				"BEGIN; UPDATE orders SET amount = 0 WHERE id = 3; ROLLBACK",
			)
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
}

// minute is what happens in the scripted minute. What the boards show as going on is left going on at its end.
func (h *house) minute() {
	h.sees("a past", `count(count_over_time(pg_up[1m]) >= 3) == 4`)
	h.atOnce(h.backups, h.failover)
	h.restarts()
	h.trouble()
	h.sees("failing archiving", `pg_reliability_archiver_failing{instance="db1"} == 1`)
	h.sees("the lag", `pg_reliability_replication_behind_bytes{instance="db2"} > 0`)
	h.sees("blocked sessions", `pg_reliability_blocked_sessions > 0`)
	h.sees("a page", `ALERTS{alertstate="firing", severity="critical"}`)
	h.sees("a ticket", `ALERTS{alertstate="firing", severity="warning"}`)
	h.sees("the error budget", `pgr:error_budget:remaining_minutes`)
}

// atOnce tells stories of different servers at the same time.
func (h *house) atOnce(stories ...func()) {
	h.Helper()
	var wg sync.WaitGroup
	for _, story := range stories {
		wg.Go(story)
	}
	wg.Wait()
	if h.Failed() {
		h.FailNow() // a story that failed only ended itself
	}
}

func (h *house) failover() {
	ctx := context.Background()
	h.tell("db3 dies, db4 takes over its address")
	h.must(h.db4.Promote(ctx))
	h.sees("the promotion", `pg_reliability_restarts_total{instance="db4", kind="promotion"} == 1`)
	h.must(h.db3.Stop())
	h.must(h.db4.Stop())
	h.db4.Port = h.db3.Port
	h.must(h.db4.Launch(ctx))
	h.sees("the failover", `pg_reliability_restarts_total{instance="db3", kind="failover"} == 1`)
	h.sees("the death", `pg_up{instance="db4"} == 0`)
}

func (h *house) restarts() {
	ctx := context.Background()
	h.tell("db1 crashes, is restarted, is away for seconds")
	h.must(h.db1.KillBackend(ctx))
	h.sees("the crash", `pg_reliability_restarts_total{instance="db1", kind="crash"} == 1`)
	h.must(h.db1.Restart(ctx))
	h.sees("the restart", `pg_reliability_restarts_total{instance="db1", kind="restart"} >= 1`)
	h.must(h.db1.Stop())
	h.sees("the outage", `pg_reliability_outage_in_progress_seconds{instance="db1"} > 2`)
	h.must(h.db1.Launch(ctx))
	h.sees("db1 again", `pg_up{instance="db1"} == 1`)
}

// trouble is what goes wrong inside a server that is up.
func (h *house) trouble() {
	ctx := context.Background()
	h.tell("a deadlock, temporary files, a vacuum, a checkpoint, archived WAL and some that is not")
	h.deadlock()
	h.must(h.db1.ExecIn(ctx, "shop", "SET work_mem = '64kB'", "SELECT count(*) FROM (SELECT g FROM generate_series(1, 200000) AS g ORDER "+
		"BY md5(g::text)) AS s",
		"VACUUM ANALYZE orders", "CHECKPOINT", "SELECT pg_switch_wal()"))
	h.sees("archived WAL", `pg_stat_archiver_archived_count{instance="db1"} > 0`)
	h.must(h.db1.Configure(map[string]string{"archive_command": "'/bin/false'"}))
	h.must(h.db1.Reload())

	h.tell("replay on db2 stops, slots nobody reads, a prepared transaction, somebody idle, somebody blocked")
	h.must(h.db2.Exec(ctx, "SELECT pg_wal_replay_pause()"))
	h.must(h.db1.ExecIn(ctx, "shop", "SELECT pg_create_physical_replication_slot('forgotten', true)",
		"SELECT pg_create_logical_replication_slot('subscriber', 'pgoutput')",
		"CREATE TABLE cart (id int)", "CREATE TABLE wishes (id int)",
		"BEGIN; INSERT INTO cart VALUES (1); INSERT INTO wishes VALUES (1); PREPARE TRANSACTION 'forgotten'",
		"INSERT INTO orders (amount) SELECT g FROM generate_series(1, 20000) AS g", "SELECT pg_switch_wal()"))
	h.session("BEGIN", "LOCK TABLE cart IN SHARE UPDATE EXCLUSIVE MODE", "SELECT 1")
	h.session("CREATE TABLE stock (id int)", "BEGIN", "LOCK TABLE stock", "SELECT pg_sleep(3600)")
	h.session("SELECT count(*) FROM stock")
	h.session("CREATE INDEX CONCURRENTLY ON wishes (id)") // it waits for the prepared transaction
	h.backingUp()
}

func (h *house) tell(what string) {
	h.Helper()
	h.Logf("%s  %s", time.Now().Format(time.TimeOnly), what)
}

// sees waits until Prometheus has an answer to a query.
func (h *house) sees(what, expr string) {
	h.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		found, err := h.prometheus.instant(expr)
		if err == nil && hasData(found) {
			return
		}
		if time.Now().After(deadline) {
			h.Fatalf("Prometheus does not see %s: %s (%v)", what, expr, err)
		}
		time.Sleep(100 * time.Millisecond) // others ask it, too
	}
}

// session runs statements in a session that stays open until the test ends; the last may take that long.
func (h *house) session(statements ...string) {
	h.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	conn, err := h.db1.Connect(ctx, "shop")
	if err != nil {
		cancel()
		h.Fatal(err)
	}
	done := make(chan struct{})
	h.Cleanup(func() { cancel(); <-done; _ = conn.Close(context.Background()) })
	last := len(statements) - 1
	for _, s := range statements[:last] {
		if _, err := conn.Exec(ctx, s, pgx.QueryExecModeSimpleProtocol); err != nil {
			h.Errorf("%s: %v", s, err)
		}
	}
	go func() {
		defer close(done)
		_, _ = conn.Exec(ctx, statements[last], pgx.QueryExecModeSimpleProtocol)
		<-ctx.Done()
	}()
}

// deadlock has two sessions lock two rows in opposite order, until the server gives one of them up.
func (h *house) deadlock() {
	h.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	h.must(h.db1.ExecIn(ctx, "shop", "CREATE TABLE pair AS SELECT g AS id FROM generate_series(1, 2) AS g"))
	results := make(chan error, 2)
	locked := make(chan struct{}, 2)
	both := make(chan struct{})
	for first := range 2 {
		go func() {
			results <- func() error {
				conn, err := h.db1.Connect(ctx, "shop")
				if err != nil {
					return err
				}
				defer conn.Close(ctx)
				take := func(id int) error {
					_, err := conn.Exec(ctx, fmt.Sprintf("SELECT id FROM pair WHERE id = %d FOR UPDATE", id+1), pgx.QueryExecModeSimpleProtocol)
					return err
				}
				if _, err := conn.Exec(ctx, "BEGIN"); err != nil {
					return err
				}
				if err := take(first); err != nil {
					return err
				}
				locked <- struct{}{}
				<-both
				return take(1 - first)
			}()
		}()
	}
	for range 2 {
		select {
		case <-locked:
		case err := <-results:
			h.Fatalf("a session of the deadlock: %v", err)
		}
	}
	close(both)
	if err1, err2 := <-results, <-results; (err1 == nil) == (err2 == nil) {
		h.Fatalf("no deadlock: %v, %v", err1, err2)
	}
}
