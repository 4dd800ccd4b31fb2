//go:build unix

package httpserver

import "golang.org/x/sys/unix"

// openFiles is how many files the process may have open; 0 is unknown.
func openFiles() uint64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return uint64(limit.Cur) //nolint:unconvert // FreeBSD has it signed
}
