package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// TestPgBackRestFromTheCommandLine: the same commands, list and metrics as for our own dumps, and a
// server restored to a moment.
func TestPgBackRestFromTheCommandLine(t *testing.T) {
	b := newBench(t)
	conf := filepath.Join(b.pg.Dir, "pgbackrest.conf")
	text := fmt.Sprintf("[global]\nrepo1-path=%[1]s/repo\nrepo1-bundle=y\ncompress-type=lz4\nlog-path=%[1]s\nlock-path=%[1]s/lock\nspool-path=%[1]s/spool\nstart-fast=y\n"+
		"[main]\npg1-path=%[2]s\npg1-port=%[3]d\npg1-socket-path=%[1]s\npg1-user=postgres\n", b.pg.Dir, b.pg.DataDir(), b.pg.Port)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil { //nolint:gosec // the server's user reads it
		t.Fatal(err)
	}
	if err := b.pg.Configure(map[string]string{
		"archive_mode": "on", "archive_command": "'pgbackrest --config=" + conf + " --stanza=main archive-push %p'",
	}); err != nil {
		t.Fatal(err)
	}
	if err := b.pg.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.env = []string{"PG_RELIABILITY_BACKUP_ENGINE=pgbackrest", "PG_RELIABILITY_BACKUP_PGBACKREST_CONFIG=" + conf}
	b.want(exitRepository, "run")
	if out, err := pgtest.Command("pgbackrest", "--config="+conf, "--stanza=main", "stanza-create").CombinedOutput(); err != nil {
		t.Fatalf("stanza-create: %v: %s", err, out)
	}
	id := b.run("--verify")
	if got := b.list()[0]; got.Health != catalog.Verified || got.Manifest.External == nil || got.Manifest.External.Type != "full" {
		t.Errorf("backup = %+v", got)
	}
	b.must("refresh")
	s := b.gather()
	s.expect(t, "count{state=verified}", 1)
	s.absent(t, "last_rows")
	b.want(exitConfig, "restore", "--database", "shop")

	time.Sleep(time.Until(b.list()[0].Manifest.RecoveryPoint.Add(time.Second))) // pgBackRest's times are whole seconds
	b.exec("shop", "INSERT INTO item (v) VALUES ('before')")
	at, err := b.pg.Query(t.Context(), "shop", `to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`)
	if err != nil {
		t.Fatal(err)
	}
	b.exec("shop", "INSERT INTO item (v) VALUES ('after')", "SELECT pg_switch_wal()")
	pgtest.Eventually(t, 15*time.Second, func() error {
		got, err := b.pg.Query(t.Context(), "postgres", "SELECT pg_walfile_name(pg_current_wal_lsn() - 1) <= last_archived_wal FROM "+
			"pg_stat_archiver")
		if err == nil && got != "true" {
			err = fmt.Errorf("not archived yet")
		}
		return err
	})
	dir := filepath.Join(b.pg.Dir, "restored")
	b.want(exitNothing, "restore", "--data-dir", dir, "--at", "2020-01-01T00:00:00Z")
	if out := b.must("restore", "--data-dir", dir, "--at", at); !strings.Contains(out, id) || !strings.Contains(out, "archives no WAL") {
		t.Errorf("restore: %s", out)
	}
	b.want(exitRefused, "restore", "--data-dir", dir, "--at", at)
	restored := startRestored(t, b, dir)
	if got, err := restored.Query(t.Context(), "shop", "SELECT string_agg(v, ' ') FROM item WHERE id > 2000"); err != nil || got != "before" {
		t.Errorf("restored rows = %q, %v, want those before the moment", got, err)
	}

	// The daemon keeps the recovery point at now, without a run.
	d := b.daemon("--cron", "0 0 1 1 *")
	defer d.stop()
	pgtest.Eventually(t, 20*time.Second, func() error {
		code, page, err := d.get("/metrics")
		if err != nil || code != http.StatusOK {
			return fmt.Errorf("%d, %w", code, err)
		}
		for line := range strings.Lines(page) {
			var age float64
			if n, _ := fmt.Sscanf(line, "pg_reliability_rpo_seconds %g", &age); n == 1 && age < 10 {
				return nil
			}
		}
		return fmt.Errorf("no recovery point of the last 10 s")
	})
}

// startRestored starts a server on a restored directory and waits until it has left recovery.
func startRestored(t *testing.T, b *bench, dir string) *pgtest.Cluster {
	t.Helper()
	port, err := pgtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	ctl := func(args ...string) {
		if out, err := pgtest.Command(b.pg.Install.Bin("pg_ctl"), append([]string{"-D", dir}, args...)...).CombinedOutput(); err != nil {
			t.Errorf("pg_ctl %v: %v: %s", args, err, out)
		}
	}
	ctl("-l", dir+".log", "-w", "-o", fmt.Sprintf("-p %d", port), "start")
	t.Cleanup(func() { ctl("-m", "immediate", "stop") })
	c := &pgtest.Cluster{Port: port}
	pgtest.Eventually(t, 20*time.Second, func() error {
		recovering, err := c.Query(context.Background(), "shop", "pg_is_in_recovery()")
		if err == nil && recovering != "false" {
			err = fmt.Errorf("it is in recovery")
		}
		return err
	})
	return c
}
