//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/monitor"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/stack"
)

// house is a server, our exporter, our backup job, and the monitor's program.
type house struct {
	t                *testing.T
	pg               *pgtest.Cluster
	exporter, backup *stack.Process
	token            string
	// What is another in Windows: the program, what it calls a file, commands of its shell.
	monitor          string
	path             func(string) string
	restart, failing string
}

func newHouse(t *testing.T) *house {
	t.Helper()
	s := stack.New(t, "../..")
	h := &house{t: t, pg: pgtest.New(t, pgtest.Options{}), monitor: s.Program(t, "pg_reliability_monitor"),
		token: filepath.Join(s.Dir, "token")}
	h.path = func(path string) string { return path }
	h.restart = "kill -INT $(head -n 1 " + h.pg.DataDir() + "/postmaster.pid)"
	h.failing = "echo 'no such service' >&2; exit 3"
	if err := os.WriteFile(h.token, []byte("a-token-that-is-long-enough"), 0o600); err != nil {
		t.Fatal(err)
	}
	repository := filepath.Join(s.Dir, "repository")
	job := s.Program(t, "pg_reliability_backup")
	address := s.Address(t)
	h.backup = stack.Run(t, "backup job", "http://"+address, "/-/ready", func() *exec.Cmd {
		cmd := exec.Command(job, "schedule", "--init", "--repository="+repository, "--cron=0 3 1 1 *",
			"--web.listen-address="+address, "--web.backup-token-file="+h.token)
		cmd.Env = append(os.Environ(), "DATA_SOURCE_NAME="+h.pg.DSN(pgtest.Superuser, "postgres"))
		return cmd
	})
	jobs, err := monitor.NewBackupClient(monitor.HTTPOptions{URL: h.backup.URL, TokenFile: h.token})
	if err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, 60*time.Second, func() error { // the first backup is made and verified
		p, err := jobs.Progress(t.Context())
		if err == nil && (p.Running || p.Last == nil) {
			err = fmt.Errorf("%+v", p)
		}
		return err
	})
	h.exporter = s.Exporter(t, h.pg.MonitorDSN(), "--probe.interval=250ms", "--state.dir="+filepath.Join(s.Dir, "state"),
		"--volume=data="+h.pg.DataDir(), "--backup.catalog="+repository)
	return h
}

// all are the flags with which every key works.
func (h *house) all() []string {
	return []string{
		"--exporter.url=" + h.exporter.URL, "--backup.url=" + h.backup.URL, "--backup.token-file=" + h.path(h.token),
		"--log.file=" + h.path(h.pg.LogFile()), "--restart.command=" + h.restart,
	}
}

// supervise starts the server again whenever it ends, as a container engine with `restart: always` does.
func (h *house) supervise() {
	exited := h.pg.Exited()
	go func() {
		select {
		case <-exited:
			_ = h.pg.Launch(h.t.Context())
		case <-h.t.Context().Done():
		}
	}()
}

func (h *house) started() string {
	h.t.Helper()
	at, err := h.pg.Query(h.t.Context(), "postgres", "SELECT pg_postmaster_start_time()::text")
	if err != nil {
		h.t.Fatal(err)
	}
	return at
}

// colours are escape sequences that set one; 39 and 49 go back to the terminal's own.
var colours = regexp.MustCompile(`\x1b\[[0-9;]*\b([349][0-7]|10[0-7]|[34]8;[0-9;]+)m`)

// One house for all: it takes seconds to build.
func TestMonitor(t *testing.T) {
	h := newHouse(t)
	t.Run("keys", h.testKeys)
	t.Run("what it can't do", h.testWhatItCanNotDo)
	t.Run("scripts", h.testScripts) // stops the server
}

func (h *house) testKeys(t *testing.T) {
	const width, height = 80, 24
	x := newTerminal(t, width, height, []string{"TERM=xterm-256color", "LANG=C.UTF-8"}, h.monitor, h.all()...)
	fits(t, x.shows("[UP]", "PostgreSQL", "primary", "Latency", "Available", " observed", "Disk data", "Connections", "verified", "1 good",
		"[B]ackup now  [L]ogs  [T]ree  [I]ncidents  [R]estart", "ready to accept"), width, height)
	if !colours.MatchString(x.coloured()) {
		t.Error("no colours on a terminal that has them")
	}

	t.Run("backup", func(t *testing.T) {
		x.t = t
		x.keys("b")
		x.shows("is made: verified", "2 good")
	})
	t.Run("restart is asked for and can be left", func(t *testing.T) {
		x.t = t
		before := h.started()
		x.keys("R")
		x.shows("Every client loses its connection")
		x.keys("n")
		x.shows("Nothing was restarted")
		if h.started() != before {
			t.Error("the server was restarted")
		}
	})
	t.Run("restart", func(t *testing.T) {
		x.t = t
		before := h.started()
		h.supervise()
		x.keys("r")
		x.shows("Every client loses its connection")
		x.keys("y")
		fits(t, x.shows("Restarted: the database answers again after", "restart 1"), width, height)
		if h.started() == before {
			t.Error("the server was not restarted")
		}
	})
	t.Run("outage", func(t *testing.T) {
		x.t = t
		h.pg.Pause()
		x.shows("[DOWN]", "TIMEOUT", "in progress")
		h.pg.Resume()
		x.shows("[UP]")
	})
	t.Run("log", func(t *testing.T) {
		x.t = t
		x.keys("l")
		x.shows("following", "[/] search")
		if _, err := h.pg.Query(t.Context(), "postgres", "SELECT 1 / 0"); err == nil {
			t.Fatal("a division by zero went well")
		}
		x.shows("division by zero") // by itself
		// Somebody's text in the log must not reach the terminal as a command.
		_, _ = h.pg.Query(t.Context(), "postgres", "SELECT E'\\x1b[2J\\x1b]0;stolen\\x07 blank' / 0")
		x.shows("division by zero", "blank")
		if title := x.do("display-message", "-p", "#{pane_title}"); strings.Contains(title, "stolen") {
			t.Errorf("a line of the log set the terminal's title: %s", title)
		}
		x.keys("/")
		x.keys("r", "e", "a", "d", "y", "Space", "t", "o", "Space", "A", "C")
		x.shows("search: ready to AC_", "2 lines match")
		x.keys("Enter")
		x.shows("> ", `2 lines match "ready to AC"`)
		x.keys("n")
		x.shows("line ")
		x.keys("f")
		x.shows("following")
		x.keys("Escape")
		x.shows("following, log of")
		x.keys("Escape")
		x.shows("Available")
	})
	t.Run("help", func(t *testing.T) {
		x.t = t
		x.keys("?")
		fits(t, x.shows("counts the seconds to recovery", h.exporter.URL, h.path(h.pg.LogFile())), width, height)
		x.keys("?")
		x.shows("Available")
	})
	t.Run("exporter gone", func(t *testing.T) {
		x.t = t
		h.exporter.Kill()
		x.shows("[UNKNOWN]", "all below is of", "onnection refused")
		h.exporter.Start(t)
		x.shows("[UP]")
	})
	t.Run("stop", func(t *testing.T) {
		x.t = t
		x.keys("s")
		if screen := x.shows("exit code 0"); strings.Contains(screen, "Available") {
			t.Errorf("the screen was left behind:\n%s", screen)
		}
	})
}

func (h *house) testWhatItCanNotDo(t *testing.T) {
	for name, terminal := range map[string]struct {
		width, height int
		env           []string
	}{
		"80x24, no colours, no UTF-8": {80, 24, []string{"NO_COLOR=1", "LC_ALL=C", "TERM=xterm"}},
		"wide":                        {160, 50, []string{"LC_ALL=C.UTF-8"}},
		"small":                       {60, 12, []string{"LC_ALL=C.UTF-8"}},
	} {
		t.Run(name, func(t *testing.T) {
			x := newTerminal(t, terminal.width, terminal.height, terminal.env, h.monitor, "--exporter.url="+h.exporter.URL)
			screen := x.shows("[UP]", "Latency", "--container.name")
			if terminal.height > 20 { // below, it depends on how many problems this machine has, as of its disks
				screen = x.shows("Available")
			}
			fits(t, screen, terminal.width, terminal.height)
			if strings.HasPrefix(name, "80x24") {
				for _, r := range screen {
					if r > 127 {
						t.Errorf("%q on a terminal without UTF-8:\n%s", r, screen)
						break
					}
				}
				if coloured := x.coloured(); colours.MatchString(coloured) {
					t.Errorf("colours in spite of NO_COLOR: %q", coloured)
				}
			}
			x.keys("b")
			x.shows("No backup from here: start it with --backup.token-file")
			x.keys("r")
			x.shows("No restart from here: start it with --container.name")
			x.keys("l")
			x.shows("There is no log here: start it with --container.name")
			x.keys("C-c")
			x.shows("exit code 0")
		})
	}
	t.Run("a wrong token", func(t *testing.T) {
		wrong := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(wrong, []byte("a-token-that-is-wrong-though"), 0o600); err != nil {
			t.Fatal(err)
		}
		x := newTerminal(t, 120, 30, nil, h.monitor, "--exporter.url="+h.exporter.URL, "--backup.url="+h.backup.URL, "--backup.token-file="+
			h.path(wrong))
		x.shows("[UP]")
		x.keys("b")
		x.shows("The backup was not begun", "missing or wrong")
	})
	t.Run("a restart that fails", func(t *testing.T) {
		x := newTerminal(t, 120, 30, nil, h.monitor, "--exporter.url="+h.exporter.URL, "--restart.command="+h.failing)
		x.shows("[UP]")
		x.keys("r")
		x.shows("Every client")
		x.keys("y")
		x.shows("Not restarted", "no such service")
	})
}

// run runs the program to its end.
func (h *house) run(args ...string) (string, string, int) {
	h.t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command(h.monitor, args...)
	cmd.Env = append(os.Environ(), "PG_RELIABILITY_MONITOR_EXPORTER_URL="+h.exporter.URL)
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run()
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func (h *house) testScripts(t *testing.T) {
	h.t = t
	pgtest.Eventually(t, 30*time.Second, func() error {
		out, errs, code := h.run("--once")
		for _, want := range []string{"[UP]", "PostgreSQL", "Backups      newest", "Disk data"} {
			if code != 0 || !strings.Contains(out, want) {
				return fmt.Errorf("exit code %d, %q is not in\n%s%s", code, want, out, errs)
			}
		}
		if strings.ContainsAny(out, "\x1b\r") {
			t.Errorf("escape sequences in a pipe: %q", out)
		}
		return nil
	})
	out, _, code := h.run("--json")
	var answer struct {
		State struct{ Status string }
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil || code != 0 || answer.State.Status != "up" {
		t.Errorf("--json: exit code %d, %v, %s", code, err, out)
	}
	if _, errs, code := h.run(); code != exitUsage || !strings.Contains(errs, "--once") {
		t.Errorf("without a terminal: exit code %d, %s", code, errs)
	}
	if out, _, code := h.run("--once", fmt.Sprintf("--exporter.url=http://127.0.0.1:%d", h.pg.Port)); code != 3 ||
		!strings.Contains(out, "is it PostgreSQL's own port?") {
		t.Errorf("at PostgreSQL's port: exit code %d\n%s", code, out)
	}
	if err := h.pg.Stop(); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, 30*time.Second, func() error {
		out, _, code := h.run("--once")
		if code != 2 || !strings.Contains(out, "[DOWN]") {
			return fmt.Errorf("exit code %d\n%s", code, out)
		}
		return nil
	})
	h.exporter.Kill()
	if out, _, code := h.run("--once"); code != 3 || !strings.Contains(out, "HINT: Is it running?") {
		t.Errorf("without an exporter: exit code %d\n%s", code, out)
	}
	if _, errs, code := h.run("--json"); code != 3 || !strings.Contains(errs, "HINT: Is it running?") {
		t.Errorf("without an exporter: exit code %d\n%s", code, errs)
	}
}

func TestWrongFlagsNameTheRemedy(t *testing.T) {
	for name, is := range map[string]struct {
		args []string
		want string
	}{
		"an unknown flag":  {[]string{"--exporter-url=x"}, "HINT: Is --exporter.url meant? See pg_reliability_monitor --help"},
		"no address":       {[]string{"--exporter.url=localhost:9187"}, "HINT: Write http://host:port"},
		"a secret in it":   {[]string{"--exporter.url=http://u:geheim@localhost"}, "HINT: Use --username and --password-file"},
		"two ways":         {[]string{"--container.name=db", "--systemd.unit=pg"}, "HINT: Keep the one that does"},
		"a host alone":     {[]string{"--container.host=unix:///x"}, "without --container.name"},
		"a unit's pattern": {[]string{"--systemd.unit=postgresql@*"}, "is not a unit's name"},
		"no systemd": {[]string{"--systemd.unit=postgresql"}, "there is no systemd on this machine. HINT: Run the screen where the " +
			"server runs"},
		"no certificate": {[]string{"--ca-file=main_test.go"}, "holds no certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "no systemd" {
				t.Setenv("PATH", t.TempDir())
			}
			var out, errs bytes.Buffer
			code := run(t.Context(), append(is.args, "--once"), func(string) (string, bool) { return "", false }, &out, &errs)
			if code != exitUsage || !strings.Contains(errs.String(), is.want) {
				t.Errorf("exit code %d: %s", code, errs.String())
			}
			if strings.Contains(errs.String(), "geheim") {
				t.Errorf("the error shows a secret: %s", errs.String())
			}
		})
	}
}

func TestWhereASCIIAloneIsDrawn(t *testing.T) {
	for name, is := range map[string]struct {
		system string
		env    map[string]string
		pipe   bool
		want   bool
	}{
		"no locale":                      {"linux", nil, false, true},
		"a locale of UTF-8":              {"linux", map[string]string{"LANG": "de_DE.UTF-8"}, false, false},
		"a pipe, a locale of UTF-8":      {"linux", map[string]string{"LANG": "C.utf8"}, true, false},
		"another locale before it":       {"linux", map[string]string{"LC_ALL": "C", "LANG": "C.UTF-8"}, false, true},
		"Windows' old console":           {"windows", nil, false, true},
		"Windows Terminal":               {"windows", map[string]string{"WT_SESSION": "7f4e"}, false, false},
		"a pipe in Windows Terminal":     {"windows", map[string]string{"WT_SESSION": "7f4e"}, true, true},
		"Git's shell on Windows, a pipe": {"windows", map[string]string{"LANG": "en_US.UTF-8", "TERM": "xterm"}, true, false},
		"a dumb terminal on Windows":     {"windows", map[string]string{"TERM": "dumb"}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			env := func(name string) (string, bool) { v, ok := is.env[name]; return v, ok }
			if got := onlyASCII(is.system, env, !is.pipe); got != is.want {
				t.Errorf("ASCII alone: %v", got)
			}
		})
	}
}
