//go:build !unix

package spawn

import "os/exec"

// Apart does nothing where there are no process groups.
func Apart(*exec.Cmd) {}

// End ends the program with all that it started.
func End(cmd *exec.Cmd) { _ = cmd.Process.Kill() }
