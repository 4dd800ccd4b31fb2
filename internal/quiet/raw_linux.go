package quiet

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// These are system calls that never wait, made without telling the runtime: it would wake its monitor for each, to look whether they do.

// setTimer has a timer of timerfd_create go off in d.
func setTimer(fd uintptr, d time.Duration) {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}
	_, _, _ = syscall.RawSyscall6(unix.SYS_TIMERFD_SETTIME, fd, 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0) //nolint:gosec // a system call
}

// read is read(2) of a descriptor that does not block.
func read(fd uintptr, b []byte) (int, syscall.Errno) { return transfer(unix.SYS_READ, fd, b) }

// write is write(2) to a descriptor that does not block.
func write(fd uintptr, b []byte) (int, syscall.Errno) { return transfer(unix.SYS_WRITE, fd, b) }

// transfer moves some of b, which is not empty.
func transfer(call, fd uintptr, b []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b))) //nolint:gosec // a system call
		if errno != syscall.EINTR {
			return int(n), errno
		}
	}
}
