package clients

import (
	"os"

	"golang.org/x/sys/unix"
)

// inherited says that programs read the file through its descriptor.
const inherited = true

func secretFile() (*os.File, func() error, error) {
	fd, err := unix.MemfdCreate("pg_reliability", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "memfd")
	if err := f.Chmod(0o600); err != nil { // libpq ignores a password file that others may read
		_ = f.Close()
		return nil, nil, err
	}
	return f, func() error { return nil }, nil
}
