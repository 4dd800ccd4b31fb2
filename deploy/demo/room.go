package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

// roomPrefix is where rooms are made: short, because the server's unix socket lies in one.
const roomPrefix = "/tmp/pg_reliability_demo-"

// room is the directory that holds everything of one demo. Its lock is held as long as the demo lives, so that the
// next one can tell, and sweep, what a demo that was killed has left.
type room struct {
	dir  string
	lock *flock.Flock
}

func openRoom() (*room, error) {
	sweep()
	dir, err := os.MkdirTemp(filepath.Dir(roomPrefix), filepath.Base(roomPrefix))
	if err != nil {
		return nil, fmt.Errorf("make a directory for the demo: %w", err)
	}
	// Root's server runs as another user, who must be able to walk through.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open the demo's directory to its server: %w", err)
	}
	r := &room{dir: dir, lock: flock.New(filepath.Join(dir, "lock"))}
	if err := r.lock.Lock(); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), os.RemoveAll(dir))
	}
	return r, nil
}

func (r *room) path(name string) string { return filepath.Join(r.dir, name) }

func (r *room) close() error {
	if err := errors.Join(removeRoom(r.dir), r.lock.Close()); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	return nil
}

// removeRoom removes the lock last: a room without one is nobody's, and no later demo would sweep what a process that was still
// writing has kept from being removed.
func removeRoom(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if e.Name() != "lock" {
			errs = append(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// sweep removes rooms of ours whose demo is gone.
func sweep() {
	rooms, _ := filepath.Glob(roomPrefix + "*")
	for _, dir := range rooms {
		fi, err := os.Lstat(filepath.Join(dir, "lock"))
		// A demo that has only just begun may not hold its lock yet.
		if err != nil || !fi.Mode().IsRegular() || time.Since(fi.ModTime()) < time.Second || int(fi.Sys().(*syscall.Stat_t).Uid) != os.Getuid() {
			continue
		}
		lock := flock.New(filepath.Join(dir, "lock"))
		if ok, err := lock.TryLock(); err == nil && ok {
			_ = removeRoom(dir) // what can't be removed yet is swept by a later demo
		}
		_ = lock.Close()
	}
}

// copyProgram puts a program where the server's user can read it, whoever owns the clone.
func (r *room) copyProgram(from string) (string, error) {
	in, err := os.Open(from)
	if err != nil {
		return "", err
	}
	defer in.Close()
	to := r.path(filepath.Base(from))
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(out, in)
	return to, errors.Join(err, out.Close(), os.Chmod(to, 0o755))
}
