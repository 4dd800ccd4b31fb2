//go:build unix

package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// wine makes Windows with the monitor in it, and returns a program that runs that one: in a terminal through a console
// (testdata/console), else through Wine alone. drive is what the monitor sees as C:.
func wine(t *testing.T) (program, drive string) {
	t.Helper()
	if _, err := pgtest.Tool("wine", "wine"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, source := range map[string]string{"monitor.exe": ".", "console.exe": "./testdata/console", "pipe.exe": "./testdata/pipe"} {
		build := exec.Command("go", "build", "-o", filepath.Join(dir, name), source)
		build.Env = append(os.Environ(), "GOOS=windows", "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	script := func(name, body string) string {
		path := filepath.Join(dir, name)
		body = fmt.Sprintf("#!/bin/bash\nset -e\ncd %q\n", dir) + windows + body
		if err := os.WriteFile(path, []byte(body), 0o755); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
		return path
	}
	do := func(script string) {
		t.Helper()
		if out, err := exec.Command(script).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
	}
	stop := script("stop", "wineserver -k || true; wineserver -w")
	t.Cleanup(func() { do(stop) })
	do(script("install", install))
	script("rename", `exec wine cmd /C ren "$@"`)
	script("pipe", `exec wine pipe.exe "$@"`)
	return script("monitor", monitorOnWindows), filepath.Join(dir, "windows", "drive_c")
}

const (
	// Windows has neither a locale's nor a terminal's variables, and needs no windows here.
	windows = `
export HOME=$PWD WINEPREFIX=$PWD/windows WINEARCH=win64 WINEDEBUG=-all WINEDLLOVERRIDES='mscoree=;mshtml=;winemenubuilder.exe='
unset LC_ALL LC_CTYPE LANG TERM TERM_PROGRAM DISPLAY
`
	// Go's programs want one function that Wine has from version 9 on; another does the same.
	install = `
wineboot --init
wine reg add 'HKCU\Software\Wine' /v Version /d win10 /f # else that of 2009, before consoles had colours
lacking=$WINEPREFIX/drive_c/windows/system32/bcryptprimitives.dll
if [ ! -e "$lacking" ]; then
  printf 'LIBRARY bcryptprimitives\nEXPORTS\nProcessPrng = advapi32.SystemFunction036\n' >random.def
  x86_64-w64-mingw32-ld --shared -e 0 -o "$lacking" random.def
fi
wine monitor.exe --version
`
	monitorOnWindows = `
if [ ! -t 1 ]; then exec wine monitor.exe "$@"; fi
read -r height width < <(stty size)
stty raw -echo
wine console.exe new "$width" "$height" ./monitor.exe "$@" < <(exec cat </dev/tty) 2>>console.log | cat && code=${PIPESTATUS[0]}
stty sane
exit "$code"
`
)

// onWindows makes the house's monitor one of Windows; the rest stays.
func (h *house) onWindows(drive, monitor string) {
	h.t.Helper()
	h.monitor = monitor
	h.path = func(path string) string { return "Z:" + strings.ReplaceAll(path, "/", `\`) }
	// As most of Windows' programs, this one lies in a folder with a blank in its name.
	program := filepath.Join(drive, "Program Files", "restart it.cmd")
	body := "@start /wait /unix /bin/sh -c \"" + h.restart + "\"\r\n"
	if err := os.WriteFile(program, []byte(body), 0o755); err != nil { //nolint:gosec // a program
		h.t.Fatal(err)
	}
	h.restart = `"C:\Program Files\restart it.cmd" "an argument"`
	h.failing = "echo no such service 1>&2& exit 3"
}

// The monitor is released for Windows, too. All that the other does, it must.
func TestMonitorOnWindows(t *testing.T) {
	if os.Getenv("PG_RELIABILITY_WINDOWS") == "" {
		t.Skip("a test of a minute with Wine: run it with make test-windows")
	}
	monitor, drive := wine(t)
	h := newHouse(t)
	h.onWindows(drive, monitor)
	t.Run("keys", h.testKeys)
	t.Run("what it can't do", h.testWhatItCanNotDo)
	t.Run("a window's size", h.testResizing)
	t.Run("an engine that is not there", func(t *testing.T) {
		x := newTerminal(t, 150, 30, nil, h.monitor, "--exporter.url="+h.exporter.URL, "--container.name=db")
		x.shows("[UP]", "container engine at npipe:////./pipe/docker_engine", "HINT: Is the engine running?")
	})
	t.Run("an engine behind a named pipe", h.testPipe)
	t.Run("once, in a terminal", func(t *testing.T) {
		x := newTerminal(t, 100, 30, nil, h.monitor, "--exporter.url="+h.exporter.URL, "--once")
		if screen := x.shows("[UP]", "exit code 0"); strings.Contains(screen, "←") || !strings.Contains(x.coloured(), "\x1b[") {
			t.Errorf("colours are text, or none:\n%s", screen)
		}
	})
	t.Run("a log that is renamed", h.testRename)
	t.Run("scripts", func(t *testing.T) {
		out, _, code := h.run("--once")
		if code != 0 || strings.ContainsFunc(out, func(r rune) bool { return r > 127 }) {
			t.Errorf("exit code %d, in a pipe:\n%s", code, out)
		}
		if out, _, _ = h.run("--once", "--no-ascii"); !strings.Contains(out, "█") {
			t.Errorf("with --no-ascii:\n%s", out)
		}
		for arg, want := range map[string]string{
			"--systemd.unit=postgresql":                           "there is no systemd on this machine",
			`--ca-file=C:\no such\file.pem`:                       `--ca-file: open C:\no such\file.pem: `,
			"--exporter-url=x":                                    "HINT: See pg_reliability_monitor --help",
			"--container.name=a b":                                "--container.name: ",
			"--container.host=npipe:////./pipe/podman-machine":    "without --container.name",
			"--container.name=db --container.host=npipe://./pipe": "HINT: Write npipe:////./pipe/docker_engine or tcp://host:2375",
		} {
			args := []string{arg}
			if strings.HasPrefix(arg, "--container.name=db ") {
				args = strings.Fields(arg)
			}
			if _, errs, code := h.run(append(args, "--once")...); code != exitUsage || !strings.Contains(errs, want) {
				t.Errorf("%s: exit code %d\n%s", arg, code, errs)
			}
		}
	})
	t.Run("scripts as everywhere", h.testScripts) // stops the server
}

// An engine of Windows can't be had here: what it says is made up, the pipe it says it through is Windows'.
func (h *house) testPipe(t *testing.T) {
	restarted := make(chan string, 1)
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch what := r.Method + " " + r.URL.Path; what {
		case "GET /containers/db/json":
			_, _ = io.WriteString(w, `{"Id":"1","State":{"Status":"running"},"Config":{"Tty":true}}`)
		case "GET /containers/db/logs":
			_, _ = io.WriteString(w, "ready to accept connections\r\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		case "POST /containers/db/restart":
			restarted <- what
			w.WriteHeader(http.StatusNoContent)
		default:
			t.Errorf("the engine was asked for %s", what)
		}
	}))
	defer engine.Close()
	defer engine.CloseClientConnections()
	pipe := exec.Command(filepath.Join(filepath.Dir(h.monitor), "pipe"), engine.Listener.Addr().String())
	if err := pipe.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = pipe.Process.Kill()
		_ = pipe.Wait()
	}()
	x := newTerminal(t, 100, 30, nil, h.monitor, "--exporter.url="+h.exporter.URL, "--container.name=db")
	x.shows("[UP]", "log of container db", "ready to accept connections")
	x.keys("r")
	x.shows("Every client")
	x.keys("y")
	select {
	case <-restarted:
	case <-time.After(60 * time.Second):
		t.Error("no restart was ordered")
	}
}

// Windows asks those who have a file open before it renames one.
func (h *house) testRename(t *testing.T) {
	log := filepath.Join(t.TempDir(), "server.log")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(log, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("before the rotation\r\n")
	x := newTerminal(t, 100, 30, nil, h.monitor, "--exporter.url="+h.exporter.URL, "--log.file="+h.path(log))
	x.shows("[UP]", "before the rotation")
	out, err := exec.Command(filepath.Join(filepath.Dir(h.monitor), "rename"), h.path(log), "old.log").CombinedOutput()
	if _, still := os.Stat(log); err != nil || still == nil {
		t.Fatalf("not renamed: %v\n%s", err, out)
	}
	write("after the rotation\r\n")
	x.shows("after the rotation")
}

func (h *house) testResizing(t *testing.T) {
	x := newTerminal(t, 80, 24, []string{"WT_SESSION=1"}, h.monitor, "--exporter.url="+h.exporter.URL)
	fits(t, x.shows("[UP]", "█", "[?] help"), 80, 24)
	x.do("resize-window", "-x", "60", "-y", "14")
	x.do("send-keys", "-l", "\x1b[8;14;60t") // what the console takes for it
	fits(t, x.shows("[UP]", "[R]estart"), 60, 14)
	x.keys("q")
	x.shows("exit code 0")
}
