package catalog

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// dropCache asks the kernel to forget a synced file's pages, so that reading it reads the disk.
func dropCache(f *os.File) {
	// Advice only: a file system that ignores it still gives the right bytes.
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// Open file description locks belong to the open file, not to the process: two jobs in one process
// exclude each other, a child that inherits nothing keeps nothing, the kernel frees the lock of a
// killed job, and a reader can ask about one without taking it, even on a read-only mount.

func tryLock(f *os.File, exclusive bool) (bool, error) {
	kind := int16(unix.F_RDLCK)
	if exclusive {
		kind = unix.F_WRLCK
	}
	err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: kind})
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return false, nil
	}
	return err == nil, err
}

// isLocked asks whether somebody holds a lock on the file. The second result is false when the
// file system can't say.
func isLocked(f *os.File) (held, known bool) {
	l := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &l); err != nil {
		return false, false
	}
	return l.Type != unix.F_UNLCK, true
}

// dropLock ends a lock of tryLock, wherever else the file is open.
func dropLock(f *os.File) error {
	return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_UNLCK})
}

// belongs says whether a file is this process's user's.
func belongs(fi os.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

// changed is when a file's inode was last changed, and its number.
func changed(fi os.FileInfo) (ctime int64, inode uint64) {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return st.Ctim.Nano(), st.Ino
	}
	return 0, 0
}
