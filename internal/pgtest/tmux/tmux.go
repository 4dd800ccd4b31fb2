// Package tmux gives tests a real terminal: tmux's, in which a program runs and keys are typed.
package tmux

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// Terminal is one window with one program in it.
type Terminal struct{ tmux, socket string }

// New begins a program in a terminal of a size, until the test's end. What the program leaves behind stays on the screen,
// with its exit code.
func New(t *testing.T, width, height int, command ...string) *Terminal {
	t.Helper()
	tmux, err := pgtest.Tool("tmux", "tmux")
	if err != nil {
		t.Fatal(err)
	}
	x := &Terminal{tmux: tmux, socket: filepath.Join(t.TempDir(), "s")}
	words := make([]string, len(command))
	for i, w := range command {
		words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	script := strings.Join(words, " ") + `; echo "exit code $?"; sleep 3600`
	x.Do(t, "new-session", "-d", "-x", fmt.Sprint(width), "-y", fmt.Sprint(height), "/bin/sh", "-c", script)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the screen:\n%s", x.Screen(t))
		}
		x.Do(t, "kill-server")
	})
	return x
}

// Do is a command of tmux.
func (x *Terminal) Do(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(x.tmux, append([]string{"-S", x.socket, "-f", os.DevNull, "-u"}, args...)...) //nolint:gosec // a test's own
	cmd.Env = append(os.Environ(), "TERM=xterm-256color")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("tmux %s: %v: %s", args[0], err, out)
	}
	return string(out)
}

// Keys types; names such as Enter are keys.
func (x *Terminal) Keys(t *testing.T, keys ...string) {
	t.Helper()
	x.Do(t, append([]string{"send-keys"}, keys...)...)
}

// Screen is what is to be read now.
func (x *Terminal) Screen(t *testing.T) string {
	t.Helper()
	return x.Do(t, "capture-pane", "-p")
}

// Shows waits until all texts are on the screen, and returns it. A text may be wrapped.
func (x *Terminal) Shows(t *testing.T, texts ...string) string {
	t.Helper()
	var screen string
	pgtest.Eventually(t, 60*time.Second, func() error {
		screen = x.Screen(t)
		flat := strings.Join(strings.Fields(screen), " ")
		for _, text := range texts {
			if !strings.Contains(screen, text) && !strings.Contains(flat, text) {
				return fmt.Errorf("%q is not on the screen:\n%s", text, screen)
			}
		}
		return nil
	})
	return screen
}
