//go:build linux

package compose_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// measurement is one line of the table in docs/recovery.md.
type measurement struct {
	what      string
	objective time.Duration // 0: none was promised
	took      time.Duration
}

// record notes what took from began until now, and fails the test where that is longer than was promised.
func (s *stack) record(what string, objective time.Duration, began time.Time) {
	s.t.Helper()
	s.recordTook(what, objective, time.Since(began))
}

// recordTook is record for what ended before now.
func (s *stack) recordTook(what string, objective, took time.Duration) {
	s.t.Helper()
	m := measurement{what: what, objective: objective, took: took}
	s.measured = append(s.measured, m)
	s.t.Logf("%.1f s: %s", m.took.Seconds(), what)
	if objective > 0 && m.took > objective {
		s.t.Errorf("%s took %s, promised are %s", what, m.took.Round(time.Second), objective)
	}
}

// note adds a sentence below the table.
func (s *stack) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

const (
	tableBegins = "<!-- measured by make test-compose: don't edit -->"
	tableEnds   = "<!-- end of the measurements -->"
)

// report writes the table between its marks in docs/recovery.md.
func (s *stack) report() {
	s.t.Helper()
	var b strings.Builder
	b.WriteString(tableBegins + "\n\n| Measured | Took | Promised |\n|---|---:|---:|\n")
	for _, m := range s.measured {
		promised := ""
		if m.objective > 0 {
			promised = fmt.Sprintf("< %.0f s", m.objective.Seconds())
		}
		fmt.Fprintf(&b, "| %s | %.1f s | %s |\n", m.what, m.took.Seconds(), promised)
	}
	for _, n := range s.notes {
		fmt.Fprintf(&b, "\n%s.\n", n)
	}
	b.WriteString("\n" + tableEnds)
	path := filepath.Join(s.root, "docs", "recovery.md")
	text, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), tableBegins)
	_, after, closed := strings.Cut(rest, tableEnds)
	if !found || !closed {
		s.t.Fatalf("%s has no place for the measurements: %q to %q", path, tableBegins, tableEnds)
	}
	if err := os.WriteFile(path, []byte(before+b.String()+after), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// pipe runs docker with a text as its input.
func (e *engine) pipe(input string, args ...string) (string, error) {
	cmd := exec.Command(e.docker, args...)
	cmd.Env = e.environ()
	cmd.Stdin = strings.NewReader(input)
	return output(cmd)
}

// nsenter runs a command where the engine's ports are.
func nsenter(e *engine, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=/run/netns/" + e.namespace}, args...)...)
}

// dial connects from the engine's network namespace, as somebody on the host does.
func (e *engine) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	inside := e.inside(func() { conn, err = (&net.Dialer{}).DialContext(ctx, network, address) })
	return conn, errors.Join(inside, err)
}

// listen is a port of the host that the engine is on.
func (e *engine) listen(address string) (l net.Listener, err error) {
	inside := e.inside(func() { l, err = net.Listen("tcp", address) })
	return l, errors.Join(inside, err)
}

// inside runs f in the engine's network namespace.
func (e *engine) inside(f func()) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this goroutine
		namespace, err := os.Open("/run/netns/" + e.namespace)
		if err == nil {
			defer namespace.Close()
			err = unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	return <-done
}
