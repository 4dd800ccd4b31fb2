//go:build !linux

package spawn

import (
	"os/exec"
	"syscall"
)

// StartPrepared is Start: what a thread is denied is Linux's.
func StartPrepared(cmd *exec.Cmd, orphaned syscall.Signal, _ func() error) error {
	return Start(cmd, orphaned)
}
