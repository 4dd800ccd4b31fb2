package pgbackrest_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine/pgbackrest"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/retention"
	"github.com/pg-reliability/pg_reliability_exporter/backup/verify"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

func TestBackupIsListedAndProvenByARestore(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{"with data checksums": {"-k"}, "without": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, pgtest.Options{InitArgs: args})
			b.job.Verify = true
			got := b.run(t, pgbackrest.Full)
			m := got.Manifest
			if got.Health != catalog.Verified {
				t.Errorf("state = %s (%s), want verified", got.Health, got.Problem)
			}
			if v := got.Status.Verified; v == nil || v.Rows != 1000 || v.RestoreSeconds <= 0 {
				t.Errorf("verification = %+v, want 1000 rows and a time", v)
			}
			if m.External == nil || m.External.Type != "full" || m.Bytes < 1<<20 || m.External.WALStop == "" {
				t.Errorf("manifest = %+v", m)
			}
			shop, ok := m.Database("shop")
			if !ok || shop.ServerBytes == 0 || len(shop.Contents.Tables) != 1 || len(shop.Contents.Indexes) != 3 {
				t.Errorf("database shop = %+v", shop)
			}
			if m.Server.DataChecksums != (args != nil) || m.Client.Version == "" {
				t.Errorf("server = %+v, client = %+v", m.Server, m.Client)
			}
			if n := b.query(t, "postgres", "SELECT failed_count FROM pg_stat_archiver"); n != "0" {
				t.Errorf("%s WAL segments failed to be archived: the rehearsal is not apart", n)
			}
		})
	}
}

// TestRestoreToAMomentBetweenTwoInserts is point-in-time recovery as a user does it.
func TestRestoreToAMomentBetweenTwoInserts(t *testing.T) {
	t.Parallel()
	b := newBench(t, pgtest.Options{})
	ctx := context.Background()
	mustRun(t, "mkdir", filepath.Join(b.pg.Dir, "fast"))
	b.exec(t, `CREATE TABLESPACE fast LOCATION '`+filepath.Join(b.pg.Dir, "fast")+`'`)
	backup := b.run(t, pgbackrest.Full)
	insert := func(name string) {
		if err := b.pg.ExecIn(ctx, "shop", "INSERT INTO customer (name) VALUES ('"+name+"')"); err != nil {
			t.Fatal(err)
		}
	}
	// pgBackRest's times are whole seconds: wait until the backup's end lies before.
	pgtest.Eventually(t, 20*time.Second, func() error {
		if !time.Now().After(backup.Manifest.RecoveryPoint.Add(time.Second)) {
			return fmt.Errorf("still within the second of %s", backup.Manifest.RecoveryPoint)
		}
		return nil
	})
	insert("before")
	moment, err := time.Parse("2006-01-02 15:04:05.999999-07", b.query(t, "postgres", "SELECT clock_timestamp() AT TIME ZONE 'UTC' || '+00'"))
	if err != nil {
		t.Fatal(err)
	}
	insert("after")
	b.exec(t, "SELECT pg_switch_wal()")
	awaitArchived(t, b)
	dir := filepath.Join(b.pg.Dir, "restored", "data")
	mustRun(t, "mkdir", filepath.Join(b.pg.Dir, "restored"))
	rep, err := b.engine.RestoreServer(ctx, engine.ServerOptions{
		Backup: backup, DataDir: dir, At: moment, TablespaceDir: filepath.Join(b.pg.Dir, "restored", "tablespaces"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", rep)
	if got := startRestored(t, b, dir, "SELECT string_agg(name, ' ') FROM customer WHERE n IS NULL"); got != "before" {
		t.Errorf("restored rows = %q, want those before the moment alone", got)
	}
	if got := b.query(t, "shop", "SELECT count(*) FROM customer"); got != "1002" {
		t.Errorf("the original has %s rows, want 1002", got)
	}

	for _, above := range []string{dir, b.repo.Dir()} { // files that a server's backups, and the catalogue, would read
		_, err = b.engine.RestoreServer(ctx, engine.ServerOptions{Backup: backup, DataDir: filepath.Join(above, "base", "x")})
		if failure.Of(err) != failure.Refused {
			t.Errorf("into a directory below %s: %v", above, err)
		}
	}
	_, err = b.engine.RestoreServer(ctx, engine.ServerOptions{Backup: backup, DataDir: dir})
	wantFailure(t, err, failure.Refused, "is not empty")
	_, err = b.engine.RestoreServer(ctx, engine.ServerOptions{Backup: backup, DataDir: dir, At: backup.Manifest.RecoveryPoint.Add(-time.Hour)})
	wantFailure(t, err, failure.Nothing, "Choose an older backup")

	mustRun(t, "mkdir", filepath.Join(b.pg.Dir, "whole"))
	dir = filepath.Join(b.pg.Dir, "whole", "data")
	o := engine.ServerOptions{Backup: backup, DataDir: dir, TablespaceDir: filepath.Join(b.pg.Dir, "whole", "tablespaces")}
	if _, err := b.engine.RestoreServer(ctx, o); err != nil {
		t.Fatal(err)
	}
	if got := startRestored(t, b, dir, "SELECT count(*) FROM customer"); got != "1002" {
		t.Errorf("restored to the end of the archive: %s rows, want 1002", got)
	}
}

// startRestored starts a server on a restored directory and asks it, as soon as it has left recovery.
func startRestored(t *testing.T, b *bench, dir, sql string) string {
	t.Helper()
	port, err := pgtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	log := dir + ".log"
	mustRun(t, b.pg.Install.Bin("pg_ctl"), "-D", dir, "-l", log, "-w", "-o", fmt.Sprintf("-p %d -c unix_socket_directories=%s", port,
		filepath.Dir(dir)), "start")
	defer mustRun(t, b.pg.Install.Bin("pg_ctl"), "-D", dir, "-m", "immediate", "stop")
	restored := &pgtest.Cluster{Port: port}
	var got string
	pgtest.Eventually(t, time.Minute, func() error {
		recovering, err := restored.Query(context.Background(), "shop", "pg_is_in_recovery()")
		if err == nil && recovering != "false" {
			err = fmt.Errorf("it is in recovery")
		}
		if err == nil {
			got, err = restored.Query(context.Background(), "shop", sql)
		}
		return err
	})
	return got
}

// awaitArchived waits until all finished segments are in the archive.
func awaitArchived(t *testing.T, b *bench) {
	t.Helper()
	last := b.query(t, "postgres", "SELECT pg_walfile_name(pg_current_wal_lsn() - 1)")
	began, switched := time.Now(), false
	pgtest.Eventually(t, 15*time.Second, func() error {
		if got := b.query(t, "postgres", "SELECT last_archived_wal FROM pg_stat_archiver"); got < last {
			if !switched && time.Since(began) > 3*time.Second { // the server may have begun the last one by itself, after the test's switch
				switched = true
				b.exec(t, "SELECT pg_switch_wal()")
			}
			return fmt.Errorf("archived up to %s, want %s", got, last)
		}
		return nil
	})
}

func wantFailure(t *testing.T, err error, reason failure.Reason, text string) {
	t.Helper()
	if failure.Of(err) != reason || !strings.Contains(fmt.Sprint(err), text) {
		t.Errorf("error = %v (reason %s), want reason %s and %q", err, failure.Of(err), reason, text)
	}
}

func TestRecoveryPointFollowsArchivedWAL(t *testing.T) {
	t.Parallel()
	b := newBench(t, pgtest.Options{})
	ctx := context.Background()
	b.run(t, pgbackrest.Full)
	archivedTo := func() time.Time {
		t.Helper()
		if err := b.engine.Observe(ctx, b.job.Request.Target, b.repo); err != nil {
			t.Fatal(err)
		}
		s, err := b.repo.State()
		if err != nil || s.WAL == nil {
			t.Fatalf("state = %+v, %v", s, err)
		}
		return s.WAL.ArchivedTo
	}
	// Idle: nothing was committed since the backup, so nothing would be lost.
	began := time.Now()
	pgtest.Eventually(t, 20*time.Second, func() error {
		if got := archivedTo(); got.Before(began) {
			return fmt.Errorf("archived to %s while idle, want now", got)
		}
		return nil
	})
	// A commit that is not archived holds the point.
	if err := b.pg.ExecIn(ctx, "shop", "INSERT INTO customer (name) VALUES ('new')"); err != nil {
		t.Fatal(err)
	}
	committed := time.Now()
	held := archivedTo()
	if held.After(committed) {
		t.Errorf("archived to %s, after the commit of %s, whose WAL is not archived", held, committed)
	}
	if again := archivedTo(); !again.Equal(held) {
		t.Errorf("the recovery point moved to %s without an archived segment", again)
	}
	b.exec(t, "SELECT pg_switch_wal()")
	awaitArchived(t, b)
	if got := archivedTo(); got.Before(committed) {
		t.Errorf("archived to %s, want at least %s: the commit's segment is archived", got, committed)
	}
	// A gap: what comes after can't be recovered, though the archive goes on.
	remove := b.query(t, "postgres", "SELECT pg_walfile_name(pg_current_wal_insert_lsn())")
	if err := b.pg.ExecIn(ctx, "shop", "INSERT INTO customer (name) VALUES ('lost')"); err != nil {
		t.Fatal(err)
	}
	lost := time.Now()
	b.exec(t, "SELECT pg_switch_wal()")
	awaitArchived(t, b)
	mustRun(t, "sh", "-c", "rm "+filepath.Join(b.pg.Dir, "repo", "archive", stanza, "*", "*", remove+"-*"))
	b.exec(t, "CREATE TABLE more ()", "SELECT pg_switch_wal()")
	awaitArchived(t, b)
	if got := archivedTo(); got.After(lost) {
		t.Errorf("archived to %s, past the missing segment %s", got, remove)
	}
	// A new backup makes the gap a matter of the past.
	b.run(t, pgbackrest.Incremental)
	if got := archivedTo(); got.Before(lost) {
		t.Errorf("archived to %s, want after %s: a newer backup does not need the missing segment", got, lost)
	}
}

func TestRetentionKeepsChainsAndExpiresInPgBackRest(t *testing.T) {
	t.Parallel()
	b := newBench(t, pgtest.Options{})
	ctx := context.Background()
	first := b.run(t, pgbackrest.Full)
	second := b.run(t, pgbackrest.Incremental)
	if second.Manifest.External.Prior != first.Manifest.External.Label {
		t.Fatalf("%s builds upon %q, want %s", second.ID, second.Manifest.External.Prior, first.Manifest.External.Label)
	}
	if err := b.engine.Forget(ctx, first); failure.Of(err) != failure.Refused {
		t.Errorf("Forget of what another builds upon = %v, want refused", err)
	}
	b.job.Policy = retention.Policy{Keep: 1}
	b.engine.Options = nil
	third := b.run(t, pgbackrest.Incremental) // keeps the chain: all three stay
	if got := labels(t, b); len(got) != 3 {
		t.Errorf("pgBackRest has %v, want three", got)
	}
	fourth := b.run(t, pgbackrest.Full) // a chain of its own: the old one goes
	if got := labels(t, b); len(got) != 1 || got[0] != fourth.Manifest.External.Label {
		t.Errorf("pgBackRest has %v, want only %s", got, fourth.Manifest.External.Label)
	}
	if all, err := b.repo.List(); err != nil || len(all) != 1 || all[0].ID != fourth.ID {
		t.Errorf("catalogue = %+v, %v, want only %s (not %s)", all, err, fourth.ID, third.ID)
	}
	if err := b.engine.Forget(ctx, fourth); failure.Of(err) != failure.Refused {
		t.Errorf("Forget of the last backup = %v, want refused", err)
	}
}

// labels lists pgBackRest's backups.
func labels(t *testing.T, b *bench) []string {
	t.Helper()
	out, err := pgtest.Command("pgbackrest", "--config="+b.conf, "--stanza="+stanza, "info", "--output=json").Output()
	if err != nil {
		t.Fatal(err)
	}
	i, err := pgbackrest.ParseInfo(out, stanza)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range i.Backups {
		names = append(names, s.Label)
	}
	return names
}

func TestCatalogueFollowsWhatOthersDoWithPgBackRest(t *testing.T) {
	t.Parallel()
	b := newBench(t, pgtest.Options{})
	ctx := context.Background()
	b.pgbackrest(t, "--type=full", "backup") // by hand, before we were there
	own := b.run(t, pgbackrest.Full)
	all, err := b.repo.List()
	if err != nil || len(all) != 2 {
		t.Fatalf("catalogue = %+v, %v, want two", all, err)
	}
	if all[0].ID != own.ID || all[1].Manifest.Tool != "pgbackrest" || all[1].Manifest.Server.Major() != b.pg.Install.Major {
		t.Errorf("catalogue = %s then %+v, want the run's own first", all[0].ID, all[1].Manifest)
	}
	if _, ok := all[1].Manifest.Database("shop"); !ok {
		t.Errorf("the adopted backup has databases %+v, want shop among them", all[1].Manifest.Databases)
	}
	v, err := b.job.Verifier.Verify(ctx, all[1].ID, verify.Rehearsal)
	if err != nil || v.Rows != 1000 {
		t.Errorf("verification of the adopted backup = %+v, %v", v, err)
	}
	b.pgbackrest(t, "--set="+all[1].Manifest.External.Label, "--log-level-console=off", "expire")
	if err := b.engine.Reconcile(ctx, b.repo, b.job.Log); err != nil {
		t.Fatal(err)
	}
	if all, err = b.repo.List(); err != nil || len(all) != 1 || all[0].ID != own.ID {
		t.Fatalf("catalogue = %+v, %v, want only %s", all, err, own.ID)
	}
	// Nothing left at all looks like a lost repository: visible, not tidied away.
	b.pgbackrest(t, "stop")
	b.pgbackrest(t, "--force", "stanza-delete")
	b.pgbackrest(t, "start")
	b.pgbackrest(t, "stanza-create")
	if err := b.engine.Reconcile(ctx, b.repo, b.job.Log); err != nil {
		t.Fatal(err)
	}
	if all, err = b.repo.List(); err != nil || len(all) != 1 || all[0].Health != catalog.Damaged {
		t.Errorf("catalogue = %+v, %v, want one damaged entry", all, err)
	}
}
