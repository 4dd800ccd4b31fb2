// Package spawn starts programs that must not outlive this one, even if it is killed.
package spawn

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// spawner starts children from one thread that lives as long as the process: the kernel's death signal is bound to the
// thread that forked.
type spawner struct {
	files files
	once  sync.Once
	queue chan func()
}

// children is the process's one spawning thread; it holds no state but which programs' files hang.
var children spawner

// Start starts the command, which gets the signal when this process dies. Systems other than Linux have no such signal:
// there it is a plain start.
func Start(cmd *exec.Cmd, orphaned syscall.Signal) error {
	if err := children.files.answer(cmd.Path); err != nil {
		return err
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	setDeathSignal(cmd.SysProcAttr, orphaned)
	return children.start(cmd)
}

func (s *spawner) start(cmd *exec.Cmd) error {
	s.once.Do(func() {
		s.queue = make(chan func())
		go func() {
			runtime.LockOSThread()
			for f := range s.queue {
				f()
			}
		}()
	})
	done := make(chan error)
	s.queue <- func() { done <- cmd.Start() }
	return <-done
}
