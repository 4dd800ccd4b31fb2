package restore_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/engine/enginetest"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/restore"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// TestAFullDiskOfTheWAL: the server's WAL is on a small disk of its own. A restore that would fill it is refused. When it is full all the
// same, in the midst of loading or of the swap, the server ends itself; the original serves once there is room, and the next restore
// removes what was left.
func TestAFullDiskOfTheWAL(t *testing.T) {
	disk := t.TempDir()
	enginetest.SmallDisk(t, disk, 24<<20)
	if out, err := pgtest.Command("mkdir", filepath.Join(disk, "wal")).CombinedOutput(); err != nil {
		t.Skipf("the server's user can't write there: %v %s", err, out)
	}
	b := newBenchWith(t, pgtest.Options{
		InitArgs: []string{"--waldir=" + filepath.Join(disk, "wal"), "--wal-segsize=1"},
		Settings: map[string]string{"min_wal_size": "2MB", "max_wal_size": "4MB"},
	})
	b.exec(t, "shop", `CREATE TABLE wide AS SELECT g, repeat(md5(g::text), 20) AS v FROM generate_series(1, 15000) g`)
	backup := b.run(t)

	large := backup // as if it had come from a server with a larger disk for its WAL
	large.Manifest.Databases = slices.Clone(backup.Manifest.Databases)
	for i := range large.Manifest.Databases {
		large.Manifest.Databases[i].ServerBytes = 1 << 29
	}
	b.exec(t, "postgres", "ALTER SYSTEM SET max_wal_size = '1GB'", "SELECT pg_reload_conf()")
	pgtest.Eventually(t, 5*time.Second, func() error {
		_, err := b.restorer(t, b.pg).Restore(t.Context(), restore.Options{Backup: large, Database: "shop"})
		if failure.Of(err) != failure.Space || !strings.Contains(err.Error(), "the server's WAL") {
			return fmt.Errorf("a restore that would fill the disk: %w", err)
		}
		return nil
	})
	b.exec(t, "postgres", "ALTER SYSTEM RESET max_wal_size", "SELECT pg_reload_conf()")

	for _, phase := range []string{"load shop", "swap"} {
		r := b.restorer(t, b.pg)
		var empty func()
		r.Progress = func(at string, _, _ int64) {
			if at == phase && empty == nil {
				empty = enginetest.FillDisk(t, disk)
			}
		}
		_, err := r.Restore(t.Context(), restore.Options{Backup: backup, Database: "shop", DropOld: true})
		t.Logf("%s: %v", phase, err)
		if empty == nil {
			t.Fatalf("%s: there is no such phase", phase)
		}
		if phase == "load shop" && err == nil {
			t.Fatalf("%s: the disk was not filled: this tests nothing", phase)
		}
		empty()
		pgtest.Eventually(t, 30*time.Second, func() error { // by itself, or with one start
			select {
			case <-b.pg.Exited():
				return b.pg.Launch(t.Context())
			default:
				return b.pg.Exec(t.Context(), "SELECT 1")
			}
		})
		if got := query(t, b.pg, "shop", "SELECT count(*) || ' ' || (SELECT count(*) FROM wide) FROM customer"); got != "1000 15000" {
			t.Errorf("%s: the original has %s rows", phase, got)
		}
	}
	if _, err := b.restorer(t, b.pg).Restore(t.Context(), restore.Options{Backup: backup, Database: "shop", DropOld: true}); err != nil {
		t.Errorf("the next restore: %v", err)
	}
	if left := query(t, b.pg, "postgres", `SELECT string_agg(datname, ', ') FROM pg_database WHERE datname ~ '^pg_reliability_restore|_before_'`); left != "" {
		t.Errorf("what is left: %s", left)
	}
}
