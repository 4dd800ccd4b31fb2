package pgtest

import (
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"strconv"
	"sync"
	"syscall"
)

// spawner starts children from one thread that lives as long as the program: Pdeathsig is
// bound to the thread that forked, and a server must not outlive a test that was killed.
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

// children is shared by all clusters of the program, as its one thread must be.
var children spawner

// serverUser is the system user servers run as: nobody's business unless we are root,
// as which postgres refuses to start.
func serverUser() (*syscall.Credential, int, int) {
	if os.Getuid() != 0 {
		return nil, os.Getuid(), os.Getgid()
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, uid, gid
		}
	}
	return &syscall.Credential{Uid: 65534, Gid: 65534}, 65534, 65534
}

// Command prepares a program to run as the servers' system user, so that it may read what they wrote.
func Command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cred, _, _ := serverUser()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	setDeathSignal(cmd.SysProcAttr)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	cmd.Dir = "/"
	return cmd
}

// Spawn starts another program that must not outlive the test.
func Spawn(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	setDeathSignal(cmd.SysProcAttr)
	return children.start(cmd)
}
