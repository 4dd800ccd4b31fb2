package pgdump_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/job"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// TestSmallDatabasesAreDumpedBesideLargerOnes: they are done while a larger one still waits for a lock. Where the role may not have so
// many sessions, it is one after the other.
func TestSmallDatabasesAreDumpedBesideLargerOnes(t *testing.T) {
	pg := newServer(t, `CREATE DATABASE large`)
	exec(t, pg, "large", `CREATE TABLE t AS SELECT g AS i, repeat('x', 1000) AS x FROM generate_series(1, 12000) g`)
	b := newBench(t, pg, backupRole)
	conn, err := pgx.Connect(t.Context(), pg.DSN(pgtest.Superuser, "large"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	b.job.Request.LockWait = time.Hour
	ended := make(chan error, 1)
	var got job.Result
	go func() {
		var err error
		got, err = b.job.Run(t.Context())
		ended <- err
	}()
	pgtest.Eventually(t, 20*time.Second, func() error {
		found, err := filepath.Glob(filepath.Join(b.repo.Dir(), "tmp", "*", "databases", "postgres.dump"))
		if len(found) != 1 {
			return fmt.Errorf("there is no archive of the small database: %w", errors.Join(err, os.ErrNotExist))
		}
		return nil
	})
	if _, err := conn.Exec(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if got := databases(*got.Backup); got != "large postgres" {
		t.Errorf("the backup has %s", got)
	}
	exec(t, pg, "postgres", `ALTER ROLE `+backupRole+` CONNECTION LIMIT 9`)
	if got := databases(b.run("")); got != "large postgres" {
		t.Errorf("with a limit of 9 sessions, the backup has %s", got)
	}
}
