package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

var roomInOutput = regexp.MustCompile(regexp.QuoteMeta(roomPrefix) + `\d+`)

// running is a demo, begun as `make demo` begins it.
type running struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  *pgtest.Buffer
	room string
}

func begin(t *testing.T, bin string, env ...string) *running {
	t.Helper()
	r := &running{t: t, cmd: exec.Command(filepath.Join(bin, "demo"), "-exporter="+filepath.Join(bin, "pg_reliability_exporter"),
		"-backup="+filepath.Join(bin, "pg_reliability_backup")), out: &pgtest.Buffer{}}
	r.cmd.Env = append(os.Environ(), env...)
	r.cmd.Stdout, r.cmd.Stderr = r.out, r.out
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait()
		if t.Failed() {
			t.Logf("the demo wrote:\n%s", r.out)
		}
	})
	pgtest.Eventually(t, time.Minute, func() error {
		if r.room = roomInOutput.FindString(r.out.String()); r.room == "" || !strings.Contains(r.out.String(), "  up | ") {
			return errors.New("the demo does not run yet")
		}
		return nil
	})
	return r
}

// processes of the demo's room, by the path in their command lines.
func (r *running) processes() map[int]string {
	found := map[int]string{}
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		b, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(b, []byte(r.room)) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		found[pid] = string(bytes.ReplaceAll(b, []byte{0}, []byte{' '}))
	}
	return found
}

// end waits for the demo's end and returns its exit code.
func (r *running) end() int {
	r.t.Helper()
	done := make(chan struct{})
	go func() { _ = r.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		r.t.Fatal("the demo does not end")
	}
	return r.cmd.ProcessState.ExitCode()
}

func (r *running) wantNoProcesses() {
	r.t.Helper()
	pgtest.Eventually(r.t, 10*time.Second, func() error {
		for _, p := range r.processes() {
			return errors.New("still there: " + p)
		}
		return nil
	})
}

func (r *running) wantNothingLeft() {
	r.t.Helper()
	r.wantNoProcesses()
	if _, err := os.Stat(r.room); !errors.Is(err, os.ErrNotExist) {
		r.t.Errorf("%s is left behind: %v", r.room, err)
	}
}

func TestDemo(t *testing.T) {
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", bin+"/", "../../cmd/pg_reliability_exporter",
		"../../cmd/pg_reliability_backup", ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}

	t.Run("ends by itself after DEMO_SECONDS", func(t *testing.T) {
		t.Parallel()
		r := begin(t, bin, "DEMO_SECONDS=12")
		if len(r.processes()) < 3 {
			t.Errorf("running: %v, want a server, the exporter and Prometheus", r.processes())
		}
		if code := r.end(); code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
		for _, want := range []string{"/metrics | promtool check metrics", "  up | read ", "Ran 12s: outages 0 (0.0 s) | restarts 0 | backups ",
			", Prometheus' newest scrape up"} {
			if !strings.Contains(r.out.String(), want) {
				t.Errorf("the demo did not write %q", want)
			}
		}
		r.wantNothingLeft()
	})

	t.Run("three servers are watched, one of them a standby", func(t *testing.T) {
		t.Parallel()
		r := begin(t, bin, "DEMO_SERVERS=3")
		// Of the first server, as of the others: what its owner must let the role read is read (sequences.sql).
		main := regexp.MustCompile(`http://\S+/metrics`).FindString(r.out.String())
		for url, want := range map[string][]string{
			main: {"\npg_reliability_sequence_used_ratio{"},
			regexp.MustCompile(`http://\S+target=standby`).FindString(r.out.String()): {"\npg_up 1\n", "\npg_replication_is_replica 1\n"},
			regexp.MustCompile(`http://\S+target=other`).FindString(r.out.String()):   {"\npg_up 1\n", "\npg_replication_is_replica 0\n"},
		} {
			pgtest.Eventually(t, 40*time.Second, func() error {
				out, err := exec.Command("curl", "-s", url).CombinedOutput()
				for _, w := range want {
					if err != nil || !strings.Contains(string(out), w) {
						return fmt.Errorf("%s: no %q, %w", url, w, err)
					}
				}
				return nil
			})
		}
		if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := r.end(); code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
		r.wantNothingLeft()
	})

	t.Run("ends on a signal", func(t *testing.T) {
		t.Parallel()
		for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
			r := begin(t, bin)
			if err := r.cmd.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
			if code := r.end(); code != 0 {
				t.Errorf("%s: exit code %d, want 0", s, code)
			}
			r.wantNothingLeft()
		}
	})

	t.Run("ends when nobody reads any more", func(t *testing.T) {
		t.Parallel()
		cmd := exec.Command("bash", "-c", `set -o pipefail; "$0" -exporter="$1" -backup= | head -n 20`,
			filepath.Join(bin, "demo"), filepath.Join(bin, "pg_reliability_exporter"))
		out := &pgtest.Buffer{}
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		r := &running{t: t, cmd: cmd, out: out}
		if code := r.end(); code != 1 {
			t.Errorf("exit code %d, want 1", code)
		}
		if r.room = roomInOutput.FindString(out.String()); r.room == "" {
			t.Fatalf("the demo wrote: %s", out)
		}
		r.wantNothingLeft()
	})

	t.Run("fails when the exporter dies", func(t *testing.T) {
		t.Parallel()
		r := begin(t, bin)
		for pid, command := range r.processes() {
			if strings.Contains(command, "--state.dir") {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		if code := r.end(); code != 1 || !strings.Contains(r.out.String(), "exporter ended by itself") {
			t.Errorf("exit code %d, want 1 and the exporter's end", code)
		}
		r.wantNothingLeft()
	})

	t.Run("the server that was stopped starts again", func(t *testing.T) {
		t.Parallel()
		r := begin(t, bin)
		// As the demo tells its user.
		line := regexp.MustCompile(`kill -INT \$\(.*\)`).FindString(r.out.String())
		if out, err := exec.Command("bash", "-c", line).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", line, err, out)
		}
		for _, want := range []string{"  down: ", "  up\n", "restarts 1"} {
			pgtest.Eventually(t, 40*time.Second, func() error {
				if !strings.Contains(r.out.String(), want) {
					return errors.New("the demo did not write " + strconv.Quote(want))
				}
				return nil
			})
		}
		if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := r.end(); code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
		r.wantNothingLeft()
	})

	t.Run("killed, it leaves no process, and the next one sweeps its files", func(t *testing.T) {
		t.Parallel()
		r := begin(t, bin)
		if err := r.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = r.end()
		r.wantNoProcesses()
		pgtest.Eventually(t, 20*time.Second, func() error {
			next, err := openRoom()
			if err != nil {
				return err
			}
			if _, err := os.Stat(r.room); err == nil {
				return errors.Join(errors.New(r.room+" is left behind"), next.close())
			}
			return next.close()
		})
	})
}
