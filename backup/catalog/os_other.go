//go:build !linux

package catalog

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func dropCache(*os.File) {}

func tryLock(f *os.File, exclusive bool) (bool, error) {
	how := unix.LOCK_SH
	if exclusive {
		how = unix.LOCK_EX
	}
	err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

func isLocked(f *os.File) (held, known bool) {
	got, err := tryLock(f, true)
	if err != nil {
		return false, false
	}
	if got {
		_ = unix.Flock(int(f.Fd()), unix.LOCK_UN)
	}
	return !got, true
}

// dropLock ends a lock of tryLock, wherever else the file is open.
func dropLock(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_UN) }

func belongs(os.FileInfo) bool { return true }

// changed is not known in one way on all systems: size and time of modification decide there.
func changed(os.FileInfo) (ctime int64, inode uint64) { return 0, 0 }
