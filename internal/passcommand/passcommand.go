// Package passcommand asks a program for the password of a login: one that lives for minutes, such as a cloud's token. What
// the program writes is never logged and is in no error, of its environment it gets nothing that names or opens a database,
// and a program that hangs is ended with all it started.
package passcommand

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/spawn"
)

const (
	// DefaultTimeout is how long the program may take.
	DefaultTimeout = 10 * time.Second
	// fresh is how old a password may be before the next login has another one made ready. During an outage a login is
	// tried several times a second: each would be a process, and a request to a service that counts them.
	fresh = time.Minute
	// usable is how old one may be when it is given to a login. The shortest of the tokens in use live five minutes.
	usable = 2 * time.Minute
	// pause is how long after a failure of the program it is not run again.
	pause = 2 * time.Second
	// afterFailure is how long a login waits for the program where it has failed before; then it is told of that failure.
	afterFailure = time.Second
)

// Options say which program is run, and how.
type Options struct {
	// Command is the program and its arguments, parted by spaces; quotes hold an argument together.
	Command string
	// Timeout is how long it may take; zero is DefaultTimeout.
	Timeout time.Duration
	// Environ has the variables, NAME=value, of which the program gets those that neither name nor open a database.
	Environ []string
	// Login has further variables, which tell the program whom the password is for.
	Login []string
}

// Command is a program whose output's first line is a password. It is safe for concurrent use.
type Command struct {
	argv    []string
	timeout time.Duration
	environ []string
	now     func() time.Time

	mu sync.Mutex
	// kept is the newest password, of the time when the program was started; empty when there is none.
	kept   string
	keptAt time.Time
	// refused is whether the server did not take it.
	refused bool
	// failed is why the newest run gave none, at failedAt.
	failed   error
	failedAt time.Time
	// running is closed when the run under way has ended; nil when there is none.
	running chan struct{}
}

// New checks the options and that the program is there. It runs nothing.
func New(o Options) (*Command, error) {
	argv, err := spawn.Words(o.Command)
	if err != nil {
		return nil, fmt.Errorf("the password command can't be read: %w", err)
	}
	if len(argv) == 0 {
		return nil, errors.New("the password command is empty. HINT: Name a program whose output's first line is the password")
	}
	if _, err := exec.LookPath(argv[0]); err != nil {
		return nil, fmt.Errorf("the program of the password command can't be run: %w. "+
			"HINT: Name an executable file with its whole path; a shell is run only where it is named, as in: sh -c '...'", err)
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Timeout < time.Millisecond {
		return nil, fmt.Errorf("the password command's timeout %s is too short to be meant. HINT: Choose one such as %s", o.Timeout,
			DefaultTimeout)
	}
	return &Command{argv: argv, timeout: o.Timeout, environ: append(harmless(o.Environ), o.Login...), now: time.Now}, nil
}

// harmless leaves out the variables that name a database or hold its password: they are this process's own.
func harmless(environ []string) []string {
	var out []string
	for _, line := range environ {
		name, _, _ := strings.Cut(line, "=")
		if !strings.HasPrefix(name, "PG") && !strings.HasPrefix(name, "DATA_SOURCE_") {
			out = append(out, line)
		}
	}
	return out
}

// Password is what the program printed for a login of now: at most two minutes ago, so that neither a login's time nor an
// outage's is the program's. One older than a minute is given once more while the next is fetched. Whoever has to wait
// waits no longer than ctx.
func (c *Command) Password(ctx context.Context) (string, error) {
	c.mu.Lock()
	age := c.now().Sub(c.keptAt)
	if c.kept != "" && age >= 0 && (age < pause || age < usable && !c.refused) {
		password := c.kept
		if age >= fresh {
			c.start()
		}
		c.mu.Unlock()
		return password, nil
	}
	running := c.start()
	var enough <-chan time.Time // what failed before may hang now: that is no login that takes long
	if c.failed != nil {
		timer := time.NewTimer(afterFailure)
		defer timer.Stop()
		enough = timer.C
	}
	c.mu.Unlock()
	if running != nil {
		select {
		case <-running:
		case <-enough:
		case <-ctx.Done():
			return "", fmt.Errorf("the password command %s has not ended yet: %w", c.name(), ctx.Err())
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil {
		return "", c.failed
	}
	return c.kept, nil
}

// TurnedDown says that the server did not take a password, or the newest one where it is empty: a later login gets another
// one. It is true when one that is given now differs, so that the login is worth another attempt.
func (c *Command) TurnedDown(password string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if password != "" && password != c.kept {
		return true
	}
	c.refused = true
	return c.now().Sub(c.keptAt) >= pause
}

// start begins a run unless one is under way, or the last one failed a moment ago: then it is nil. c.mu is held.
func (c *Command) start() <-chan struct{} {
	if c.running != nil {
		return c.running
	}
	if c.failed != nil && c.now().Sub(c.failedAt) < pause {
		return nil
	}
	done, began := make(chan struct{}), c.now()
	c.running = done
	go func() {
		password, err := c.run()
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.failed = err; err != nil {
			c.failedAt = c.now()
		} else {
			c.kept, c.keptAt, c.refused = password, began, false
		}
		c.running = nil
		close(done)
	}()
	return done
}

// name is the program's, without its arguments, which may hold secrets.
func (c *Command) name() string { return fmt.Sprintf("%.200q", c.argv[0]) }
