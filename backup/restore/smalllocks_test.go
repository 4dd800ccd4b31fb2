package restore_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/restore"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// A server's table of locks may be too small for all tables of a database and their indexes at once. pg_dump needs the tables' only: what
// it could dump there comes back there.
func TestATableOfLocksAsSmallAsTheSourcesIsEnough(t *testing.T) {
	t.Parallel()
	const partitions = 500
	small := map[string]string{
		"max_connections": "75", "autovacuum_max_workers": "1", "max_wal_senders": "0", "max_worker_processes": "0",
		"max_locks_per_transaction": "10", "max_pred_locks_per_transaction": "10",
	}
	b := newServer(t, pgtest.Options{Settings: small})
	b.exec(t, "postgres", "CREATE DATABASE big")
	b.exec(t, "big", "CREATE TABLE p (i int PRIMARY KEY, s serial) PARTITION BY RANGE (i)")
	for from := 0; from < partitions; from += 50 { // a transaction each: its locks are few
		b.exec(t, "big", fmt.Sprintf(`DO $$ BEGIN FOR k IN %d..%d LOOP
			EXECUTE format('CREATE TABLE p%%s PARTITION OF p FOR VALUES FROM (%%s) TO (%%s)', k, 10 * k, 10 * k + 10);
			END LOOP; END $$`, from, from+49))
	}
	for from := 0; from < 10*partitions; from += 500 {
		b.exec(t, "big", fmt.Sprintf("INSERT INTO p SELECT g FROM generate_series(%d, %d, 7) g", from, from+499))
	}
	backup := b.run(t)
	full := "BEGIN; SELECT count(*) FROM p" // locks all of them, and their indexes
	if err := b.pg.ExecIn(t.Context(), "big", full); err == nil {
		t.Fatalf("the table of locks is not too small: %s was done", full)
	}
	fresh := pgtest.New(t, pgtest.Options{NoMonitorRole: true, Settings: small})
	out, err := b.restorer(t, fresh).Bootstrap(context.Background(), restore.BootstrapOptions{})
	if err != nil || !slices.Contains(out.Databases, "big") || out.Rows != backup.Manifest.Rows() {
		t.Errorf("bootstrap: %+v, %v", out, err)
	}
}
