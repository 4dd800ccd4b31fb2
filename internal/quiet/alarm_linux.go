package quiet

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// timerfd is timerfd_create(2), which the runtime waits for as for a network connection.
type timerfd struct {
	file *os.File
	raw  syscall.RawConn
	read func(uintptr) bool
}

func newAlarm() alarm {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil
	}
	t := &timerfd{file: os.NewFile(uintptr(fd), "timerfd")}
	if t.raw, err = t.file.SyscallConn(); err != nil {
		_ = t.file.Close()
		return nil
	}
	var count [8]byte // how often it went off, of no interest
	t.read = func(fd uintptr) bool {
		_, errno := read(fd, count[:])
		return errno != syscall.EAGAIN
	}
	return t
}

func (t *timerfd) set(d time.Duration) {
	_ = t.raw.Control(func(fd uintptr) { setTimer(fd, max(d, 1)) }) // fails when it is closed, and then nobody waits
}

func (t *timerfd) wait() bool { return t.raw.Read(t.read) == nil }

func (t *timerfd) close() { _ = t.file.Close() }
