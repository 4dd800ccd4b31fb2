package catalog

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// FreeBytes is what an unprivileged process may still write on the file system of a directory.
func FreeBytes(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("ask for the free space of %s: %w", dir, err)
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}
