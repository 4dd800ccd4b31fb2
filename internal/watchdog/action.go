package watchdog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/containers"
	"github.com/pg-reliability/pg_reliability_exporter/internal/smallfile"
	"github.com/pg-reliability/pg_reliability_exporter/internal/spawn"
)

// Action has a server started again.
type Action interface {
	// Name says it in a few words.
	Name() string
	// Ready says why it must not be done for a silence that began then; nil where it may be.
	Ready(ctx context.Context, since time.Time) error
	// Do does it, within ctx.
	Do(ctx context.Context) error
}

// Grace is how long the container's processes have to end before the engine kills them. One that hangs does not; a proxy before the
// engine allows this very call alone.
const Grace = 3 * time.Second

// Container restarts the server's container.
type Container struct {
	Container string
	Engine    *containers.Engine
}

// Name names the container.
func (c *Container) Name() string { return "restart of the container " + c.Container }

// Ready asks the engine: a container that somebody paused or stopped, and one that is new, are left alone.
func (c *Container) Ready(ctx context.Context, since time.Time) error {
	is, err := c.Engine.Inspect(ctx, c.Container)
	if err != nil {
		return err
	}
	if state := is.State.Word(); state != "running" {
		return fmt.Errorf("its container is %s", state)
	}
	if is.State.StartedAt.After(since) {
		return errors.New("its container was started anew since")
	}
	return nil
}

// Do restarts it.
func (c *Container) Do(ctx context.Context) error { return c.Engine.Restart(ctx, c.Container, Grace) }

// Command runs a program of the user's, without a shell.
type Command struct {
	argv    []string
	environ []string
}

// NewCommand checks that the program is there. A command line's arguments are parted by spaces, and may be quoted. Environ has variables
// for it, NAME=value: those that name or open a database are left out.
func NewCommand(line string, environ []string) (*Command, error) {
	argv, err := spawn.Words(line)
	if err != nil {
		return nil, fmt.Errorf("the watchdog's command can't be read: %w", err)
	}
	if len(argv) == 0 {
		return nil, errors.New("the watchdog's command is empty. HINT: Name a program that restarts the server")
	}
	if _, err := exec.LookPath(argv[0]); err != nil {
		return nil, fmt.Errorf("the program of the watchdog's command can't be run: %w. HINT: Name an executable file with its whole path; "+
			"a shell is run only where it is named, as in: sh -c '...'", err)
	}
	c := &Command{argv: argv}
	for _, variable := range environ {
		name, _, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, "PG") && !strings.HasPrefix(name, "DATA_SOURCE_") {
			c.environ = append(c.environ, variable)
		}
	}
	return c, nil
}

// Name names the program, without its arguments: they may hold a secret.
func (c *Command) Name() string { return "command " + c.argv[0] }

// Ready is always: the program itself may look around.
func (c *Command) Ready(context.Context, time.Time) error { return nil }

// mostSaid is how much of what the program writes is kept for an error.
const mostSaid = 500

// Do runs it. What it writes last is in the error where it fails; when ctx ends, it is killed with all it started.
func (c *Command) Do(ctx context.Context) error {
	cmd := exec.Command(c.argv[0], c.argv[1:]...)
	cmd.Env = c.environ
	cmd.WaitDelay = time.Second
	said := &tail{}
	cmd.Stdout, cmd.Stderr = said, said
	spawn.Apart(cmd)
	switch err := spawn.Start(cmd, syscall.SIGKILL); {
	case errors.As(err, new(*smallfile.Hanging)):
		return fmt.Errorf("the watchdog's command can't be started: %w", err)
	case err != nil:
		return fmt.Errorf("the watchdog's command can't be started: %w. HINT: The exporter's user must be able to run it", err)
	}
	stop := context.AfterFunc(ctx, func() { spawn.End(cmd) })
	defer stop()
	switch err := cmd.Wait(); {
	case ctx.Err() != nil:
		return errors.New("the watchdog's command has not ended in time and was killed. HINT: Find out by running it what it waits for")
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return fmt.Errorf("the watchdog's command failed: %w: %q. HINT: Run it as the exporter's user", err, said.text)
	}
	return nil
}

// tail keeps the end of what is written.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	t.text = bytes.Clone(t.text[max(0, len(t.text)-mostSaid):])
	return len(p), nil
}
