package pgtest

import (
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"

	"github.com/pg-reliability/pg_reliability_exporter/internal/spawn"
)

// orphaned is what a server or program gets when the test dies: it must not outlive it.
const orphaned = syscall.SIGQUIT

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
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	cmd.Dir = "/"
	return cmd
}

// Spawn starts a program that must not outlive the test.
func Spawn(cmd *exec.Cmd) error { return spawn.Start(cmd, orphaned) }
