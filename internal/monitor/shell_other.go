//go:build !windows

package monitor

import (
	"context"
	"os/exec"
)

// shell runs a command of the user's.
func shell(ctx context.Context, command string) *exec.Cmd {
	return exec.CommandContext(ctx, "/bin/sh", "-c", command)
}
