package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// ErrLocked is wrapped by the error for a repository another job works on.
var ErrLocked = errors.New("another job holds the lock")

// lockRetry is how long a lock that is held only for moments is awaited between two tries.
const lockRetry = 10 * time.Millisecond

// Lock keeps others from adding or removing backups until it is released, or this process ends
// in whatever way. A lock that is held is an error at once, of reason failure.Locked.
func (r *Repository) Lock() (release func(), err error) {
	f, err := r.openLock(filepath.Join(r.dir, lockRun))
	if err != nil {
		return nil, err
	}
	got, err := tryLock(f, true)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
	}
	if !got {
		_ = f.Close()
		return nil, failure.New(failure.Locked, "repository %s: %w", r.dir, ErrLocked).
			WithHint("`pg_reliability_backup list` says since when; wait for it to end.")
	}
	return func() { unlock(f) }, nil
}

// lockWait takes a short lock, waiting for it.
func (r *Repository) lockWait(ctx context.Context, name string) (func(), error) {
	f, err := r.openLock(filepath.Join(r.dir, name))
	if err != nil {
		return nil, err
	}
	for {
		got, err := tryLock(f, true)
		if got {
			return func() { unlock(f) }, nil
		}
		if err == nil {
			select {
			case <-time.After(lockRetry):
				continue
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
	}
}

// Hold keeps a published backup from being removed while it is read.
func (r *Repository) Hold(id string) (release func(), err error) {
	f, err := openFile(filepath.Join(r.Path(id), sumsFile))
	if err != nil {
		return nil, fmt.Errorf("hold backup %s: %w", id, ofFile(sumsFile, err))
	}
	got, err := tryLock(f, false)
	if err == nil && !got {
		err = ErrLocked
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("hold backup %s: %w", id, err), f.Close())
	}
	return func() { unlock(f) }, nil
}

// unlock gives a lock back. Closing alone would not while somebody else in this process is between fork and exec: the
// child has the file open until then, and with it the lock.
func unlock(f *os.File) {
	_ = dropLock(f)
	_ = f.Close()
}

// openLock opens a lock file, making it where it is missing.
func (r *Repository) openLock(path string) (*os.File, error) {
	if err := r.Present(); err != nil { // never write into the mount point of a missing disk
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, fileMode)
	if err != nil {
		return nil, r.unwritable(fmt.Errorf("open the lock file: %w", err))
	}
	return f, nil
}

// Busy says whether a job holds the repository's lock. The second result is false when that can't be told.
func (r *Repository) Busy() (busy, known bool) {
	f, err := openFile(filepath.Join(r.dir, lockRun))
	if errors.Is(err, fs.ErrNotExist) {
		return false, true
	}
	if err != nil {
		return false, false
	}
	defer f.Close()
	return isLocked(f)
}

// Attend says that a daemon looks after the backups of a server, "" while it is not known which, until it is released, or this process
// ends in whatever way. Several may at once.
// The lock is zero where the system has nothing to tell it by.
func (r *Repository) Attend(server string) (lock DaemonLock, release func(), err error) {
	f, err := r.openLock(filepath.Join(r.dir, daemonLock(server)))
	if err != nil {
		return DaemonLock{}, nil, err
	}
	fi, err := f.Stat()
	if err == nil {
		var got bool
		if got, err = tryLock(f, false); err == nil && !got {
			err = ErrLocked
		}
	}
	if err != nil {
		return DaemonLock{}, nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
	}
	return lockOf(fi), func() { unlock(f) }, nil
}

// lockOf tells a daemon's lock from others, as this machine sees it.
func lockOf(fi os.FileInfo) DaemonLock {
	_, inode := changed(fi)
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id") // proc_sys_kernel(5)
	if err != nil || inode == 0 {
		return DaemonLock{}
	}
	return DaemonLock{Inode: inode, Boot: strings.TrimSpace(string(boot))}
}

// Attended says whether the daemon that made the schedule lives, or another one of its server. The second result is false when that
// can't be told: without a daemon, of one of an older program or on another machine, in a copy of the repository, and where locks don't
// work.
func (r *Repository) Attended(s *Schedule) (attended, known bool) {
	if s == nil || s.Lock == (DaemonLock{}) {
		return false, false
	}
	f, err := openFile(filepath.Join(r.dir, daemonLock(s.Server)))
	if err != nil {
		return false, false
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return false, false
	}
	if lockOf(fi) != s.Lock {
		return false, false
	}
	return isLocked(f)
}
