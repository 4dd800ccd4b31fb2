package pgbackrest_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine/pgbackrest"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/verify"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// TestEachFailureHasItsReason runs a job into every wall and expects a reason, a remedy, a count in
// the journal, and a good run once the wall is gone.
func TestEachFailureHasItsReason(t *testing.T) {
	t.Parallel()
	b := newServer(t, pgtest.Options{})
	ctx := context.Background()
	fails := func(name string, reason failure.Reason, text string) {
		t.Helper()
		_, err := b.job.Run(ctx)
		t.Logf("%s: %v", name, err)
		wantFailure(t, err, reason, text)
		if !strings.Contains(err.Error(), "HINT: ") {
			t.Errorf("%s: no remedy in %v", name, err)
		}
		if s, _ := b.repo.State(); s.LastFailure == nil || s.LastFailure.Reason != reason || s.Running != nil {
			t.Errorf("%s: state = %+v, want the failure in it", name, s)
		}
		if all, err := b.repo.List(); err != nil || len(all) != 0 {
			t.Errorf("%s: catalogue = %+v, %v, want none", name, all, err)
		}
	}
	b.engine.Type = pgbackrest.Full

	b.engine.Program = "/nonexistent/pgbackrest"
	fails("missing program", failure.Config, "Install the package pgbackrest")
	b.engine.Program = ""

	fails("missing stanza", failure.Repository, "stanza-create")
	b.pgbackrest(t, "stanza-create")

	b.engine.Stanza = "nosuch"
	fails("unknown stanza", failure.Repository, "has no stanza nosuch")
	b.engine.Stanza = ""
	fails("no stanza", failure.Config, "--pgbackrest-stanza")
	b.engine.Stanza = stanza

	b.job.Request.Databases.Only = []string{"shop"}
	fails("chosen databases", failure.Config, "whole server")
	b.job.Request.Databases.Only = nil

	b.exec(t, "ALTER SYSTEM SET archive_command = 'true'", "SELECT pg_reload_conf()")
	fails("archive_command without pgBackRest", failure.Config, "archive-push")
	b.configure(t, "archive-timeout=10", "archive-timeout=1")
	b.exec(t, "ALTER SYSTEM SET archive_command = 'pgbackrest --config=/nonexistent archive-push %p'", "SELECT pg_reload_conf()")
	fails("archive_command fails", failure.Dump, "pg_stat_archiver")
	b.exec(t, "ALTER SYSTEM RESET archive_command", "SELECT pg_reload_conf()")
	b.configure(t, "archive-timeout=1", "archive-timeout=10")

	b.pgbackrest(t, "stop")
	fails("stopped", failure.Locked, "start")
	b.pgbackrest(t, "start")

	b.configure(t, "pg1-user=postgres", "pg1-user=nosuch")
	fails("pgBackRest can't log in", failure.Connection, "pg1-user")
	b.configure(t, "pg1-user=nosuch", "pg1-user=postgres")

	b.engine.Options = []string{"--no-such-option"}
	fails("wrong option", failure.Config, "--pgbackrest-option")
	b.engine.Options = nil

	info := filepath.Join(b.pg.Dir, "repo", "backup")
	mustRun(t, "chmod", "000", info)
	if os.Geteuid() == 0 { // pgBackRest runs as another user, to whom the mode matters; so does ours when it is not root
		fails("unreadable repository", failure.Repository, "Permission denied")
	}
	mustRun(t, "chmod", "750", info)

	if got := b.run(t, pgbackrest.Full); got.Health != catalog.Unverified {
		t.Errorf("after all that: %s (%s)", got.Health, got.Problem)
	}
}

func TestAnotherServersStanzaIsRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t, pgtest.Options{})
	other := newServer(t, pgtest.Options{})
	other.engine.Config = b.conf
	_, err := other.job.Run(context.Background())
	wantFailure(t, err, failure.Config, "system identifier")
}

func TestLockedWhileAnotherBackupRuns(t *testing.T) {
	t.Parallel()
	b := newBench(t, pgtest.Options{})
	cmd := pgtest.Command("pgbackrest", "--config="+b.conf, "--stanza="+stanza, "--type=full", "--no-start-fast", "backup")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	pgtest.Eventually(t, 10*time.Second, func() error {
		_, err := os.Stat(filepath.Join(b.pg.Dir, "lock", stanza+"-backup.lock"))
		return err
	})
	_, err := b.job.Run(context.Background())
	wantFailure(t, err, failure.Locked, "HINT: ")
	b.exec(t, "CHECKPOINT")
}

func TestInterruptedBackupLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	b := newBench(t, pgtest.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // once pgBackRest is at work
		for ctx.Err() == nil {
			if got, err := b.pg.Query(ctx, "postgres",
				"SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pgBackRest%'"); err == nil && got != "0" {
				cancel()
			}
		}
	}()
	b.engine.Type = pgbackrest.Full
	_, err := b.job.Run(ctx)
	wantFailure(t, err, failure.Interrupted, "interrupted")
	if all, err := b.repo.List(); err != nil || len(all) != 0 {
		t.Errorf("catalogue = %+v, %v, want none", all, err)
	}
	if got := b.run(t, pgbackrest.Full); got.Health != catalog.Unverified {
		t.Errorf("the next run: %s (%s)", got.Health, got.Problem)
	}
}

func TestDamageIsFound(t *testing.T) {
	t.Parallel()
	b := newBench(t, pgtest.Options{InitArgs: []string{"-k"}})
	ctx := context.Background()
	backup := b.run(t, pgbackrest.Full)
	b.engine.Options = []string{"--job-retry=0"} // damage does not heal
	repo := filepath.Join(b.pg.Dir, "repo")
	check := func(depth int) error {
		t.Helper()
		_, err := b.job.Verifier.Verify(ctx, backup.ID, depth)
		return err
	}
	if err := check(verify.FullRead); err != nil {
		t.Fatalf("intact: %v", err)
	}
	damage := func(what string, do, undo func(), depths ...int) {
		t.Helper()
		do()
		for _, depth := range depths {
			err := check(depth)
			t.Logf("%s, level %d: %v", what, depth, err)
			wantFailure(t, err, failure.Verify, "")
		}
		if got, _ := b.repo.Get(backup.ID); got.Health != catalog.Damaged {
			t.Errorf("%s: state = %s, want damaged", what, got.Health)
		}
		undo()
		if err := check(slices.Max(depths)); err != nil {
			t.Errorf("%s, undone: %v", what, err)
		}
	}
	files, err := filepath.Glob(filepath.Join(repo, "backup", stanza, "*F", "bundle", "*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	content, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	write := func(b []byte) func() {
		return func() {
			if err := os.WriteFile(files[0], b, 0o640); err != nil {
				t.Fatal(err)
			}
		}
	}
	flipped := slices.Clone(content)
	for i := len(flipped) / 3; i < len(flipped)/3+100; i++ {
		flipped[i] ^= 0x55
	}
	damage("flipped bytes", write(flipped), write(content), verify.FullRead, verify.Rehearsal)
	damage("truncated file", write(content[:len(content)/2]), write(content), verify.FullRead)

	wal, err := filepath.Glob(filepath.Join(repo, "archive", stanza, "*", "*", backup.Manifest.External.WALStop+"-*"))
	if err != nil || len(wal) != 1 {
		t.Fatal(wal, err)
	}
	aside := filepath.Join(b.pg.Dir, "aside")
	damage("missing WAL", func() { mustRun(t, "mv", wal[0], aside) }, func() { mustRun(t, "mv", aside, wal[0]) }, verify.FullRead,
		verify.Rehearsal)
}

// TestALostRepositoryCondemnsNothing: a disk that is not mounted says nothing about the backups on it.
func TestALostRepositoryCondemnsNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t, pgtest.Options{})
	ctx := context.Background()
	backup := b.run(t, pgbackrest.Full)
	repo := filepath.Join(b.pg.Dir, "repo")
	mustRun(t, "mv", repo, repo+".gone")
	for _, depth := range []int{verify.FullRead, verify.Rehearsal} {
		_, err := b.job.Verifier.Verify(ctx, backup.ID, depth)
		wantFailure(t, err, failure.Repository, "Is its disk or bucket there?")
	}
	if _, err := b.job.Run(ctx); failure.Of(err) != failure.Repository {
		t.Errorf("run = %v, want reason repository", err)
	}
	if got, err := b.repo.Get(backup.ID); err != nil || got.Health != catalog.Unverified {
		t.Errorf("state = %s, %v, want unverified as before", got.Health, err)
	}
	mustRun(t, "mv", repo+".gone", repo)
	b.run(t, pgbackrest.Incremental)
}
