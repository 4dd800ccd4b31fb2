package pgbackrest_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine/pgbackrest"
	"github.com/pg-reliability/pg_reliability_exporter/backup/verify"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// smallSegments make many of little.
var smallSegments = []string{"--wal-segsize=1"}

// TestAsynchronousArchivingIsNotDisturbed: pgBackRest's restore empties the stanza's spool, in which it is noted
// what of the live server's WAL is archived.
func TestAsynchronousArchivingIsNotDisturbed(t *testing.T) {
	t.Parallel()
	b := newBench(t, pgtest.Options{InitArgs: smallSegments})
	b.configure(t, "archive-timeout=10", "archive-timeout=10\narchive-async=y")
	t.Cleanup(func() {
		b.exec(t, "ALTER SYSTEM SET archive_command = 'true'", "SELECT pg_reload_conf()", "SELECT pg_switch_wal()")
		awaitArchived(t, b)
		awaitUnlocked(t, filepath.Join(b.pg.Dir, "lock"))
	})
	backup := b.run(t, pgbackrest.Full)

	// Quiet: what lies in the spool lies there afterwards.
	spool := filepath.Join(b.pg.Dir, "spool")
	noted := spooled(t, spool, "out")
	if len(noted) == 0 {
		t.Fatal("the spool is empty: is archiving asynchronous?")
	}
	b.verify(t, backup)
	b.copy(t, backup, "quiet", false)
	if got := spooled(t, spool, "out"); !slices.Equal(got, noted) {
		t.Errorf("the spool has %q, want %q as before", got, noted)
	}

	// Busy: neither the server's archiving fails, nor what we do.
	stop := b.fillSegments(t)
	before := b.query(t, "postgres", "SELECT archived_count FROM pg_stat_archiver")
	for i := range 3 {
		b.verify(t, backup)
		b.copy(t, backup, fmt.Sprint("busy", i), true)
	}
	stop()
	t.Logf("%s segments archived meanwhile", b.query(t, "postgres", "SELECT archived_count - "+before+" FROM pg_stat_archiver"))
	if n := b.query(t, "postgres", "SELECT failed_count FROM pg_stat_archiver"); n != "0" {
		t.Errorf("%s WAL segments failed to be archived", n)
	}
}

// TestAStandbysQueueIsNotDisturbed: pgBackRest's restore empties the stanza's spool, in which lies the WAL that a
// standby will ask for next.
func TestAStandbysQueueIsNotDisturbed(t *testing.T) {
	t.Parallel()
	b := newBench(t, pgtest.Options{InitArgs: smallSegments})
	ctx := context.Background()
	backup := b.run(t, pgbackrest.Full)

	// A standby with a spool of its own, as on a machine of its own, that follows by the archive alone.
	standby, err := b.pg.Standby(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = standby.Close()
		awaitUnlocked(t, filepath.Join(b.pg.Dir, "lock-standby"))
	})
	text, err := os.ReadFile(b.conf)
	if err != nil {
		t.Fatal(err)
	}
	conf := strings.NewReplacer("archive-timeout=10", "archive-timeout=10\narchive-async=y", "/lock", "/lock-standby",
		"/spool", "/spool-standby", b.pg.DataDir(), standby.DataDir()).Replace(string(text))
	b.engine.Config = b.conf + ".standby"
	if err := os.WriteFile(b.engine.Config, []byte(conf), 0o644); err != nil { //nolint:gosec // the server's user reads it
		t.Fatal(err)
	}
	mustRun(t, "mkdir", filepath.Join(b.pg.Dir, "lock-standby"), filepath.Join(b.pg.Dir, "spool-standby"))
	if err := standby.Configure(map[string]string{
		"primary_conninfo": "''",
		"restore_command":  fmt.Sprintf(`'pgbackrest --config=%s --stanza=%s archive-get %%f "%%p"'`, b.engine.Config, stanza),
	}); err != nil {
		t.Fatal(err)
	}
	if err := standby.Stop(); err != nil { // so that there is a queue when it starts again
		t.Fatal(err)
	}
	stop := b.fillSegments(t)
	pgtest.Eventually(t, time.Minute, func() error {
		if got := b.query(t, "postgres", "SELECT archived_count > 20 FROM pg_stat_archiver"); got != "true" {
			return fmt.Errorf("not 20 segments archived yet")
		}
		return nil
	})
	stop()
	b.exec(t, "SELECT pg_switch_wal()")
	awaitArchived(t, b)
	if err := standby.Launch(ctx); err != nil {
		t.Fatal(err)
	}
	spool := filepath.Join(b.pg.Dir, "spool-standby")
	pgtest.Eventually(t, 30*time.Second, func() error {
		if got := spooled(t, spool, "in"); len(got) < 10 || !strings.HasSuffix(got[len(got)-1], ".ok") { // the archive's end
			return fmt.Errorf("no queue yet: %q", got)
		}
		return nil
	})
	if err := standby.Stop(); err != nil { // so that the queue stays as it is
		t.Fatal(err)
	}
	queued := spooled(t, spool, "in")
	b.verify(t, backup)
	b.copy(t, backup, "standby", false)
	if got := spooled(t, spool, "in"); !slices.Equal(got, queued) {
		t.Errorf("the spool has %q, want %q as before", got, queued)
	}

	// It follows, while we work.
	stop = b.fillSegments(t)
	defer stop()
	if err := standby.Launch(ctx); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		b.verify(t, backup)
		b.copy(t, backup, fmt.Sprint("following", i), true)
	}
	stop()
	want := b.query(t, "shop", "SELECT count(*) FROM customer")
	b.exec(t, "SELECT pg_switch_wal()")
	pgtest.Eventually(t, time.Minute, func() error {
		got, err := standby.Query(ctx, "shop", "SELECT count(*) FROM customer")
		if err == nil && got != want {
			err = fmt.Errorf("the standby has %s rows, want %s", got, want)
		}
		return err
	})
	for line := range strings.Lines(standby.Log()) {
		if strings.Contains(line, "ERROR: [") {
			t.Error(line)
		}
	}
}

// fillSegments writes until it is told to stop, as fast as the archive takes it.
func (b *bench) fillSegments(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	conn, err := b.pg.Connect(ctx, "shop")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		defer conn.Close(context.WithoutCancel(ctx))
		for ctx.Err() == nil {
			var behind int
			err := conn.QueryRow(ctx, "SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'").Scan(&behind)
			if err == nil && behind < 5 {
				if _, err = conn.Exec(ctx, "INSERT INTO customer (name) VALUES (clock_timestamp())"); err == nil {
					_, err = conn.Exec(ctx, "SELECT pg_switch_wal()")
				}
			}
			if err != nil && ctx.Err() == nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	var stopped bool
	return func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// verify proves a backup by a restore.
func (b *bench) verify(t *testing.T, backup catalog.Backup) {
	t.Helper()
	if _, err := b.job.Verifier.Verify(context.Background(), backup.ID, verify.Rehearsal); err != nil {
		t.Error(err)
	}
}

// copy restores beside the live server, to the end of the archive or of the backup, and starts a server there.
func (b *bench) copy(t *testing.T, backup catalog.Backup, name string, immediate bool) {
	t.Helper()
	dir := filepath.Join(b.pg.Dir, "copy-"+name)
	mustRun(t, "mkdir", dir)
	dir = filepath.Join(dir, "data")
	if _, err := b.engine.RestoreServer(context.Background(),
		engine.ServerOptions{Backup: backup, DataDir: dir, Immediate: immediate}); err != nil {
		t.Error(err)
		return
	}
	if got := startRestored(t, b, dir, "SELECT count(*) >= 1000 FROM customer"); got != "true" {
		t.Errorf("%s has all rows: %s", dir, got)
	}
}

// awaitUnlocked waits for pgBackRest's asynchronous processes, which outlive their servers and write on.
func awaitUnlocked(t *testing.T, dir string) {
	t.Helper()
	pgtest.Eventually(t, time.Minute, func() error {
		locks, _ := filepath.Glob(filepath.Join(dir, "*.lock"))
		for _, name := range locks {
			if held(t, name) {
				return fmt.Errorf("%s is held", name)
			}
		}
		return nil
	})
}

// held says whether a process has pgBackRest's lock. The file says nothing: it stays where its process was killed.
func held(t *testing.T, name string) bool {
	t.Helper()
	f, err := os.Open(name) //nolint:gosec // the test's own
	if os.IsNotExist(err) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil
}

// spooled lists a queue of the stanza's spool.
func spooled(t *testing.T, spool, queue string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(spool, "archive", stanza, queue))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
