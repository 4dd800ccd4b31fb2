// Package stack runs what stands around a server in a user's house, for tests: our own programs, Prometheus with our
// rules, Alertmanager with our routes. All are real; one that is missing fails the test.
package stack

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// Process is a program that serves HTTP until the test ends, and can be killed and started again.
type Process struct {
	Name, URL string

	command func() *exec.Cmd
	mu      sync.Mutex
	cmd     *exec.Cmd
	exited  chan struct{}
	killed  atomic.Bool
	log     pgtest.Buffer
}

// Run starts a program and waits until the path ready below url answers. command makes it anew for each start.
func Run(t testing.TB, name, url, ready string, command func() *exec.Cmd) *Process {
	t.Helper()
	p := &Process{Name: name, URL: url, command: command}
	p.Start(t)
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s:\n%s", name, p.log.Tail())
		}
	})
	pgtest.Eventually(t, 60*time.Second, func() error {
		if p.Dead() {
			t.Fatalf("%s ended at its start:\n%s", name, p.log.Tail())
		}
		_, err := Get(url + ready)
		return err
	})
	return p
}

// Start starts it again after Kill, and does not wait until it is ready.
func (p *Process) Start(t testing.TB) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd = p.command()
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := pgtest.Spawn(p.cmd); err != nil {
		t.Fatalf("start %s: %v", p.Name, err)
	}
	exited := make(chan struct{})
	p.exited = exited
	p.killed.Store(false)
	cmd := p.cmd
	go func() { _ = cmd.Wait(); close(exited) }()
}

// Dead says whether it has ended.
func (p *Process) Dead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// Died says whether it ended though nobody killed it.
func (p *Process) Died() bool { return !p.killed.Load() && p.Dead() }

// Kill sends SIGKILL and waits for its end.
func (p *Process) Kill() {
	p.killed.Store(true)
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// Get returns the body at a URL; an answer other than 200 is an error.
func Get(url string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), pgtest.Patience(15*time.Second))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %.500s", url, resp.Status, b)
	}
	return string(b), err
}
