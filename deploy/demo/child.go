package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

const (
	// startWithin is how long a program may take until it answers.
	startWithin = 30 * time.Second
	// stopWithin is how long it may take to end before it is killed.
	stopWithin = 5 * time.Second
	// lastWords is how many of a program's last lines are shown when it died.
	lastWords = 10
)

// saysWhy finds the line of a program's log that tells why it ended: Go's runtime begins its trace with one, loggers mark theirs.
var saysWhy = regexp.MustCompile(`^(panic|fatal error|runtime|FATAL|PANIC): |(?i)\blevel"?[=:]"?(error|fatal|crit)|^[\w .-]+: error: `)

// child is a program that serves HTTP and lives no longer than the demo.
type child struct {
	name string
	// port it is usually found on.
	port int
	// ready is the path that answers with status 200 once it works.
	ready string
	// command to run it on an address.
	command func(address string) *exec.Cmd

	address string
	claim   io.Closer // of the address
	cmd     *exec.Cmd
	log     string        // path of what it writes
	exited  chan struct{} // closed when it is gone; nil when it was never started
	err     error         // of its end; read it after exited
}

// launch starts the program on its usual port, or on a free one where that is taken, and waits until it works. Somebody
// may have been faster to take the port, so a program that dies at once has a second chance.
func (c *child) launch(ctx context.Context, r *room) error {
	var err error
	for _, port := range []int{c.port, 0} {
		if port, c.claim, err = pgtest.ClaimPort(port); err != nil {
			return err
		}
		c.address = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		c.cmd = c.command(c.address)
		if err = c.start(r); err != nil {
			return errors.Join(err, c.claim.Close())
		}
		if err = c.wait(ctx); err == nil {
			return nil
		}
		alive := true
		select {
		case <-c.exited:
			alive = false
		default:
		}
		c.stop()
		if alive {
			return err
		}
	}
	return err
}

// moved says so when it is not on its usual port.
func (c *child) moved() string {
	if c.exited == nil || strings.HasSuffix(c.address, ":"+strconv.Itoa(c.port)) {
		return ""
	}
	return fmt.Sprintf("The %s is not on its usual port, %d, because that is in use.", c.name, c.port)
}

// start runs the program; call it on the main thread only, see run.
func (c *child) start(r *room) error {
	c.log = r.path(c.name + ".log")
	log, err := os.Create(c.log)
	if err != nil {
		return err
	}
	defer log.Close()
	c.cmd.Stdout, c.cmd.Stderr = log, log
	// Ctrl-C in the terminal is for the demo alone, which ends its children in order.
	c.cmd.SysProcAttr.Setpgid = true
	killWithParent(c.cmd.SysProcAttr)
	if err := c.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", c.name, err)
	}
	c.exited = make(chan struct{})
	go func() { c.err = c.cmd.Wait(); close(c.exited) }()
	return nil
}

// wait waits until the program works.
func (c *child) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	for {
		err := get(ctx, "http://"+c.address+c.ready, nil)
		if err == nil {
			return nil
		}
		select {
		case <-c.exited:
			return c.died()
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready after %s: %w\n%s", c.name, startWithin, err, c.tail())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (c *child) died() error {
	end := c.err
	if end == nil {
		end = errors.New("exit code 0")
	}
	return fmt.Errorf("%s ended by itself: %w. Its last words\n%s", c.name, end, c.tail())
}

// tail is what the program said last: the line with the reason, where a trace of calls or later lines stand behind it, and the last lines.
func (c *child) tail() string {
	b, err := os.ReadFile(c.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	last := max(0, len(lines)-lastWords)
	for i := last - 1; i >= 0; i-- {
		if saysWhy.MatchString(lines[i]) {
			return lines[i] + "\n...\n" + strings.Join(lines[last:], "\n")
		}
	}
	return strings.Join(lines[last:], "\n")
}

// stop ends the program, if it was started, and waits for its end.
func (c *child) stop() {
	if c.exited == nil {
		return
	}
	defer c.claim.Close()
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.exited:
	case <-time.After(stopWithin):
		_ = c.cmd.Process.Kill()
		<-c.exited
	}
}

// get asks a URL and hands the answer to read, or without one wants status 200.
func get(ctx context.Context, url string, read func(*http.Response) error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if read != nil {
		return read(resp)
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}
