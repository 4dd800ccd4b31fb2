package clients

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
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

// tailWriter keeps the first and the last bytes written to it.
type tailWriter struct {
	head []byte
	buf  bytes.Buffer
}

const tailBytes = 4 << 10

func (t *tailWriter) Write(p []byte) (int, error) {
	n := min(len(p), tailBytes-len(t.head))
	t.head = append(t.head, p[:n]...)
	t.buf.Write(p[n:])
	if over := t.buf.Len() - tailBytes; over > 0 {
		t.buf.Next(over)
	}
	return len(p), nil
}

// String is what matters of it, on one line.
func (t *tailWriter) String() string { return Gist(string(t.head) + t.buf.String()) }

// Gist is what matters of what a program wrote to stderr, on one line: at most eight lines, from its first error on. PostgreSQL's programs
// tell the statement that failed behind the error, however long it is.
func Gist(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	const most = 8
	first := slices.IndexFunc(lines, func(line string) bool {
		_, said, ok := strings.Cut(line, ": ")
		return ok && (strings.HasPrefix(said, "error: ") || strings.HasPrefix(said, "fatal: "))
	})
	switch {
	case first < 0:
		first = max(0, len(lines)-most)
	case first > 0 && strings.Contains(lines[first-1], ": from TOC entry "): // pg_restore names what it was about
		first--
	}
	lines = lines[first:]
	if len(lines) > most {
		lines = slices.Concat(lines[:4], []string{"..."}, lines[len(lines)-3:])
	}
	return strings.Join(lines, "; ")
}
