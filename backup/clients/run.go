package clients

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/spawn"
)

// Run starts a program in its own process group and waits for its end. When the context ends, the
// whole group is killed. When this process dies, in whatever way, the kernel kills the program
// (Linux). The error of a failed program holds the end of what it wrote to stderr, and wraps the
// context's error when that is the cause. cmd is made with exec.Command, not CommandContext.
func Run(ctx context.Context, cmd *exec.Cmd) error { return RunBy(ctx, cmd, spawn.Start) }

// Starter starts a program, which gets the signal when this process dies: spawn.Start, or a cage's.
type Starter func(cmd *exec.Cmd, orphaned syscall.Signal) error

// RunBy is Run with another way to start.
func RunBy(ctx context.Context, cmd *exec.Cmd, start Starter) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	tail := &tailWriter{}
	if cmd.Stderr == nil {
		cmd.Stderr = tail
	}
	cmd.WaitDelay = 10 * time.Second // a grandchild that keeps stderr open must not keep us
	if err := Start(cmd, syscall.SIGKILL, start); err != nil {
		return fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		killGroup(cmd.Process.Pid)
		err = <-done
		if cerr := context.Cause(ctx); err != nil || cerr != nil {
			err = errors.Join(cerr, err)
		}
	}
	if err != nil {
		killGroup(cmd.Process.Pid) // whatever it left in its group (parallel workers) ends with it
		return &ProgramError{Program: cmd.Args[0], Err: err, Stderr: tail.String()}
	}
	return nil
}

// Start starts a program in its own process group and returns. When this process dies, the kernel
// sends the program the signal (Linux).
func Start(cmd *exec.Cmd, orphaned syscall.Signal, start Starter) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	return start(cmd, orphaned)
}

// ProgramError is a program that did not end well.
type ProgramError struct {
	Program string
	Err     error
	Stderr  string // its last lines
}

func (e *ProgramError) Error() string {
	name := e.Program[strings.LastIndexByte(e.Program, '/')+1:]
	if e.Stderr == "" {
		return fmt.Sprintf("%s: %v", name, e.Err)
	}
	return fmt.Sprintf("%s: %v: %s", name, e.Err, e.Stderr)
}

func (e *ProgramError) Unwrap() error { return e.Err }

func killGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }

// tailWriter keeps the last bytes written to it.
type tailWriter struct{ buf bytes.Buffer }

const tailBytes = 4 << 10

func (t *tailWriter) Write(p []byte) (int, error) {
	t.buf.Write(p)
	if over := t.buf.Len() - tailBytes; over > 0 {
		t.buf.Next(over)
	}
	return len(p), nil
}

// String is the last lines, joined, at most eight.
func (t *tailWriter) String() string {
	lines := strings.Split(strings.TrimSpace(t.buf.String()), "\n")
	if len(lines) > 8 {
		lines = append([]string{lines[0], "..."}, lines[len(lines)-6:]...)
	}
	return strings.Join(lines, "; ")
}
