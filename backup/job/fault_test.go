package job_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine/pgdump"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/restore"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/backup/verify"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

func (b *bench) exec(t *testing.T, database string, sql ...string) {
	t.Helper()
	if err := b.pg.ExecIn(context.Background(), database, sql...); err != nil {
		t.Fatal(err)
	}
}

// fails runs the job and expects a reason, in the error and in the journal, and nothing published.
func (b *bench) fails(t *testing.T, want failure.Reason) error {
	t.Helper()
	before, err := b.repo.List()
	if err != nil {
		t.Fatal(err)
	}
	_, runErr := b.job.Run(t.Context())
	if got := failure.Of(runErr); got != want {
		t.Errorf("reason %q (%v), want %q", got, runErr, want)
	}
	after, err := b.repo.List()
	if err != nil || len(after) != len(before) {
		t.Errorf("%d backups, %v; before there were %d", len(after), err, len(before))
	}
	s, err := b.repo.State()
	if err != nil || s.LastFailure == nil || s.LastFailure.Reason != want || s.Running != nil {
		t.Errorf("journal = %+v, %v, want a failure of reason %s", s, err, want)
	}
	if left, _ := os.ReadDir(filepath.Join(b.repo.Dir(), "tmp")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	return runErr
}

func TestRowLevelSecurityFailsInsteadOfFiltering(t *testing.T) {
	b := newBench(t)
	b.exec(t, "shop", `ALTER TABLE customer ENABLE ROW LEVEL SECURITY`, `CREATE POLICY p ON customer USING (id < 10)`)
	if err := b.fails(t, failure.Permission); err != nil && !strings.Contains(err.Error(), "BYPASSRLS") {
		t.Errorf("no remedy in %v", err)
	}
	b.exec(t, "postgres", `ALTER ROLE `+backupRole+` BYPASSRLS`)
	if got := b.run(t).Manifest.Rows(); got != 4100 {
		t.Errorf("%d rows, want 4100", got)
	}
}

func TestMissingPrivilegeFails(t *testing.T) {
	b := newBench(t)
	b.exec(t, "postgres", `REVOKE pg_read_all_data FROM `+backupRole)
	b.fails(t, failure.Permission)
}

func TestLockedTableFailsWithinTheLockTimeout(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	conn, err := b.pg.Connect(ctx, "shop")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, "LOCK TABLE customer IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	b.job.Request.LockWait = 300 * time.Millisecond
	b.fails(t, failure.LockTimeout)
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	b.run(t)
}

func TestDeadlineKillsTheDump(t *testing.T) {
	b := newBench(t)
	conn, err := b.pg.Connect(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE customer IN ACCESS EXCLUSIVE MODE", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	b.job.Request.LockWait, b.job.Timeout = time.Minute, time.Second
	began := time.Now()
	b.fails(t, failure.Timeout)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the deadline of 1 s took %s", took)
	}
}

func TestPausedServerDoesNotHoldTheJobForever(t *testing.T) {
	b := newBench(t)
	b.job.Timeout = 2 * time.Second
	b.pg.Pause()
	b.fails(t, failure.Timeout)
	b.pg.Resume()
	b.job.Timeout = 0
	b.run(t)
}

func TestClockSetBackLosesNothing(t *testing.T) {
	b := newBench(t)
	shift := time.Duration(0)
	b.job.Now = func() time.Time { return time.Now().Add(shift) }
	b.job.Policy.Keep = 2
	b.run(t)
	future := b.run(t)
	shift = -48 * time.Hour
	back := b.run(t)
	last := b.run(t)
	all, err := b.repo.List()
	if err != nil || len(all) != 2 || all[0].ID != last.ID || all[1].ID != back.ID {
		t.Errorf("backups %v, %v, want %s and %s: the newest by run, not by clock", all, err, last.ID, back.ID)
	}
	if future.ID <= last.ID {
		t.Errorf("the test's clock was not set back: %s, %s", future.ID, last.ID)
	}
	if s, _ := b.repo.State(); s.Runs[0].N != 4 {
		t.Errorf("runs = %+v", s.Runs)
	}
}

func TestManifestHoldsTheDumpsOwnSnapshotUnderWrites(t *testing.T) {
	b := newBench(t)
	b.job.SuspectBelow = 0 // it deletes at random
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan int)
	go func() {
		n := 0
		for ctx.Err() == nil {
			if b.pg.ExecIn(ctx, "shop",
				`INSERT INTO customer (name) SELECT gen_random_uuid()::text FROM generate_series(1, 50)`,
				`DELETE FROM "Odd; name"."order's" WHERE id IN (SELECT id FROM "Odd; name"."order's" LIMIT 7)`,
				`CREATE TABLE IF NOT EXISTS fleeting (i int)`, `DROP TABLE fleeting`) == nil {
				n++
			}
		}
		done <- n
	}()
	b.job.Verify = true
	for range 4 {
		res, err := b.job.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if res.Backup.Health != catalog.Verified {
			t.Errorf("state %s: %s", res.Backup.Health, res.Backup.Problem)
		}
	}
	cancel()
	if n := <-done; n == 0 {
		t.Error("nothing was written meanwhile")
	}
}

// A table that is dropped between the snapshot and pg_dump's lock is in the snapshot, and pg_dump fails.
func TestASchemaChangeGoesFirstAndTheDumpBeginsAnew(t *testing.T) {
	b := newBench(t)
	b.job.Request.LockWait = time.Minute
	if err := b.pg.ExecIn(t.Context(), "shop", `CREATE TABLE fleeting (i int)`); err != nil {
		t.Fatal(err)
	}
	b.job.Engine.(*pgdump.Engine).Finder.Dirs = []string{dropBeforeDump(t, b.pg)}
	b.job.Verify = true
	started := time.Now()
	backup := b.run(t)
	if took := time.Since(started); took > 40*time.Second {
		t.Errorf("the run took %s: it waited for the lock timeout", took)
	}
	db, _ := backup.Manifest.Database("shop")
	for _, table := range db.Contents.Tables {
		if table.Name == "fleeting" {
			t.Error("the dump did not begin anew: the dropped table is in it")
		}
	}
}

// dropBeforeDump is a directory of the client programs in which the table fleeting is dropped before pg_dump begins, once.
func dropBeforeDump(t *testing.T, pg *pgtest.Cluster) string {
	t.Helper()
	dir := t.TempDir()
	programs, err := filepath.Glob(pg.Install.Bin("*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range programs {
		if name := filepath.Base(program); name != "pg_dump" {
			if err := os.Symlink(program, filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	script := fmt.Sprintf(`#!/bin/sh
real=%[1]s psql='env -i %[2]s -h %[3]s -p %[4]d -U %[5]s -d shop -AtXq'
case "$*" in *--version*) exec $real --version ;; esac
case "$*" in *shop*)
  if mkdir '%[6]s/once' 2>/dev/null; then
    $psql -c 'DROP TABLE fleeting' >/dev/null 2>&1 </dev/null
  fi ;;
esac
exec $real "$@"
`, pg.Install.Bin("pg_dump"), pg.Install.Bin("psql"), pg.Dir, pg.Port, pgtest.Superuser, dir)
	if err := os.WriteFile(filepath.Join(dir, "pg_dump"), []byte(script), 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	return dir
}

func TestDirectoryFormatAboveASize(t *testing.T) {
	b := newBench(t)
	b.job.Engine.(*pgdump.Engine).ParallelAbove = 1
	b.job.Verify = true
	backup := b.run(t)
	db, _ := backup.Manifest.Database("shop")
	if db.Format != "directory" || len(backup.Manifest.Files) < 6 {
		t.Errorf("format %s, %d files", db.Format, len(backup.Manifest.Files))
	}
	again, err := b.repo.Get(backup.ID)
	if err != nil || again.Health != catalog.Verified {
		t.Errorf("state %s (%s), %v", again.Health, again.Problem, err)
	}
	if err := os.Remove(filepath.Join(backup.Dir, filepath.FromSlash(backup.Manifest.Files[0].Path))); err != nil {
		t.Fatal(err)
	}
	if again, _ = b.repo.Get(backup.ID); again.Health != catalog.Damaged {
		t.Errorf("with a file missing the state is %s", again.Health)
	}
}

func TestVerificationSeesWhatDiffers(t *testing.T) {
	b := newBench(t)
	backup := b.run(t)
	// A manifest that says one row, one index and one sequence more: what a dump that left them out looks like.
	for name, change := range map[string]func(c *catalog.Contents){
		"table public.customer has 1000 rows": func(c *catalog.Contents) { findTable(c, "customer").Rows++ },
		"table public.ghost is missing": func(c *catalog.Contents) {
			c.Tables = append(c.Tables,
				catalog.Table{Schema: "public", Name: "ghost"})
		},
		"index public.ghost_idx is missing": func(c *catalog.Contents) { c.Indexes = append(c.Indexes, "public.ghost_idx") },
		"constraint public.customer.x is":   func(c *catalog.Contents) { c.Constraints = append(c.Constraints, "public.customer.x") },
		"sequence public.s is missing": func(c *catalog.Contents) {
			c.Sequences = append(c.Sequences, catalog.Sequence{Schema: "public", Name: "s"})
		},
		"extension ghost is": func(c *catalog.Contents) {
			c.Extensions = append(c.Extensions,
				catalog.Extension{Name: "ghost"})
		},
		"customer_id_seq stands at 1000":       func(c *catalog.Contents) { c.Sequences[1].Last = 5000 },
		"2 views, the backup's server had 3":   func(c *catalog.Contents) { c.Objects["views"] = 3 },
		"index public.customer_pkey was not i": func(c *catalog.Contents) { c.Indexes = without(c.Indexes, "public.customer_pkey") },
	} {
		t.Run(name, func(t *testing.T) {
			draft, err := b.repo.Begin(time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(draft.Dir, os.DirFS(backup.Dir)); err != nil {
				t.Fatal(err)
			}
			for _, f := range []string{"manifest.json", "SHA256SUMS"} {
				if err := os.Remove(filepath.Join(draft.Dir, f)); err != nil {
					t.Fatal(err)
				}
			}
			m := draft.Manifest
			draft.Manifest = backup.Manifest
			draft.Manifest.ID, draft.Manifest.Sequence = m.ID, m.Sequence
			draft.Manifest.Databases = nil
			for _, db := range backup.Manifest.Databases {
				if db.Name == "shop" {
					db.Contents.Tables = append([]catalog.Table(nil), db.Contents.Tables...)
					db.Contents.Sequences = append([]catalog.Sequence(nil), db.Contents.Sequences...)
					db.Contents.Objects = map[string]int64{"views": 1}
					for k, v := range backup.Manifest.Databases[1].Contents.Objects {
						db.Contents.Objects[k] = v
					}
					change(&db.Contents)
				}
				draft.Manifest.Databases = append(draft.Manifest.Databases, db)
			}
			if err := draft.Seal(); err != nil {
				t.Fatal(err)
			}
			bad, err := draft.Publish(time.Now())
			if err != nil {
				t.Fatal(err)
			}
			want := name
			if strings.HasPrefix(name, "extension") { // not installed here: says nothing about the backup
				v, err := b.job.Verifier.Verify(t.Context(), bad.ID, verify.Rehearsal)
				if failure.Of(err) != failure.Version || v.Result != catalog.Impossible {
					t.Errorf("%+v, %v", v, err)
				}
				if got, _ := b.repo.Get(bad.ID); got.Health != catalog.Unverified {
					t.Errorf("state %s", got.Health)
				}
				return
			}
			if strings.HasPrefix(name, "2 views") {
				want = "1 views, the backup's server had 3"
			}
			_, err = b.job.Verifier.Verify(t.Context(), bad.ID, verify.Rehearsal)
			if failure.Of(err) != failure.Verify || !strings.Contains(fmt.Sprint(err), want) {
				t.Errorf("verify: %v, want %q", err, want)
			}
			if got, _ := b.repo.Get(bad.ID); got.Health != catalog.Damaged {
				t.Errorf("state %s, want damaged", got.Health)
			}
			// And a restore of it leaves the original alone.
			if name == "table public.customer has 1000 rows" {
				_, err := b.restorer(t, b.pg).Restore(t.Context(), restore.Options{Backup: bad, Database: "shop"})
				if failure.Of(err) != failure.Verify {
					t.Errorf("restore: %v", err)
				}
				if got := query(t, b.pg, "postgres",
					"SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE datname LIKE 'shop%'"); got != "shop" {
					t.Errorf("databases = %s", got)
				}
			}
		})
	}
}

func findTable(c *catalog.Contents, name string) *catalog.Table {
	for i := range c.Tables {
		if c.Tables[i].Name == name {
			return &c.Tables[i]
		}
	}
	return nil
}

func without(list []string, s string) []string {
	var out []string
	for _, x := range list {
		if x != s {
			out = append(out, x)
		}
	}
	return out
}

func TestBackupOfAStandby(t *testing.T) {
	b := newBench(t)
	standby, err := b.pg.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = standby.Close() })
	if b.job.Request.Target, err = server.Parse(standby.DSN(backupRole, "postgres"), nil); err != nil {
		t.Fatal(err)
	}
	b.job.Verify = true
	backup := b.run(t)
	if !backup.Manifest.Server.InRecovery || backup.Manifest.Rows() != 4100 || backup.Health != catalog.Verified {
		t.Errorf("%s (%s), in recovery: %t, %d rows", backup.Health, backup.Problem, backup.Manifest.Server.InRecovery, backup.Manifest.Rows())
	}
	_, err = b.restorer(t, standby).Restore(t.Context(), restore.Options{Backup: backup, Database: "shop"})
	if failure.Of(err) != failure.Refused {
		t.Errorf("restore into a standby: %v", err)
	}
}
