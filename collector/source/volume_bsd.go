//go:build darwin || freebsd

package source

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// statVolume asks the kernel about the file system that holds path. It may never return.
func statVolume(path string) (volumeStat, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return volumeStat{}, fmt.Errorf("statfs: %w", err)
	}
	unit := uint64(fs.Bsize)
	return volumeStat{
		size:       fs.Blocks * unit,
		free:       fs.Bfree * unit,
		available:  uint64(max(fs.Bavail, 0)) * unit, // FreeBSD counts below zero into root's reserve
		inodes:     fs.Files,
		inodesFree: uint64(max(fs.Ffree, 0)),
		readOnly:   fs.Flags&unix.MNT_RDONLY != 0,
		device:     unix.ByteSliceToString(fs.Mntfromname[:]),
		fstype:     unix.ByteSliceToString(fs.Fstypename[:]),
		mountpoint: unix.ByteSliceToString(fs.Mntonname[:]),
	}, nil
}
