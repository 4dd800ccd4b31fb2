package packages_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

const bootTimeout = 2 * time.Minute

// container is a machine with systemd as its first process, a network of its own, and this machine's files, which it
// can't change.
type container struct {
	t      *testing.T
	leader int
	guides *guides
}

// boot starts a container with the packages of a directory in /opt/packages, and with the directories given.
func boot(t *testing.T, packages string, directories ...string) *container {
	t.Helper()
	work, err := os.MkdirTemp("", "pgr-")
	if err != nil {
		t.Fatal(err)
	}
	name := "pgr-" + strconv.Itoa(os.Getpid())
	var log bytes.Buffer
	cmd := exec.Command("unshare", append([]string{"--mount", "--propagation", "private", "testdata/boot.sh", work, packages, name},
		directories...)...)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &container{t: t}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		if c.leader != 0 {
			_ = syscall.Kill(c.leader, syscall.SIGKILL) // the first process takes all others along
		} else {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		}
		<-ended
		_ = os.RemoveAll(work)
	})
	pgtest.Eventually(t, bootTimeout, func() error {
		select {
		case <-ended:
			t.Fatalf("systemd could not be booted in a container here: %s", log.String())
		default:
		}
		if c.leader == 0 {
			c.leader = systemdBelow(cmd.Process.Pid)
		}
		if c.leader == 0 {
			return fmt.Errorf("no first process yet: %s", log.String())
		}
		_, err := c.try("systemctl is-active basic.target")
		return err
	})
	return c
}

// systemdBelow is the systemd that pid started, or 0 while it is busy with other things.
func systemdBelow(pid int) int {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range tasks {
		text, _ := os.ReadFile(f)
		for _, child := range strings.Fields(string(text)) {
			name, _ := os.ReadFile("/proc/" + child + "/comm")
			if n, err := strconv.Atoi(child); err == nil && strings.TrimSpace(string(name)) == "systemd" {
				return n
			}
		}
	}
	return 0
}

// enter is a command that runs another one in the container, with an environment of its own.
func (c *container) enter(command ...string) []string {
	return append([]string{"nsenter", "--target", strconv.Itoa(c.leader), "--mount", "--uts", "--ipc", "--net", "--pid", "--",
		"env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/root",
		"TERM=xterm-256color", "DEBIAN_FRONTEND=noninteractive"}, command...)
}

// try runs a shell script in the container.
func (c *container) try(script string) (string, error) { return c.shell(script, "/bin/sh", "-euc") }

func (c *container) shell(script string, shell ...string) (string, error) {
	words := c.enter(append(shell, script)...)
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		return text, fmt.Errorf("%s: %w: %s", script, err, text)
	}
	return text, nil
}

// run is try that must succeed.
func (c *container) run(script string) string {
	c.t.Helper()
	out, err := c.try(script)
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

// eventually waits until the script prints each of the wanted texts.
func (c *container) eventually(script string, wanted ...string) {
	c.t.Helper()
	pgtest.Eventually(c.t, 2*time.Minute, func() error {
		out, err := c.try(script)
		if err != nil {
			return err
		}
		for _, w := range wanted {
			if !strings.Contains(out, w) {
				return fmt.Errorf("%s: no %q in: %.2000s", script, w, out)
			}
		}
		return nil
	})
}

// mustPrint wants a script to succeed and print exactly that.
func (c *container) mustPrint(want, script string) {
	c.t.Helper()
	if got := c.run(script); got != want {
		c.t.Errorf("%s\nprinted %q\nnot     %q", script, got, want)
	}
}
