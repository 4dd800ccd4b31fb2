package restore

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// checkSpace refuses a restore that would fill the server's disk, on which the original lives too. It
// can tell only when the server's data directory is on this machine and readable; else it says nothing.
func (s *session) checkSpace(ctx context.Context, databases ...catalog.Database) error {
	if s.throwaway {
		return nil // its room was asked for before
	}
	var dir string
	var started, wal int64
	err := s.conn.QueryRow(ctx, `
		SELECT CASE WHEN pg_catalog.pg_has_role('pg_read_all_settings', 'USAGE')
		            THEN pg_catalog.current_setting('data_directory') ELSE '' END,
		       extract(epoch FROM pg_catalog.pg_postmaster_start_time())::bigint,
		       pg_catalog.pg_size_bytes(pg_catalog.current_setting('max_wal_size'))`).Scan(&dir, &started, &wal)
	if err != nil {
		return fmt.Errorf("ask the server for its data directory and max_wal_size: %w", err)
	}
	if !isDataDirectory(dir, started) {
		return nil
	}
	free, err := catalog.FreeBytes(dir)
	if err != nil {
		return err
	}
	var need int64
	for _, db := range databases {
		need += db.ServerBytes
	}
	logged := min(need, wal) // what is loaded is in the WAL, too, until the checkpoint after next
	need += need / 10        // sorting
	if own, err := s.checkWAL(filepath.Join(dir, "pg_wal"), dir, logged, wal); err != nil {
		return err
	} else if !own {
		need += logged
	}
	if free < need {
		return failure.New(failure.Space, "the server's disk (%s) has %d MB free, the restore needs about %d MB beside the original; nothing "+
			"was changed",
			dir, free>>20, need>>20).WithHint("Free space there, or restore into another server with --to.")
	}
	return nil
}

// checkWAL says whether the WAL has a disk of its own, and refuses a restore that would fill it: then the server itself goes down.
// Files that are there already are written anew, so that all of them together stay below max_wal_size, or a little above.
func (s *session) checkWAL(dir, data string, logged, most int64) (own bool, err error) {
	var there, here unix.Stat_t
	if known := unix.Stat(dir, &there) == nil && unix.Stat(data, &here) == nil; !known || there.Dev == here.Dev {
		return false, nil
	}
	free, err := catalog.FreeBytes(dir)
	if err != nil {
		return true, err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return true, fmt.Errorf("look into the server's WAL: %w", err)
	}
	var now int64
	for _, f := range files {
		if fi, err := f.Info(); err == nil && fi.Mode().IsRegular() {
			now += fi.Size()
		}
	}
	if need := min(logged, max(0, most-now)); free < need {
		return true, failure.New(failure.Space, "the disk of the server's WAL (%s) has %d MB free, the restore may write %d MB more to it; "+
			"nothing was changed", dir, free>>20, need>>20).
			WithHint("Free space there, lower the server's max_wal_size meanwhile, or restore into another server with --to.")
	}
	return true, nil
}

// isDataDirectory says whether a path here is the server's own and not one of the same name in
// another container: postmaster.pid holds the time it was started, within a second or two.
func isDataDirectory(dir string, started int64) bool {
	b, err := os.ReadFile(filepath.Join(dir, "postmaster.pid"))
	if dir == "" || err != nil {
		return false
	}
	lines := strings.Split(string(b), "\n")
	if len(lines) < 3 {
		return false
	}
	at, err := strconv.ParseInt(strings.TrimSpace(lines[2]), 10, 64)
	return err == nil && at-started <= 2 && started-at <= 2
}
