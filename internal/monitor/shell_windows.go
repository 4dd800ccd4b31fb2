package monitor

import (
	"context"
	"os/exec"
	"syscall"

	"golang.org/x/sys/windows"
)

// shell runs a command of the user's. cmd reads the rest of the line by rules of its own: with /S it takes off the outer
// quotes and leaves those of the command, as in "C:\Program Files\...\pg_ctl.exe" restart. What it starts is not on the
// screen's console: closing that would end it.
func shell(ctx context.Context, command string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "cmd.exe")
	cmd.SysProcAttr = &syscall.SysProcAttr{CmdLine: `cmd.exe /S /C "` + command + `"`, CreationFlags: windows.CREATE_NO_WINDOW}
	return cmd
}
