package spawn

import (
	"errors"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// StartPrepared starts the command as Start does, from a thread of its own on which prepare has run. What prepare takes
// from the thread (rights, system calls) the child and all its children lack for good, and nobody else: the thread ends
// with the child.
func StartPrepared(cmd *exec.Cmd, orphaned syscall.Signal, prepare func() error) error {
	if err := children.files.answer(cmd.Path); err != nil {
		return err
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	setDeathSignal(cmd.SysProcAttr, orphaned)
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: a thread that lacks something must not serve another goroutine
		err := prepare()
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		if err == nil { // the death signal comes at this thread's end
			for errors.Is(unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
			}
		}
	}()
	return <-started
}
