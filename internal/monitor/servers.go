package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/containers"
)

// restartGrace is how long the server may take to stop: what PostgreSQL needs for its last checkpoint.
const restartGrace = 60 * time.Second

// Container is the database's container.
type Container struct {
	name   string
	engine *containers.Engine

	mu    sync.Mutex
	log   *containers.Log // the newest
	after time.Time       // its last line that is known
}

// NewContainer checks name and address and asks nothing.
func NewContainer(name, host string) (*Container, error) {
	if err := containers.CheckName(name); err != nil {
		return nil, fmt.Errorf("--container.name: %w", err)
	}
	engine, err := containers.NewEngine(host, 0)
	if err != nil {
		return nil, fmt.Errorf("--container.host: %w", err)
	}
	return &Container{name: name, engine: engine}, nil
}

// Name implements Server and Log.
func (c *Container) Name() string { return "container " + c.name }

// Restart implements Server.
func (c *Container) Restart(ctx context.Context) error {
	return c.engine.Restart(ctx, c.name, restartGrace)
}

// Follow implements Log. The engine ends a log with its container: one that is opened again goes on where the one before
// ended, so that nothing of a restart is missed.
func (c *Container) Follow(ctx context.Context, lines int) (io.ReadCloser, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.log != nil && c.log.Newest().After(c.after) {
		c.after = c.log.Newest()
	}
	if !c.after.IsZero() {
		lines = -1
	}
	log, err := c.engine.Logs(ctx, c.name, lines, c.after)
	if err != nil {
		return nil, err
	}
	c.log = log
	return log, nil
}

// Unit is a unit of systemd.
type Unit struct{ name string }

// NewUnit is for the unit of that name, on a machine that has systemd.
func NewUnit(name string) (*Unit, error) {
	if strings.HasPrefix(name, "-") || strings.ContainsAny(name, " \t/*?[") {
		return nil, fmt.Errorf("--systemd.unit: %q is not a unit's name", name)
	}
	if _, err := exec.LookPath("systemctl"); err != nil {
		return nil, errors.New("--systemd.unit: there is no systemd on this machine. HINT: Run the screen where the server runs, or use " +
			"--restart.command and --log.file")
	}
	return &Unit{name: name}, nil
}

// Name implements Server and Supervisor.
func (u *Unit) Name() string { return "unit " + u.name }

// Restart implements Server. Without the right to, systemd asks nobody: a screen in the middle of the terminal is no
// place to type a password.
func (u *Unit) Restart(ctx context.Context) error {
	err := run(exec.CommandContext(ctx, "systemctl", "--no-ask-password", "restart", "--", u.name))
	if err != nil && os.Geteuid() != 0 {
		return fmt.Errorf("%w. HINT: Start the screen with sudo, or let polkit allow this user to restart the unit", err)
	}
	return err
}

// Follow implements Log.
func (j journal) Follow(ctx context.Context, lines int) (io.ReadCloser, error) {
	if err := j.readable(ctx); err != nil {
		return nil, err
	}
	return stream(exec.CommandContext(ctx, "journalctl", "--unit="+j.unit.name, "--follow", "--output=short-iso", "--no-hostname",
		"--quiet", "--lines="+strconv.Itoa(lines)))
}

// Command restarts the server where neither a container engine nor systemd does.
type Command string

// Name implements Server.
func (c Command) Name() string { return fmt.Sprintf("the server with %q", string(c)) }

// Restart implements Server.
func (c Command) Restart(ctx context.Context) error {
	return run(shell(ctx, string(c)))
}

func run(cmd *exec.Cmd) error {
	// A server that the command leaves behind may keep the pipe open.
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err == nil || errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	return commandError(cmd, err, out)
}

// stream is what a command writes.
func stream(cmd *exec.Cmd) (io.ReadCloser, error) {
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", cmd.Args[0], err)
	}
	go func() { w.CloseWithError(cmd.Wait()) }()
	return r, nil
}
