package clients

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// spawner starts children from one thread that lives as long as the process: the kernel's death
// signal is bound to the thread that forked.
type spawner struct {
	once  sync.Once
	queue chan func()
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

// children is the process's one spawning thread; it holds no other state.
var children spawner

func start(cmd *exec.Cmd, orphaned syscall.Signal) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	setDeathSignal(cmd.SysProcAttr, orphaned)
	return children.start(cmd)
}
