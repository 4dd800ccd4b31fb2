package scratch

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sweepAge is how old a room must be to be taken for one whose job is gone.
const sweepAge = 10 * time.Second

// Sweep removes the rooms in a directory whose jobs are gone, and ends servers they left running.
// What it can't remove it leaves to the next time.
func Sweep(base string) {
	rooms, _ := filepath.Glob(filepath.Join(base, prefix+"*"))
	for _, dir := range rooms {
		// One that is being made this moment is not locked yet. One of the future is old: the clock was set back.
		if fi, err := os.Lstat(filepath.Join(dir, ownerFile)); err != nil || time.Since(fi.ModTime()).Abs() < sweepAge {
			continue
		}
		f, err := os.OpenFile(filepath.Join(dir, ownerFile), os.O_RDWR, 0)
		if err != nil {
			continue // another user's
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			endServer(filepath.Join(dir, "data"))
			_ = os.RemoveAll(dir)
		}
		_ = f.Close()
	}
}

// readPlain reads the beginning of a regular file. In a directory that others write to, a pipe would wait for ever, and a link could
// lead to what has no end.
func readPlain(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: %w", path, errors.Join(err, os.ErrInvalid))
	}
	const most = 4096
	b, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return b, nil
}

// endServer kills the server of an abandoned data directory, told by its working directory: a
// process id alone may be somebody else's by now.
func endServer(data string) {
	b, err := readPlain(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return
	}
	line, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(line)
	if err != nil || pid <= 1 {
		return
	}
	if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err != nil || cwd != data {
		return
	}
	_ = syscall.Kill(pid, syscall.SIGQUIT)
	for deadline := time.Now().Add(stopTimeout); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if syscall.Kill(pid, 0) != nil {
			return
		}
	}
}
