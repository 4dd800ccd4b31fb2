package collector

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// meanwhile runs a statement in a session of its own that is cut at the test's end, if it lasts until then.
func meanwhile(t *testing.T, conn *pgx.Conn, run func(ctx context.Context, conn *pgx.Conn) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = run(ctx, conn)
	}()
	t.Cleanup(func() { cancel(); <-done })
}

func statement(sql string) func(context.Context, *pgx.Conn) error {
	return func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol)
		return err
	}
}

// Whatever reports its progress is seen with its phase and the share that is done, and nobody waits for what it locks.
func TestProgressOfEachCommand(t *testing.T) {
	t.Parallel()
	pgtest.EachVersion(t, pgtest.Options{}, func(t *testing.T, c *pgtest.Cluster) {
		must(t, c.Exec(t.Context(),
			"CREATE TABLE big AS SELECT generate_series(1, 200000) AS id",
			"CREATE TABLE sampled AS SELECT generate_series(1, 200000) AS id",
			"CREATE TABLE indexed AS SELECT 1 AS id",
			"CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.05); RETURN $1; END $$",
			"CREATE TABLE rewritten (id int)", "CREATE INDEX ON rewritten (slow(id))",
			"INSERT INTO rewritten VALUES (1)", "CREATE TABLE copied (id int)",
			"DROP INDEX rewritten_slow_idx", "INSERT INTO rewritten SELECT generate_series(2, 1000)",
		))
		slowly := []string{"SET vacuum_cost_delay = '100ms'", "SET vacuum_cost_limit = 1"}
		meanwhile(t, hold(t, c, "postgres", slowly...), statement("VACUUM big"))
		meanwhile(t, hold(t, c, "postgres", slowly...), statement("ANALYZE sampled"))
		hold(t, c, "postgres", "BEGIN", "INSERT INTO indexed VALUES (2)")
		meanwhile(t, connectSuper(t, c, "postgres"), statement("CREATE INDEX CONCURRENTLY ON indexed (id)"))
		meanwhile(t, connectSuper(t, c, "postgres"), statement("CREATE INDEX ON rewritten (slow(id))"))
		// A pipe's other end that says nothing more keeps the copy waiting.
		meanwhile(t, connectSuper(t, c, "postgres"), func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.PgConn().CopyFrom(ctx, endless{ctx}, "COPY copied FROM STDIN")
			return err
		})
		sender, err := pgx.ParseConfig(c.SocketDSN(pgtest.Superuser, "postgres"))
		must(t, err)
		sender.RuntimeParams["replication"] = "true"
		walsender, err := pgx.ConnectConfig(t.Context(), sender)
		must(t, err)
		t.Cleanup(func() { _ = walsender.Close(context.Background()) })
		backup := "BASE_BACKUP (LABEL 'slow', CHECKPOINT 'fast', MAX_RATE 32)"
		if c.Install.Major < 15 {
			backup = "BASE_BACKUP LABEL 'slow' FAST MAX_RATE 32"
		}
		meanwhile(t, walsender, func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.PgConn().Exec(ctx, backup).ReadAll()
			return err
		})

		running := func(operation, datname, phase string) string {
			return fmt.Sprintf(`pg_reliability_progress_running|operation=%q|datname=%q|phase=%q`, operation, datname, phase)
		}
		share := func(series string) string {
			return strings.Replace(series, "pg_reliability_progress_running", "pg_reliability_progress_done_ratio", 1)
		}
		want := map[string]bool{ // whether the share that is done is known
			running("vacuum", "postgres", "scanning heap"):                                       true,
			running("analyze", "postgres", "acquiring sample rows"):                              true,
			running("create index concurrently", "postgres", "waiting for writers before build"): true,
			running("create index", "postgres", "building index: scanning table"):                true,
			running("base backup", "", "streaming database files"):                               false, // asked for no estimate
			running("copy from", "postgres", "copying"):                                          false, // of a pipe nobody knows the end
		}
		if c.Install.Major < 14 {
			delete(want, running("copy from", "postgres", "copying"))
		}
		pgtest.Eventually(t, 20*time.Second, func() error {
			got := ask(t, c, "postgres", "progress")
			for series, known := range want {
				done, ok := got[share(series)]
				if got[series] != 1 || ok != known || done < 0 || done > 1 {
					return fmt.Errorf("%s: %v, done %v (known %v); got %v", series, got[series], done, ok, got)
				}
			}
			return nil
		})
		if len(ask(t, c, "postgres", "stat_progress_vacuum")) != 0 {
			t.Error("a vacuum that has just begun has series of its own")
		}
		pgtest.Eventually(t, 20*time.Second, func() error {
			got := ask(t, c, "postgres", "stat_progress_vacuum")
			if got[`pg_stat_progress_vacuum_phase|datname="postgres"|relname="public.big"|phase="scanning heap"`] != 1 ||
				got[`pg_stat_progress_vacuum_heap_blks|datname="postgres"|relname="public.big"`] < 800 {
				return fmt.Errorf("got %v of %v", got, ask(t, c, "postgres", "progress"))
			}
			return nil
		})
		must(t, c.Exec(t.Context(), "REVOKE pg_monitor FROM "+pgtest.Monitor))
		if got := ask(t, c, "postgres", "progress", "stat_progress_vacuum", "autovacuum"); len(got) != 0 {
			t.Errorf("without pg_monitor: %v", got)
		}
	})
}

// endless is an input that never comes.
type endless struct{ ctx context.Context }

func (e endless) Read([]byte) (int, error) {
	<-e.ctx.Done()
	return 0, e.ctx.Err()
}

// A rewrite holds its table under the strongest lock; it is seen all the same, under the name of its command.
func TestProgressOfRewrites(t *testing.T) {
	t.Parallel()
	pgtest.EachVersion(t, pgtest.Options{}, func(t *testing.T, c *pgtest.Cluster) {
		must(t, c.Exec(t.Context(),
			"CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.1); RETURN $1; END $$",
			"CREATE TABLE rewritten (id int PRIMARY KEY)", "CREATE INDEX ON rewritten (slow(id))",
			"INSERT INTO rewritten SELECT generate_series(1, 5)"))
		commands := map[string]string{"VACUUM FULL rewritten": "vacuum full", "CLUSTER rewritten USING rewritten_pkey": "cluster"}
		if c.Install.Major >= 19 {
			commands["REPACK rewritten"] = "repack"
		}
		for command, operation := range commands {
			worker, done := connectSuper(t, c, "postgres"), make(chan error, 1)
			go func() { done <- statement(command)(context.Background(), worker) }()
			pgtest.Eventually(t, 20*time.Second, func() error {
				got := ask(t, c, "postgres", "progress")
				if got[fmt.Sprintf(`pg_reliability_progress_running|operation=%q|datname="postgres"|phase="rebuilding index"`, operation)] != 1 {
					return fmt.Errorf("%s: got %v", command, got)
				}
				return nil
			})
			must(t, <-done)
		}
	})
}
