package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	// startWithin is how long a program may take until it answers.
	startWithin = 30 * time.Second
	// stopWithin is how long it may take to end before it is killed.
	stopWithin = 5 * time.Second
)

// child is a program that lives no longer than the demo.
type child struct {
	name    string
	address string
	// moved says why it is not on its usual port; empty when it is.
	moved  string
	cmd    *exec.Cmd
	log    string        // path of what it writes
	exited chan struct{} // closed when it is gone; nil when it was never started
	err    error         // of its end; read it after exited
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

// waitFor waits until the path answers with status 200.
func (c *child) waitFor(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	for {
		err := get(ctx, "http://"+c.address+path, nil)
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

func (c *child) tail() string {
	b, err := os.ReadFile(c.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}

// stop ends the program, if it was started, and waits for its end.
func (c *child) stop() {
	if c.exited == nil {
		return
	}
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
