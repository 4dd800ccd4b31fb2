package restore_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/restore"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

func query(t *testing.T, pg *pgtest.Cluster, database, sql string) string {
	t.Helper()
	got, err := pg.Query(context.Background(), database, sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return got
}

func TestRestoreSwapsUnderALiveClientWithOneReconnect(t *testing.T) {
	b := newBench(t)
	backup := b.run(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := b.pg.ExecIn(ctx, "shop", "CREATE TABLE beat (n int)", "DELETE FROM log"); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var reconnects, failures, written int
	var last string
	done := make(chan struct{})
	go func() { // an application: inserts, and reconnects once it is thrown out
		defer close(done)
		var conn *pgx.Conn
		for ctx.Err() == nil {
			if conn == nil {
				c, err := pgx.Connect(ctx, strings.Replace(b.pg.DSN("app", "shop"), pgtest.Password, "app's", 1))
				mu.Lock()
				if err != nil {
					failures++
					last = err.Error()
				} else {
					reconnects++
				}
				mu.Unlock()
				conn = c
				if err != nil {
					conn = nil
					continue
				}
			}
			_, err := conn.Exec(ctx, "INSERT INTO customer (name) VALUES (gen_random_uuid()::text)")
			mu.Lock()
			if err != nil {
				last = err.Error()
				conn = nil
			} else {
				written++
			}
			mu.Unlock()
		}
	}()
	pgtest.Eventually(t, 10*time.Second, func() error {
		mu.Lock()
		defer mu.Unlock()
		if written < 10 {
			return fmt.Errorf("%d rows written, last error %s", written, last)
		}
		return nil
	})
	rep, err := b.restorer(t, b.pg).Restore(ctx, restore.Options{Backup: backup, Database: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	atSwap := written
	mu.Unlock()
	pgtest.Eventually(t, 10*time.Second, func() error {
		mu.Lock()
		defer mu.Unlock()
		if written < atSwap+10 {
			return fmt.Errorf("%d rows written since the swap, last error %s", written-atSwap, last)
		}
		return nil
	})
	cancel()
	<-done
	t.Logf("swap took %.3f s, restore %.3f s", rep.SwapSeconds, rep.Seconds)
	if reconnects != 2 || failures != 0 { // the first connection counts as one
		t.Errorf("the client connected %d times and failed %d times (%s), want 2 and 0", reconnects, failures, last)
	}
	if got := query(t, b.pg, "shop", "SELECT count(*) FROM log"); got != "100" {
		t.Errorf("the restored database has %s log lines, want 100", got)
	}
	if got := query(t, b.pg, rep.KeptAs, "SELECT count(*) FROM log"); got != "0" {
		t.Errorf("the kept database has %s log lines, want 0", got)
	}
	if got := query(t, b.pg, rep.KeptAs, "SELECT count(*) > 1000 FROM customer"); got != "true" {
		t.Errorf("the rows written before the swap are not in %s", rep.KeptAs)
	}
	for sql, want := range map[string]string{
		"SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'shop'":             "app",
		"SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname='shop'": "it's the shop",
		"SELECT has_database_privilege('public', 'shop', 'CONNECT')":                         "false",
		"SELECT current_setting('search_path')":                                              `"$user", public`,
		"SELECT current_setting('work_mem')":                                                 "5MB",
	} {
		if got := query(t, b.pg, "shop", sql); got != want {
			t.Errorf("%s = %q, want %q", sql, got, want)
		}
	}
}

// Somebody with a lock on the database who then needs pg_database, which the swap has locked, waits for the swap, and the
// swap for them. The server ends one of the two: if it is the swap, it must not be the end of the restore.
func TestRestoreOutlivesADeadlockWithAnAdministrator(t *testing.T) {
	b := newBench(t)
	backup := b.run(t)
	ctx := t.Context()
	admin, err := b.pg.Connect(ctx, "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(context.WithoutCancel(ctx))
	watcher, err := b.pg.Connect(ctx, "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Close(context.WithoutCancel(ctx))
	// The administrator's own patience is long, so that the swap is the one that is ended.
	for _, sql := range []string{"SET deadlock_timeout = '1h'", "BEGIN", "COMMENT ON DATABASE shop IS 'under way'"} {
		if _, err := admin.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error, 1)
	go func() {
		_, err := b.restorer(t, b.pg).Restore(ctx, restore.Options{Backup: backup, Database: "shop"})
		done <- err
	}()
	pgtest.Eventually(t, 60*time.Second, func() error {
		var locked bool
		err := watcher.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_locks
			WHERE relation = 'pg_database'::regclass AND mode = 'AccessExclusiveLock' AND granted)`).Scan(&locked)
		if err == nil && !locked {
			err = fmt.Errorf("the swap has not locked pg_database")
		}
		return err
	})
	if _, err := admin.Exec(ctx, "SELECT count(*) FROM pg_database"); err != nil { // waits for the swap
		t.Fatalf("the administrator was ended, not the swap: %v", err)
	}
	if _, err := admin.Exec(ctx, "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("restore: %v", err)
	}
}

func TestBootstrapFillsAnEmptyServerOnce(t *testing.T) {
	b := newBench(t)
	ctx := context.Background()
	if err := b.pg.Exec(ctx, "CREATE TABLE in_postgres AS SELECT 1 AS one"); err != nil {
		t.Fatal(err)
	}
	backup := b.run(t)
	fresh := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	if err := fresh.Exec(ctx, "CREATE DATABASE shop"); err != nil { // as a container's entry point does
		t.Fatal(err)
	}
	out, err := b.restorer(t, fresh).Bootstrap(ctx, restore.BootstrapOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if out.Result != restore.Restored || out.Backup != backup.ID || out.Rows != 4101 {
		t.Errorf("outcome = %+v, want 4101 rows of %s", out, backup.ID)
	}
	if got := query(t, fresh, "postgres", "SELECT count(*) FROM in_postgres"); got != "1" {
		t.Errorf("the database postgres has %s rows, want 1", got)
	}
	if got := query(t, fresh, "postgres",
		"SELECT string_agg(regexp_replace(datname, '[0-9]+T.*', ''), ' ' ORDER BY datname) FROM pg_database"); got != "postgres postgres_before_ shop shop_before_ template0 template1" {
		t.Errorf("databases = %s", got)
	}
	conn, err := pgx.Connect(ctx, strings.Replace(fresh.DSN("app", "shop"), pgtest.Password, "app's", 1))
	if err != nil {
		t.Fatalf("the application can't log in with its old password: %v", err)
	}
	_ = conn.Close(ctx)
	again, err := b.restorer(t, fresh).Bootstrap(ctx, restore.BootstrapOptions{})
	if err != nil || again.Result != restore.HadData {
		t.Errorf("the second bootstrap: %+v, %v, want %s", again, err, restore.HadData)
	}
	if s, _ := b.repo.State(); len(s.AutoRestores) != 1 || s.AutoRestores[0].N != 1 {
		t.Errorf("auto restores = %+v, want one", s.AutoRestores)
	}
}

func TestRestoreOneTableBesideTheLiveOne(t *testing.T) {
	b := newBench(t)
	ctx := context.Background()
	backup := b.run(t)
	if err := b.pg.ExecIn(ctx, "shop", `DELETE FROM "Odd; name"."order's" WHERE id > 10`); err != nil {
		t.Fatal(err)
	}
	rep, err := b.restorer(t, b.pg).RestoreTable(ctx, restore.TableOptions{
		Backup: backup, Database: "shop", Schema: "Odd; name", Table: "order's", As: "back",
	})
	if err != nil {
		t.Fatal(err)
	}
	if rep.Rows != 3000 || query(t, b.pg, "shop", `SELECT count(*) FROM "Odd; name".back`) != "3000" {
		t.Errorf("report = %+v, want 3000 rows", rep)
	}
	if got := query(t, b.pg, "shop", `SELECT count(*) FROM "Odd; name"."order's"`); got != "10" {
		t.Errorf("the live table has %s rows, want 10", got)
	}
}

// Names of tables are whatever SQL lets them be, and so are their owners'.
func TestRestoreTablesOfOddNames(t *testing.T) {
	t.Parallel()
	b := newServer(t, pgtest.Options{})
	b.exec(t, "postgres", `CREATE ROLE "b c"`, "CREATE ROLE d", "CREATE DATABASE shop")
	tables := []string{"b", "b b", "two\nlines", "-x", "*", "a.b", `quote"d`, "TABLE DATA public b"}
	for i, name := range tables {
		q := server.Quote(name)
		b.exec(t, "shop", "CREATE TABLE "+q+" (i int)", "INSERT INTO "+q+fmt.Sprintf(" SELECT generate_series(1, %d)", i+1))
	}
	b.exec(t, "shop", `ALTER TABLE b OWNER TO "b c"`, `ALTER TABLE "b b" OWNER TO d`, `CREATE TABLE "no columns" ()`)
	tables = append(tables, "no columns")
	for range tables {
		b.exec(t, "shop", `INSERT INTO "no columns" DEFAULT VALUES`)
	}
	backup := b.run(t)
	for i, name := range tables {
		rep, err := b.restorer(t, b.pg).RestoreTable(t.Context(), restore.TableOptions{
			Backup: backup, Database: "shop", Schema: "public", Table: name, As: fmt.Sprint("back", i),
		})
		if err != nil || rep.Rows != int64(i+1) {
			t.Errorf("%q: %+v, %v", name, rep, err)
		}
	}
}

func TestRestoreKilledServerLeavesTheOriginal(t *testing.T) {
	b := newBench(t)
	backup := b.run(t)
	r := b.restorer(t, b.pg)
	r.Progress = func(phase string, _, _ int64) {
		if strings.HasPrefix(phase, "compare") {
			b.pg.KillServer()
		}
	}
	_, err := r.Restore(t.Context(), restore.Options{Backup: backup, Database: "shop"})
	if failure.Of(err) != failure.Connection {
		t.Errorf("restore: %v", err)
	}
	if err := b.pg.Launch(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := query(t, b.pg, "shop", "SELECT count(*) FROM customer"); got != "1000" {
		t.Errorf("the original has %s rows", got)
	}
	// The next restore removes what this one left, and works, be the old database a template.
	if err := b.pg.Exec(t.Context(), "ALTER DATABASE shop IS_TEMPLATE true"); err != nil {
		t.Fatal(err)
	}
	rep, err := b.restorer(t, b.pg).Restore(t.Context(), restore.Options{Backup: backup, Database: "shop", DropOld: true})
	if err != nil || rep.Rows != 4100 {
		t.Errorf("%+v, %v", rep, err)
	}
	if got := query(t, b.pg, "postgres",
		"SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE datname LIKE 'shop%'"); got != "shop" {
		t.Errorf("databases = %s", got)
	}
}

func TestRestoreWaitsForATransactionThenEndsIt(t *testing.T) {
	b := newBench(t)
	backup := b.run(t)
	conn, err := b.pg.Connect(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), "BEGIN; INSERT INTO customer (name) VALUES ('unfinished')",
		pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	r := b.restorer(t, b.pg)
	r.Drain = 500 * time.Millisecond
	rep, err := r.Restore(t.Context(), restore.Options{Backup: backup, Database: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	if rep.SwapSeconds < 0.5 || rep.SwapSeconds > 5 {
		t.Errorf("the swap took %.2f s, want the grace of 0.5 s and little more", rep.SwapSeconds)
	}
}

func TestRestoreThatWouldFillTheServersDiskIsRefused(t *testing.T) {
	b := newBench(t)
	backup := b.run(t)
	for i := range backup.Manifest.Databases { // as if it had been of a server with a larger disk
		backup.Manifest.Databases[i].ServerBytes = 1 << 60
	}
	_, err := b.restorer(t, b.pg).Restore(t.Context(), restore.Options{Backup: backup, Database: "shop"})
	if failure.Of(err) != failure.Space {
		t.Errorf("restore: %v", err)
	}

	// The data would fit, but not beside the WAL that loading them writes, 1 GB of it: then the server itself goes down.
	free, err := catalog.FreeBytes(b.pg.DataDir())
	if err != nil {
		t.Fatal(err)
	}
	if wal, err := b.pg.Query(t.Context(), "postgres", "current_setting('max_wal_size')"); err != nil || wal != "1GB" {
		t.Fatalf("max_wal_size is %q, %v", wal, err)
	}
	for i := range backup.Manifest.Databases {
		backup.Manifest.Databases[i].ServerBytes = (free - 1<<29) / 11 * 10
	}
	_, err = b.restorer(t, b.pg).Restore(t.Context(), restore.Options{Backup: backup, Database: "shop"})
	if failure.Of(err) != failure.Space {
		t.Errorf("restore: %v", err)
	}
}

// Where nobody is a superuser, a role that may make databases brings one back, policies that bind their owner included.
func TestRestoreWithoutOwnersByARoleThatMayMakeDatabases(t *testing.T) {
	t.Parallel()
	b := newServer(t, pgtest.Options{})
	b.exec(t, "postgres", "CREATE ROLE maker LOGIN CREATEDB PASSWORD '"+pgtest.Password+"'", "CREATE DATABASE shop")
	b.exec(t, "shop", "CREATE TABLE bound (i int)", "INSERT INTO bound SELECT generate_series(1, 7)", "CREATE POLICY p ON bound USING (i > 3)",
		"ALTER TABLE bound ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY", "ALTER ROLE "+backupRole+" BYPASSRLS")
	backup := b.run(t)
	r := b.restorer(t, b.pg)
	var err error
	if r.Target, err = server.Parse(b.pg.DSN("maker", "postgres"), nil); err != nil {
		t.Fatal(err)
	}
	r.NoOwner = true
	rep, err := r.Restore(t.Context(), restore.Options{Backup: backup, Database: "shop", As: "again"})
	if err != nil || rep.Rows != 7 {
		t.Fatalf("%+v, %v", rep, err)
	}
	if got := query(t, b.pg, "again", "SELECT concat_ws(' ', (SELECT count(*) FROM bound), relrowsecurity, relforcerowsecurity, relowner::regrole) "+
		"FROM pg_class WHERE relname = 'bound'"); got != "7 t t maker" {
		t.Errorf("the table is %s", got)
	}
}
