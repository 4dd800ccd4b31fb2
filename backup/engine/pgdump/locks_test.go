package pgdump_test

import (
	"context"
	"fmt"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine/pgdump"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// plainDump runs pg_dump by itself, as one would without us.
func plainDump(t *testing.T, pg *pgtest.Cluster, database string) error {
	t.Helper()
	cmd := osexec.Command(pg.Install.Bin("pg_dump"), "--format=custom", "--lock-wait-timeout=10s", "--file="+
		filepath.Join(t.TempDir(), "plain.dump"),
		"--dbname="+pg.DSN(pgtest.Superuser, database))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// watchLocks returns the most relation locks that were held at once, as often as it can look, until stop is called.
func watchLocks(t *testing.T, pg *pgtest.Cluster) (stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	conn, err := pg.Connect(ctx, "postgres")
	if err != nil {
		t.Fatal(err)
	}
	most, done := 0, make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			var n int
			if conn.QueryRow(ctx, `SELECT count(*) FROM pg_locks WHERE locktype = 'relation' AND pid <> pg_backend_pid()`).Scan(&n) == nil {
				most = max(most, n)
			}
		}
	}()
	return func() int {
		cancel()
		<-done
		_ = conn.Close(context.Background())
		return most
	}
}

// TestABackupHoldsNoMoreLocksThanPgDump: the table of locks is everybody's. It has room for pg_dump here, and for little more.
func TestABackupHoldsNoMoreLocksThanPgDump(t *testing.T) {
	const tables = 3000
	pg := newServer(t, `CREATE DATABASE big`)
	for from := 0; from < tables; from += 500 {
		exec(t, pg, "big", fmt.Sprintf(`DO $$ BEGIN FOR k IN %d..%d LOOP EXECUTE format('CREATE TABLE t%%s (i int PRIMARY KEY)', k);
			IF k %% 10 = 0 THEN EXECUTE format('INSERT INTO t%%s VALUES (1)', k); END IF; END LOOP; END $$`, from, from+499))
	}
	if err := pg.Configure(map[string]string{
		"max_connections": "40", "autovacuum_max_workers": "1", "max_wal_senders": "0", "max_worker_processes": "0",
		"max_locks_per_transaction": "64",
	}); err != nil {
		t.Fatal(err)
	}
	if err := pg.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop := watchLocks(t, pg)
	if err := plainDump(t, pg, "big"); err != nil {
		t.Fatal(err)
	}
	plain := stop()
	stop = watchLocks(t, pg)
	b := newBench(t, pg, backupRole)
	got := b.run("")
	ours := stop()
	t.Logf("locks held at once: %d by pg_dump alone, %d by a run", plain, ours)
	if plain < tables {
		t.Fatalf("pg_dump held %d locks: nothing was measured", plain)
	}
	if ours > plain+100 {
		t.Errorf("a run held %d locks at once, pg_dump alone %d", ours, plain)
	}
	if db, _ := got.Manifest.Database("big"); len(db.Contents.Tables) != tables || db.Contents.Rows() != tables/10 ||
		len(got.Manifest.Omitted) > 0 {
		t.Errorf("%d tables, %d rows, lacks %v", len(db.Contents.Tables), db.Contents.Rows(), got.Manifest.Omitted)
	}
}

// changeSchema changes the schema of six tables without a pause worth the name, in five ways, until stop is called.
func changeSchema(t *testing.T, pg *pgtest.Cluster, database string) (stop func() int64) {
	t.Helper()
	for i := range 6 {
		exec(t, pg, database, fmt.Sprintf(`CREATE TABLE c%d (i int PRIMARY KEY, v text)`, i),
			fmt.Sprintf(`INSERT INTO c%d SELECT g, 'x' FROM generate_series(1, 500) g`, i))
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	var n atomic.Int64
	for worker, ways := range [][]string{
		{`TRUNCATE c%[1]d`, `INSERT INTO c%[1]d SELECT g, 'x' FROM generate_series(1, 500) g ON CONFLICT DO NOTHING`},
		{`ALTER TABLE c%[1]d ADD COLUMN IF NOT EXISTS w int DEFAULT 1`, `ALTER TABLE c%[1]d DROP COLUMN IF EXISTS w`},
		{`VACUUM FULL c%[1]d`},
		{`CREATE TABLE IF NOT EXISTS n%[1]d (i int)`, `DROP TABLE IF EXISTS n%[1]d`},
		{`ALTER TABLE c%[1]d RENAME TO r%[1]d`, `ALTER TABLE r%[1]d RENAME TO c%[1]d`},
	} {
		done.Add(1)
		go func() {
			defer done.Done()
			conn, err := pg.Connect(ctx, database)
			if err != nil {
				return
			}
			defer func() { _ = conn.Close(context.Background()) }()
			for i := worker; ctx.Err() == nil; i++ {
				for _, way := range ways {
					if _, err := conn.Exec(ctx, fmt.Sprintf(way, i%6)); err == nil {
						n.Add(1)
					}
				}
				select {
				case <-ctx.Done():
				case <-time.After(100 * time.Millisecond):
				}
			}
		}()
	}
	return func() int64 {
		cancel()
		done.Wait()
		return n.Load()
	}
}

// TestASchemaThatIsBeingChangedIsBackedUp: where pg_dump has a chance we have one, and what could not be proved is said; what was
// counted is what the archive holds.
func TestASchemaThatIsBeingChangedIsBackedUp(t *testing.T) {
	pg := newServer(t, `CREATE DATABASE shop`)
	exec(t, pg, "shop", `CREATE TABLE calm AS SELECT generate_series(1, 1000) AS i`)
	stop := changeSchema(t, pg, "shop")
	b := newBench(t, pg, backupRole)
	b.job.Verify, b.job.SuspectBelow = true, 0
	const rounds = 5
	plain := 0
	var said []string
	for range rounds {
		if plainDump(t, pg, "shop") == nil {
			plain++
		}
		got := b.run("") // fails the test at once
		if got.Health != catalog.Verified {
			t.Errorf("a good backup is %s: %s", got.Health, got.Problem)
		}
		db, _ := got.Manifest.Database("shop")
		for _, table := range db.Contents.Tables {
			if table.Name == "calm" && (table.Uncounted || table.Rows != 1000) {
				t.Errorf("the table that nobody changed: %+v", table)
			}
		}
		said = append(said, fmt.Sprintf("%d changed, %d uncounted", strings.Count(lacks(got, catalog.ChangedTable), "/"),
			strings.Count(lacks(got, catalog.OmittedCount), "/")))
	}
	t.Logf("%d changes; pg_dump alone worked %d of %d times, a run each time: %s", stop(), plain, rounds, strings.Join(said, "; "))
}

// A table that is rewritten between the snapshot and pg_dump's lock is empty for pg_dump, whatever it held.
func TestATableThatWasRewrittenInBetweenIsDumpedAnew(t *testing.T) {
	for name, tc := range map[string]struct {
		script string // how often it happens
		lost   bool
	}{
		"once":  {`if mkdir "%[1]s/once" 2>/dev/null; then %[2]s; fi`, false},
		"again": {`%[2]s`, true},
	} {
		t.Run(name, func(t *testing.T) {
			pg := newServer(t, `CREATE DATABASE shop`)
			exec(t, pg, "shop", `CREATE TABLE t AS SELECT generate_series(1, 1000) AS i`)
			b := newBench(t, pg, backupRole)
			b.job.Verify = true
			rewrite := fmt.Sprintf(`case "$*" in *shop*) env -i '%s' -h '%s' -p %d -U %s -d shop -Xq -c 'ALTER TABLE t ALTER COLUMN i TYPE bigint' -c 'ALTER TABLE t ALTER COLUMN i TYPE int' ;; esac`,
				pg.Install.Bin("psql"), pg.Dir, pg.Port, pgtest.Superuser)
			b.job.Engine.(*pgdump.Engine).Finder.Dirs = []string{wrapped(t, pg, fmt.Sprintf(tc.script, t.TempDir(), rewrite))}
			got := b.run("")
			db, _ := got.Manifest.Database("shop")
			if lost := lacks(got, catalog.ChangedTable) != ""; lost != tc.lost || !lost && db.Contents.Rows() != 1000 ||
				got.Health != catalog.Verified {
				t.Errorf("%s (%s), %d rows, lacks %v", got.Health, got.Problem, db.Contents.Rows(), got.Manifest.Omitted)
			}
		})
	}
}
