package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// Sweep removes what killed jobs left behind and settles their runs in the state. The caller holds
// the repository's lock, so that nothing it finds can be in use. It returns what it removed.
func (r *Repository) Sweep(ctx context.Context) ([]string, error) {
	if err := r.Present(); err != nil {
		return nil, err
	}
	if err := r.UpdateState(ctx, func(s *State) { *s = r.Settled(*s) }); err != nil {
		return nil, fmt.Errorf("sweep the repository: %w", err)
	}
	if unfinished, err := filepath.Glob(filepath.Join(r.dir, indexFile+".*")); err == nil {
		for _, path := range unfinished { // whoever writes one at the moment goes without
			_ = os.Remove(path)
		}
	}
	var removed []string
	for _, sub := range []string{tmpDir, trashDir} {
		// What a link leads to is not ours to empty.
		if fi, err := os.Lstat(filepath.Join(r.dir, sub)); err == nil && !fi.IsDir() {
			return removed, failure.New(failure.Repository, "sweep the repository: %s is no directory, and what is in it would be deleted",
				filepath.Join(r.dir, sub)).
				WithHint("Remove it: it is made anew. To have the repository elsewhere, move or mount all of it.")
		}
		entries, err := os.ReadDir(filepath.Join(r.dir, sub))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return removed, fmt.Errorf("sweep the repository: %w", err)
		}
		for _, e := range entries {
			name := filepath.Join(sub, e.Name())
			if err := os.RemoveAll(filepath.Join(r.dir, name)); err != nil {
				return removed, fmt.Errorf("sweep the repository: %w", err)
			}
			removed = append(removed, name)
		}
	}
	return removed, nil
}

// Remove deletes a published backup: renamed out of the list first, so that a half-deleted one is
// never in it. The caller holds the repository's lock. A backup that someone reads (Hold) stays,
// and the error wraps ErrLocked.
func (r *Repository) Remove(id string) error {
	return r.RemoveAll([]string{id})[id]
}

// RemoveAll deletes published backups as Remove does, many at the cost of one: it is the syncs that take time. It returns an error for
// each that is left.
func (r *Repository) RemoveAll(ids []string) map[string]error {
	failed := map[string]error{}
	fail := func(id string, err error) {
		failed[id] = fmt.Errorf("remove backup %s: %w", id, err)
	}
	trash := filepath.Join(r.dir, trashDir)
	err := r.Present()
	if err == nil {
		err = os.MkdirAll(trash, dirMode)
	}
	var moved []string
	for _, id := range ids {
		e := err
		if _, ok := sequenceOf(id); !ok {
			e = errors.New("it is not a backup's id")
		}
		if e == nil {
			e = r.moveAway(id)
		}
		if e != nil {
			fail(id, e)
		} else {
			moved = append(moved, id)
		}
	}
	if len(moved) == 0 {
		return failed
	}
	// The names' change must be on the disk before the files' end: a backup that came back after a power cut would lack them.
	for _, dir := range []string{filepath.Join(r.dir, backupsDir), trash} {
		if err := syncDir(dir); err != nil {
			for _, id := range moved {
				fail(id, err)
			}
			return failed
		}
	}
	var mu sync.Mutex
	atOnce(len(moved), func(i int) {
		if err := os.RemoveAll(filepath.Join(trash, moved[i])); err != nil {
			mu.Lock()
			defer mu.Unlock()
			fail(moved[i], err)
		}
	})
	return failed
}

// moveAway takes a backup out of the list, unless somebody reads it.
func (r *Repository) moveAway(id string) error {
	dir := r.Path(id)
	f, err := os.OpenFile(filepath.Join(dir, sumsFile), os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // what can't be read is not deleted
		return err
	}
	if err == nil {
		defer func() { _ = f.Close() }()
		got, err := tryLock(f, true)
		if err == nil && !got {
			err = fmt.Errorf("it is being read: %w", ErrLocked)
		}
		if err != nil {
			return err
		}
	}
	return os.Rename(dir, filepath.Join(r.dir, trashDir, id))
}
