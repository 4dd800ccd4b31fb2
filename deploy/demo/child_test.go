package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A program that dies says why above a long trace, or above what its other parts still said: the reason is shown, not the trace alone.
func TestTheReasonOfADeadProgramIsShown(t *testing.T) {
	later := strings.Repeat("goroutine 7 [select]: main.wait()\n", 3*lastWords)
	for name, log := range map[string]string{
		"a trace of Go's runtime":      "starts\npanic: assignment to entry in nil map\n\n" + later,
		"out of memory in the runtime": "fatal error: runtime: out of memory\n" + later,
		"an error of our own logger":   `time=2026-11-29T00:00:00Z level=ERROR msg="the port is taken"` + "\n" + later,
		"an error of Prometheus":       `ts=2026-11-29T00:00:00Z caller=main.go:1 level=error err="opening storage failed"` + "\n" + later,
		"an error as JSON":             `{"level":"error","msg":"no database"}` + "\n" + later,
		"the last line itself":         later + "exporter: error: unknown long flag",
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "log")
			if err := os.WriteFile(file, []byte(log), 0o600); err != nil {
				t.Fatal(err)
			}
			r := &room{dir: t.TempDir()}
			c := &child{name: "exporter", command: func(string) *exec.Cmd { return exec.Command("sh", "-c", `cat "$0"; exit 3`, file) }}
			c.cmd = c.command("")
			c.cmd.SysProcAttr = &syscall.SysProcAttr{}
			if err := c.start(r); err != nil {
				t.Fatal(err)
			}
			<-c.exited
			said := c.died().Error()
			var reason string
			for line := range strings.Lines(log) {
				if saysWhy.MatchString(line) {
					reason = strings.TrimSpace(line)
				}
			}
			if reason == "" || !strings.Contains(said, reason) || !strings.Contains(said, "exit status 3") {
				t.Errorf("the demo says\n%s\nwithout the line with the reason %q", said, reason)
			}
			if n := strings.Count(said, "\n"); n > lastWords+3 {
				t.Errorf("%d lines, want few", n)
			}
		})
	}
}
