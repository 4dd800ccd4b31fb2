//go:build unix

package main

import (
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/tmux"
)

// terminal is a real one, of the test that is run now.
type terminal struct {
	t *testing.T
	x *tmux.Terminal
}

// newTerminal begins the program in a terminal of a size; more environment as NAME=value.
func newTerminal(t *testing.T, width, height int, env []string, program string, args ...string) *terminal {
	t.Helper()
	command := append(append([]string{"env"}, env...), program)
	return &terminal{t: t, x: tmux.New(t, width, height, append(command, args...)...)}
}

func (x *terminal) do(args ...string) string { x.t.Helper(); return x.x.Do(x.t, args...) }

func (x *terminal) keys(keys ...string) { x.t.Helper(); x.x.Keys(x.t, keys...) }

func (x *terminal) shows(texts ...string) string { x.t.Helper(); return x.x.Shows(x.t, texts...) }

// coloured is the screen with its escape sequences.
func (x *terminal) coloured() string { return x.do("capture-pane", "-p", "-e") }

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
