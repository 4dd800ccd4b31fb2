//go:build unix

package spawn

import (
	"os/exec"
	"syscall"
)

// Apart gives the program a process group of its own, which ends with all that it started.
func Apart(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// End ends the program with all that it started.
func End(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
