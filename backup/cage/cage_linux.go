package cage

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/pg-reliability/pg_reliability_exporter/internal/spawn"
)

// Missing says what of the cage this machine can't give.
func Missing() []Lack {
	var missing []Lack
	abi := landlockVersion()
	switch {
	case abi < 1:
		missing = append(missing, Lack{Files, "the kernel has no Landlock (5.13 and newer, unless switched off): " +
			"what the rehearsal's user may read and write, the backup's functions may"})
	case abi < 3:
		missing = append(missing, Lack{Truncate, "the kernel's Landlock can't keep files from being cut (6.2 and newer)"})
	}
	if abi < 6 {
		missing = append(missing, Lack{Signals, "the kernel's Landlock can't keep signals in (6.12 and newer)"})
	}
	if !filterThere() {
		missing = append(missing, Lack{Network, "there is no filter of system calls for this kernel or processor: the backup's functions may " +
			"have the network"})
	}
	return missing
}

func (c *Cage) start(cmd *exec.Cmd, orphaned syscall.Signal) error {
	asRoot := os.Geteuid() == 0 && (cmd.SysProcAttr == nil || cmd.SysProcAttr.Credential == nil)
	err := spawn.StartPrepared(cmd, orphaned, func() error { return c.enter(asRoot) })
	if err != nil {
		return err
	}
	// No picture of other people's data in a core file.
	_ = unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_CORE, &unix.Rlimit{}, nil)
	return nil
}

// enter restricts the calling thread for good.
func (c *Cage) enter(asRoot bool) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("enter the cage: no_new_privs: %w", err)
	}
	if asRoot {
		dropCapabilities()
	}
	if err := c.restrictFiles(); err != nil {
		return fmt.Errorf("enter the cage: %w", err)
	}
	if err := c.filterCalls(); err != nil {
		return fmt.Errorf("enter the cage: %w", err)
	}
	return nil
}

// dropCapabilities leaves root's program no more than to enter directories of another user: the throwaway server's.
// Where root has not even the right to drop them, it has few.
func dropCapabilities() {
	for capability := uintptr(0); capability < 64; capability++ {
		if capability != unix.CAP_DAC_READ_SEARCH {
			_ = unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0)
		}
	}
	_ = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
}

const (
	readFile = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_EXECUTE
	readDir  = readFile | unix.LANDLOCK_ACCESS_FS_READ_DIR
	// writeFile are the rights that a rule on a file may have.
	writeFile = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	writeDir  = writeFile | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_MAKE_CHAR |
		unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK | unix.LANDLOCK_ACCESS_FS_MAKE_SYM | unix.LANDLOCK_ACCESS_FS_REFER
)

// handled are the rights that a version of Landlock knows.
func handled(abi int) (files, net, scoped uint64) {
	files = readDir | writeDir
	if abi < 2 {
		files &^= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi < 3 {
		files &^= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi < 5 {
		files &^= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if abi >= 4 {
		net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if abi >= 6 {
		scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	}
	return files, net, scoped
}

// restrictFiles uses Landlock: https://docs.kernel.org/userspace-api/landlock.html
func (c *Cage) restrictFiles() error {
	abi := landlockVersion()
	if abi < 1 {
		return nil
	}
	files, net, scoped := handled(abi)
	if c.Network {
		net = 0
	}
	if c.AnyFile {
		files &^= readDir
	}
	// A kernel takes a structure that is longer than its own when the rest is zero.
	attr := unix.LandlockRulesetAttr{Handled_access_fs: files, Handled_access_net: net, Scoped: scoped}
	set, err := createRuleset(&attr)
	if err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	defer unix.Close(set)
	for _, path := range c.readable() {
		if err := allow(set, path, files&readDir); err != nil {
			return err
		}
	}
	for _, path := range append([]string{os.DevNull}, c.Write...) {
		if err := allow(set, path, files&(readDir|writeDir)); err != nil {
			return err
		}
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(set), 0, 0); errno != 0 {
		return fmt.Errorf("landlock: %w", errno)
	}
	return nil
}

// allow adds a rule for a path and what is below it. One that is not there needs none.
func allow(set int, path string, rights uint64) error {
	if rights == 0 {
		return nil
	}
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		path = resolved
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("landlock: %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= readFile | writeFile
	}
	if err := addRule(set, fd, rights); err != nil {
		return fmt.Errorf("landlock: %s: %w", path, err)
	}
	return nil
}
