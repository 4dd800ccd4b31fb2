package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// Sweep removes what killed jobs left behind and settles their runs in the state. The caller holds
// the repository's lock, so that nothing it finds can be in use. It returns what it removed.
func (r *Repository) Sweep(ctx context.Context) ([]string, error) {
	if err := r.Present(); err != nil {
		return nil, err
	}
	// A run killed before its first entry in the journal left no more than a directory.
	drafts, err := os.ReadDir(filepath.Join(r.dir, tmpDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("sweep the repository: %w", err)
	}
	err = r.UpdateState(ctx, func(s *State) {
		*s = r.Settled(*s)
		for _, d := range drafts {
			if n, ok := sequenceOf(d.Name()); ok && n > s.LastSequence {
				at := timeOf(d.Name())
				*s = s.Failed(Failure{ID: d.Name(), At: at, Reason: failure.Killed, Message: "the run vanished at its beginning"})
				s.LastSequence = n
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("sweep the repository: %w", err)
	}
	var removed []string
	for _, sub := range []string{tmpDir, trashDir} {
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
	if _, ok := sequenceOf(id); !ok {
		return fmt.Errorf("remove backup %q: not a backup's id", id)
	}
	dir := r.Path(id)
	f, err := os.OpenFile(filepath.Join(dir, sumsFile), os.O_RDWR, 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // what can't be read is not deleted
		return fmt.Errorf("remove backup %s: %w", id, err)
	}
	if err == nil {
		defer f.Close()
		got, err := tryLock(f, true)
		if err == nil && !got {
			err = fmt.Errorf("it is being read: %w", ErrLocked)
		}
		if err != nil {
			return fmt.Errorf("remove backup %s: %w", id, err)
		}
	}
	if err := os.MkdirAll(filepath.Join(r.dir, trashDir), dirMode); err != nil {
		return fmt.Errorf("remove backup %s: %w", id, err)
	}
	trash := filepath.Join(r.dir, trashDir, id)
	if err := os.Rename(dir, trash); err != nil {
		return fmt.Errorf("remove backup %s: %w", id, err)
	}
	if err := syncDir(filepath.Dir(dir)); err != nil {
		return fmt.Errorf("remove backup %s: %w", id, err)
	}
	if err := os.RemoveAll(trash); err != nil {
		return fmt.Errorf("remove backup %s: %w", id, err)
	}
	return nil
}
