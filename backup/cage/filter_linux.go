package cage

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// architecture is the processor's kind as the kernel calls it, 0 where the filter does not know it.
var architecture = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}[runtime.GOARCH]

// denied are calls that no server and no client program needs: to look into other processes, to leave the cage by another
// way in, or to do any of that where no filter looks (io_uring).
var denied = []uint32{
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_KCMP, unix.SYS_PIDFD_GETFD, unix.SYS_SETNS,
	unix.SYS_UNSHARE, unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE, unix.SYS_FSOPEN, unix.SYS_PIVOT_ROOT,
	unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_KEYCTL, unix.SYS_ADD_KEY,
	unix.SYS_REQUEST_KEY, unix.SYS_IO_URING_SETUP, unix.SYS_KEXEC_LOAD, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE,
}

// Where the kernel puts a call's number, architecture and arguments (struct seccomp_data; the processors are little-endian).
const (
	atNumber, atArchitecture, atFirst, atSecond = 0, 4, 16, 24
	// x32 calls have other numbers on the same processor.
	x32 = 0x40000000
	// sockTypes leaves SOCK_CLOEXEC and SOCK_NONBLOCK aside.
	sockTypes = 0xf
)

// filterCalls keeps the thread from all sockets but unix ones of the stream kind, and, unless it is a client, from connecting
// any: a server of ours only listens. https://docs.kernel.org/userspace-api/seccomp_filter.html
func (c *Cage) filterCalls() error {
	if !filterThere() {
		return nil
	}
	program := c.filter()
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0) //nolint:gosec // the kernel's interface
	runtime.KeepAlive(program)
	if err != nil {
		return fmt.Errorf("filter system calls: %w", err)
	}
	return nil
}

// filterThere says whether the kernel takes such a filter, and we can write it.
func filterThere() bool {
	action := uint32(unix.SECCOMP_RET_ERRNO)
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action))) //nolint:gosec // the kernel's interface
	return architecture != 0 && errno == 0
}

func (c *Cage) filter() []unix.SockFilter {
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	end := func(what uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: what} }
	// unless skips so many instructions when the loaded value is k, else none.
	unless := func(k uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jt: skip}
	}
	// when skips so many instructions when the loaded value is not k.
	when := func(k uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jf: skip}
	}
	refuse := end(unix.SECCOMP_RET_ERRNO | uint32(unix.EACCES))
	f := []unix.SockFilter{
		load(atArchitecture), unless(architecture, 1), refuse,
		load(atNumber), {Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: x32, Jf: 1}, refuse,
	}
	for _, call := range denied {
		f = append(f, when(call, 1), refuse)
	}
	if c.Network {
		return append(f, end(unix.SECCOMP_RET_ALLOW))
	}
	if !c.Connect {
		f = append(f, when(unix.SYS_CONNECT, 1), refuse)
	}
	return append(f,
		when(unix.SYS_SOCKET, 6),
		load(atFirst), unless(unix.AF_UNIX, 1), refuse,
		load(atSecond), unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: sockTypes},
		when(unix.SOCK_STREAM, 1),
		end(unix.SECCOMP_RET_ALLOW), refuse,
	)
}
