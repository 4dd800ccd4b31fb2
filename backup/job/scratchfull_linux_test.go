package job_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/backup/verify"
)

// TestARehearsalThatFillsTheDiskIsStopped: a function of the backup's that a CHECK, an index or a view calls writes without end in the
// throwaway server. It is stopped, by the limit or before the disk is full, nothing of it is left, and the backup is not condemned.
func TestARehearsalThatFillsTheDiskIsStopped(t *testing.T) {
	b := newBench(t)
	ctx := context.Background()
	// It writes some MB at a time, only where it is rehearsed.
	write := []string{`CREATE FUNCTION write() RETURNS bool LANGUAGE plpgsql AS $$
		BEGIN
		  WHILE pg_catalog.current_setting('cluster_name') = 'pg_reliability_scratch' LOOP
		    CREATE TABLE IF NOT EXISTS public.junk (x text);
		    INSERT INTO public.junk SELECT pg_catalog.repeat('x', 1900) FROM pg_catalog.generate_series(1, 2000);
		  END LOOP;
		  RETURN true;
		END $$`,
		`CREATE FUNCTION fill(i int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN public.write(); END'`}
	kind := map[string][]string{
		"checks":  {`CREATE TABLE evil (i int CHECK (public.fill(i)))`, `INSERT INTO evil VALUES (1)`},
		"views":   {`CREATE MATERIALIZED VIEW evil AS SELECT public.fill(1)`},
		"indexes": {`CREATE TABLE evil AS SELECT 1 AS i`, `CREATE INDEX ON evil ((public.fill(i)))`},
	}
	for name, tc := range map[string]struct {
		kind  string
		limit float64
		disk  string // the size of the room's disk
		want  string
	}{
		"the limit":           {kind: "checks", limit: 1.2, disk: "1000m", want: "at most"},
		"the disk":            {kind: "views", limit: 100, disk: "240m", want: "before it filled the disk"},
		"the limit, an index": {kind: "indexes", limit: 1.2, disk: "1000m", want: "at most"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := b.pg.Exec(ctx, `CREATE DATABASE `+tc.kind); err != nil {
				t.Fatal(err)
			}
			if err := b.pg.ExecIn(ctx, tc.kind, append(slices.Clone(write), kind[tc.kind]...)...); err != nil {
				t.Fatal(err)
			}
			dir, err := os.MkdirTemp("/tmp", "full-")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755,size="+tc.disk); err != nil {
				t.Skipf("no tmpfs: %v", err)
			}
			defer func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }()
			b.job.Request.Databases = server.Selection{Only: []string{tc.kind}}
			made := b.run(t)
			v := *b.job.Verifier
			v.Scratch.Base, v.Limit = dir, tc.limit
			got, err := v.Verify(ctx, made.ID, verify.Rehearsal)
			// ENOSPC is what it meets where it fills the disk between two looks.
			if failure.Of(err) != failure.Space || !strings.Contains(err.Error(), tc.want) && !strings.Contains(err.Error(), "No space left") {
				t.Errorf("reason %q (%v), want space and %q", failure.Of(err), err, tc.want)
			}
			if got.Result != catalog.Impossible {
				t.Errorf("the verification is %q, want impossible", got.Result)
			}
			if after, err := b.repo.Get(made.ID); err != nil || !after.Health.Good() {
				t.Errorf("the backup is %q, %v, want it good", after.Health, err)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}
