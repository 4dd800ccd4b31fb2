//go:build unix

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// terminal is a real one: tmux's, in which the program runs and keys are typed.
type terminal struct {
	t      *testing.T
	tmux   string
	socket string
}

// run begins the program in a terminal of a size; more environment as NAME=value.
func newTerminal(t *testing.T, width, height int, env []string, program string, args ...string) *terminal {
	t.Helper()
	tmux, err := pgtest.Tool("tmux", "tmux")
	if err != nil {
		t.Fatal(err)
	}
	x := &terminal{t: t, tmux: tmux, socket: filepath.Join(t.TempDir(), "s")}
	words := append([]string{"env"}, env...)
	words = append(append(words, program), args...)
	for i, w := range words {
		words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	// What the program leaves behind stays on the screen, with its exit code.
	script := strings.Join(words, " ") + `; echo "exit code $?"; sleep 3600`
	x.do("new-session", "-d", "-x", fmt.Sprint(width), "-y", fmt.Sprint(height), "/bin/sh", "-c", script)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the screen:\n%s", x.screen())
		}
		x.do("kill-server")
	})
	return x
}

func (x *terminal) do(args ...string) string {
	x.t.Helper()
	cmd := exec.Command(x.tmux, append([]string{"-S", x.socket, "-f", os.DevNull, "-u"}, args...)...)
	cmd.Env = append(os.Environ(), "TERM=xterm-256color")
	out, err := cmd.CombinedOutput()
	if err != nil {
		x.t.Errorf("tmux %s: %v: %s", args[0], err, out)
	}
	return string(out)
}

// keys types; names such as Enter are keys.
func (x *terminal) keys(keys ...string) {
	x.t.Helper()
	x.do(append([]string{"send-keys"}, keys...)...)
}

func (x *terminal) screen() string { return x.do("capture-pane", "-p") }

// coloured is the screen with its escape sequences.
func (x *terminal) coloured() string { return x.do("capture-pane", "-p", "-e") }

// shows waits until all texts are on the screen, and returns it.
func (x *terminal) shows(texts ...string) string {
	x.t.Helper()
	var screen string
	pgtest.Eventually(x.t, 60*time.Second, func() error {
		screen = x.screen()
		flat := strings.Join(strings.Fields(screen), " ") // a text may be wrapped
		for _, text := range texts {
			if !strings.Contains(screen, text) && !strings.Contains(flat, text) {
				return fmt.Errorf("%q is not on the screen:\n%s", text, screen)
			}
		}
		return nil
	})
	return screen
}

// fits says which line is wider than the terminal or whether there are too many.
func fits(t *testing.T, screen string, width, height int) {
	t.Helper()
	lines := strings.Split(strings.TrimRight(screen, "\n"), "\n")
	if len(lines) > height {
		t.Errorf("%d lines on a terminal of %d", len(lines), height)
	}
	for _, line := range lines {
		if w := ansi.StringWidth(line); w > width {
			t.Errorf("%d columns on a terminal of %d: %s", w, width, line)
		}
	}
}
