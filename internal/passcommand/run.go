package passcommand

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/smallfile"
	"github.com/pg-reliability/pg_reliability_exporter/internal/spawn"
)

// longest is how many bytes a password may have; cloud tokens have up to some 4,000.
const longest = 16 << 10

// run starts the program, and returns its output's first line once it has ended well. No part of what it writes is in an
// error, and its second stream goes nowhere: programs print what they were given.
func (c *Command) run() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	cmd := exec.Command(c.argv[0], c.argv[1:]...)
	cmd.Env = c.environ
	cmd.WaitDelay = time.Second // for what the program started and left behind with its output open
	spawn.Apart(cmd)
	out := &firstLine{}
	cmd.Stdout = out
	switch err := spawn.Start(cmd, syscall.SIGKILL); {
	case errors.As(err, new(*smallfile.Hanging)):
		return "", fmt.Errorf("the password command can't be started: %w", err)
	case err != nil:
		return "", fmt.Errorf("the password command can't be started: %w. HINT: Name an executable file that the exporter's user may run", err)
	}
	stop := context.AfterFunc(ctx, func() { spawn.End(cmd) })
	err := cmd.Wait()
	stop()
	hint := "HINT: Run it as the user of this process and look at its first line: " + c.name()
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("the password command has not ended within %s and was killed. HINT: Find out by running it what %s waits for, "+
			"or give it longer with --password.command-timeout", c.timeout, c.name())
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return "", fmt.Errorf("the password command failed: %w. %s", err, hint)
	case out.tooLong:
		return "", fmt.Errorf("the password command printed a first line of more than %d bytes. %s", longest, hint)
	}
	password := strings.TrimSuffix(out.text.String(), "\r")
	if password == "" {
		return "", fmt.Errorf("the password command printed no password. %s", hint)
	}
	if strings.ContainsRune(password, 0) {
		return "", fmt.Errorf("the password command printed a zero byte. %s", hint)
	}
	return password, nil
}

// firstLine keeps the first line of what is written, up to a bound, and takes the rest without keeping it.
type firstLine struct {
	text           strings.Builder
	ended, tooLong bool
}

func (f *firstLine) Write(p []byte) (int, error) {
	if f.ended || f.tooLong {
		return len(p), nil
	}
	line, _, ended := strings.Cut(string(p), "\n")
	if f.text.Len()+len(line) > longest {
		f.tooLong = true
		return len(p), nil
	}
	f.text.WriteString(line)
	f.ended = ended
	return len(p), nil
}
