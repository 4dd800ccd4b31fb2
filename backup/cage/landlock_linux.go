package cage

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The three calls of Landlock, which golang.org/x/sys has no functions for. A library has them, but for all threads
// of a process at once; here it is one thread, that which starts the child.

// landlockVersion is the kernel's version of Landlock, 0 where there is none.
func landlockVersion() int {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(v)
}

func createRuleset(attr *unix.LandlockRulesetAttr) (int, error) {
	// Up to Scoped: the fields that the oldest kernels with them know.
	size := unsafe.Offsetof(attr.Quiet_access_fs)
	switch abi := landlockVersion(); {
	case abi < 4:
		size = unsafe.Offsetof(attr.Handled_access_net)
	case abi < 6:
		size = unsafe.Offsetof(attr.Scoped)
	}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(attr)), size, 0) //nolint:gosec // the kernel's interface
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

func addRule(set, fd int, rights uint64) error {
	rule := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(set), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&rule)), 0, 0, 0) //nolint:gosec // the kernel's interface
	if errno != 0 {
		return errno
	}
	return nil
}
