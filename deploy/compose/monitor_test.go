//go:build linux

package compose_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	processes "github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/stack"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/tmux"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

// screenAndPage publishes the exporter and the backup job, and looks at the database's container as a person does.
func screenAndPage(t *testing.T, s *stack) {
	s.override = "deploy/compose/publish-exporter.yml"
	s.mustCompose("up", "--detach")
	pgtest.Eventually(t, 5*time.Minute, s.unhealthy)
	m := &people{stack: s, program: processes.New(t, s.root).Program(t, "pg_reliability_monitor")}
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"published on loopback alone", m.published},
		{"status agrees with docker inspect", m.agrees},
		{"screen", m.screen},
		{"page", m.page},
		{"screen without the socket", m.noSocket},
	} {
		t.Run(step.name, func(t *testing.T) {
			defer func(was *testing.T) { s.t = was }(s.t)
			s.t = t
			step.run(t)
		})
	}
	s.override = ""
	s.mustCompose("up", "--detach")
	pgtest.Eventually(t, 5*time.Minute, s.unhealthy)
	if open := s.openPorts(); !slices.Equal(open, []string{"127.0.0.1:3000"}) {
		t.Errorf("open on the host without the override: %v", open)
	}
}

// people have a terminal and a browser on the engine's host.
type people struct {
	*stack
	program string
}

// get asks a published port.
func (m *people) get(method, url string) (int, string, error) {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: m.dial}}
	req, err := http.NewRequest(method, url, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

func (m *people) status() (status.Status, error) {
	var st status.Status
	code, body, err := m.get(http.MethodGet, "http://127.0.0.1:9187/api/status?history=none")
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("GET /api/status: %d: %s", code, body)
	}
	if err == nil {
		err = json.Unmarshal([]byte(body), &st)
	}
	return st, err
}

func (m *people) published(t *testing.T) {
	if open, want := m.openPorts(), []string{"127.0.0.1:3000", "127.0.0.1:9187", "127.0.0.1:9188"}; !slices.Equal(open, want) {
		t.Errorf("open on the host: %v, want %v", open, want)
	}
	if code, body, err := m.get(http.MethodPost, "http://127.0.0.1:9188/-/backup"); err != nil || code != http.StatusUnauthorized {
		t.Errorf("a backup asked for without the token: %d, %v: %s", code, err, body)
	}
	// Who shares a network with Grafana and the user's applications gets no further than before.
	for service, port := range map[string]string{"exporter": "9187", "backup": "9188"} {
		address := m.run("inspect", "--format", "{{(index .NetworkSettings.Networks \""+m.project+"_published\").IPAddress}}",
			m.container(service))
		if out, err := m.try("run", "--rm", "--network", m.project+"_frontend", "--entrypoint", "busybox", "standin/debian", "nc", "-w", "2",
			address, port); err == nil {
			t.Errorf("%s can be reached from the network of the applications: %s", service, out)
		}
		if out, err := m.try("run", "--rm", "--network", m.project+"_published", "--entrypoint", "busybox", "standin/debian", "nc", "-w", "2",
			address, port); err != nil {
			t.Errorf("%s can't be reached from its own network, and the check above proves nothing: %v: %s", service, err, out)
		}
	}
	token, err := os.ReadFile(filepath.Join(m.secrets, "backup_token"))
	if err != nil {
		t.Fatal(err)
	}
	if text := m.run("inspect", m.container("backup")) + m.run("logs", m.container("backup")); strings.Contains(text, string(token)) {
		t.Error("the token is in docker inspect or in the log")
	}
}

// inspected is what the engine says of the database's container.
type inspected struct {
	Name         string
	RestartCount int64
	State        struct {
		Status             string
		Running, OOMKilled bool
		StartedAt          time.Time
		Health             struct{ Status string }
	}
	HostConfig struct{ Memory int64 }
	Config     struct{ Image string }
}

func (m *people) engineSays() inspected {
	m.t.Helper()
	var list []inspected
	m.inspect(m.container("postgres"), &list)
	return list[0]
}

// agree returns an error unless the exporter says of the container what its engine says.
func (m *people) agree() error {
	st, err := m.status()
	if err != nil {
		return err
	}
	is, c := m.engineSays(), st.Container
	switch {
	case c == nil || c.StartedAt == nil || c.MemoryLimitBytes == nil:
		return fmt.Errorf("container = %+v", c)
	case "/"+c.Name != is.Name, c.State != is.State.Status, c.Running != is.State.Running, c.RestartCount != is.RestartCount,
		c.OOMKilled != is.State.OOMKilled, c.Health != is.State.Health.Status, is.State.StartedAt.Sub(*c.StartedAt).Abs() > time.Millisecond,
		*c.MemoryLimitBytes != is.HostConfig.Memory, c.Image != is.Config.Image:
		return fmt.Errorf("container = %+v, docker inspect: %+v", *c, is)
	}
	out := slices.ContainsFunc(st.Problems, func(p status.Problem) bool { return p.Alert == "PostgresContainerOOMKilled" })
	if out != is.State.OOMKilled {
		return fmt.Errorf("problems: %+v, docker inspect: %+v", st.Problems, is)
	}
	for _, v := range st.Volumes { // which the exporter has read-only, and the server has not
		if !v.OK || v.ReadOnly == nil || *v.ReadOnly {
			return fmt.Errorf("volume %+v", v)
		}
	}
	return nil
}

func (m *people) agrees(t *testing.T) {
	pgtest.Eventually(t, patience, m.agree)
	t.Logf("docker inspect: %+v", m.engineSays())
}

// begin starts the screen where the engine's ports are.
func (m *people) begin(t *testing.T, args ...string) *tmux.Terminal {
	t.Helper()
	const width, height = 80, 24
	command := []string{"env", "LC_ALL=C.UTF-8", "nsenter", "--net=/run/netns/" + m.namespace}
	return tmux.New(t, width, height, slices.Concat(command, args)...)
}

func (m *people) flags() []string {
	return []string{
		m.program, "--container.name=" + m.container("postgres"), "--container.host=unix://" + m.socket(),
		"--backup.token-file=" + filepath.Join(m.secrets, "backup_token"),
	}
}

var (
	answeredAfter = regexp.MustCompile(`answers again after ([0-9.]+) s`)
	madeBackup    = regexp.MustCompile(`Backup (\S+) is made: verified`)
)

func (m *people) screen(t *testing.T) {
	x := m.begin(t, m.flags()...)
	before := m.engineSays()
	x.Shows(t, "[UP]", "running, healthy", fmt.Sprintf("restart count %d", before.RestartCount), m.container("postgres"))

	pid, err := strconv.Atoi(m.run("inspect", "--format", "{{.State.Pid}}", m.container("postgres")))
	if err != nil || pid < 2 {
		t.Fatalf("the container's process is %d: %v", pid, err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	x.Shows(t, "[UP]", fmt.Sprintf("restart count %d", before.RestartCount+1), "container restarted")
	pgtest.Eventually(t, patience, m.agree)
	st, err := m.status()
	if err != nil || len(st.Outages.Recent) == 0 || !slices.Contains(st.Outages.Recent[0].Restarts, "container") ||
		!slices.Contains(st.Outages.Recent[0].Restarts, "restart") {
		t.Errorf("the outage of a kill -9: %+v, %v", st.Outages.Recent, err)
	}

	m.log(t, x)
	m.restart(t, x)

	x.Keys(t, "b")
	x.Shows(t, "Backup runs for")
	made := madeBackup.FindStringSubmatch(x.Shows(t, "is made: verified"))
	if made == nil {
		t.Fatal("the backup's id is not on the screen")
	}
	if out := m.mustCompose("exec", "-T", "backup", "pg_reliability_backup", "list"); !strings.Contains(out, made[1]) {
		t.Errorf("backup %s is not in the catalogue: %s", made[1], out)
	}
	pgtest.Eventually(t, patience, func() error { // the repository is looked at every 15 s
		st, err := m.status()
		if err == nil && (st.Backups == nil || st.Backups.Newest == nil || st.Backups.Newest.ID != made[1] ||
			st.Backups.Newest.State != "verified") {
			err = fmt.Errorf("backups = %+v, want %s", st.Backups, made[1])
		}
		return err
	})
	x.Keys(t, "q")
	x.Shows(t, "exit code 0")
}

// ready counts how often the container's log says that the server is up, and when it last did.
func (m *people) ready() (n int, at time.Time) {
	m.t.Helper()
	for line := range strings.Lines(m.run("logs", "--timestamps", m.container("postgres"))) {
		if strings.Contains(line, "ready to accept connections") {
			n++
			stamp, _, _ := strings.Cut(line, " ")
			var err error
			if at, err = time.Parse(time.RFC3339Nano, stamp); err != nil {
				m.t.Fatalf("%q: %v", line, err)
			}
		}
	}
	return n, at
}

// search types into the log's search and leaves it there.
func search(t *testing.T, x *tmux.Terminal, text string) {
	t.Helper()
	x.Keys(t, "/")
	x.Do(t, "send-keys", "-l", text)
	x.Keys(t, "Enter")
}

// leave ends the search, and then the log.
func leave(t *testing.T, x *tmux.Terminal) {
	t.Helper()
	x.Keys(t, "Escape")
	pgtest.Eventually(t, patience, func() error { // at once, Escape and L would be one key: Alt and L
		if screen := x.Screen(t); strings.Contains(screen, "lines match") {
			return fmt.Errorf("still searching:\n%s", screen)
		}
		return nil
	})
	x.Keys(t, "l")
	x.Shows(t, "Available")
}

func (m *people) log(t *testing.T, x *tmux.Terminal) {
	x.Keys(t, "l")
	x.Shows(t, "following, log of container "+m.container("postgres"), "ready to accept connections")
	if _, err := m.sql("SELECT 1 / 0"); err == nil {
		t.Fatal("a division by zero went well")
	}
	x.Shows(t, "ERROR: division by zero") // by itself
	n, _ := m.ready()
	search(t, x, "ready to accept")
	x.Shows(t, "> ", fmt.Sprintf("%d lines match", n))
	x.Keys(t, "n")
	x.Shows(t, "[F] follows")
	leave(t, x)
}

func (m *people) restart(t *testing.T, x *tmux.Terminal) {
	before := m.engineSays()
	x.Keys(t, "r")
	x.Shows(t, "Restart container "+m.container("postgres")+"?", "Every client loses its connection")
	x.Keys(t, "n")
	x.Shows(t, "Nothing was restarted")
	if now := m.engineSays(); !now.State.StartedAt.Equal(before.State.StartedAt) {
		t.Fatal("the container was restarted after a no")
	}
	n, _ := m.ready()
	x.Keys(t, "r")
	x.Shows(t, "Every client loses its connection")
	ordered := time.Now()
	x.Keys(t, "y")
	x.Shows(t, " s: container "+m.container("postgres"))
	said := answeredAfter.FindStringSubmatch(x.Shows(t, "answers again after"))
	if said == nil {
		t.Fatal("no seconds to recovery on the screen")
	}
	took, err := strconv.ParseFloat(said[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	after := m.engineSays()
	again, ready := m.ready()
	shown := ordered.Add(time.Duration(took * float64(time.Second)))
	t.Logf("%.1f s on the screen: %.1f s after the engine's start of the container, %.1f s after the server's word that it is ready",
		took, shown.Sub(after.State.StartedAt).Seconds(), shown.Sub(ready).Seconds())
	if !after.State.StartedAt.After(before.State.StartedAt) || again != n+1 {
		t.Errorf("the container was not restarted: %+v, ready %d times", after.State, again)
	}
	if took >= recoveryObjective.Seconds() || shown.Before(after.State.StartedAt) || shown.Sub(ready).Abs().Seconds() > clockTolerance {
		t.Errorf("the screen says that the server answered at %v; started at %v, ready at %v", shown, after.State.StartedAt, ready)
	}
	x.Keys(t, "l") // nothing that was written meanwhile is missing
	search(t, x, "ready to accept")
	x.Shows(t, fmt.Sprintf("%d lines match", again))
	leave(t, x)
	x.Shows(t, "[UP]")
}

// page is the status page after all that.
func (m *people) page(t *testing.T) {
	pgtest.Eventually(t, patience, func() error {
		code, body, err := m.get(http.MethodGet, "http://127.0.0.1:9187/")
		if err != nil || code != http.StatusOK {
			return fmt.Errorf("GET /: %d, %w", code, err)
		}
		is := m.engineSays()
		for _, want := range []string{
			"<h2 id=\"container\">Container</h2>", "<dd>" + m.container("postgres") + "</dd>", "<dd>running, healthy</dd>",
			fmt.Sprintf("<dt>Restart count</dt><dd>%d<span", is.RestartCount), "<dt>Memory limit</dt><dd>" + status.Size(is.HostConfig.Memory) +
				"</dd>",
			"<span class=\"note\">container restarted</span>", "<span class=\"note\">container started again</span>",
		} {
			if !strings.Contains(body, want) {
				err = errors.Join(err, fmt.Errorf("%s is not on the page", want))
			}
		}
		return err
	})
}

// noSocket is a screen that does not get to the engine: it shows the rest, and says why this is missing.
func (m *people) noSocket(t *testing.T) {
	name := "--container.name=" + m.container("postgres")
	t.Run("another path", func(t *testing.T) {
		x := m.begin(t, m.program, name, "--container.host=unix://"+m.dir+"/nowhere.sock")
		x.Shows(t, "[UP]", "restart count", "no such file or directory. HINT: Is the engine running?")
		x.Keys(t, "r")
		x.Shows(t, "Every client loses its connection")
		x.Keys(t, "y")
		x.Shows(t, "Not restarted: container engine at unix://"+m.dir+"/nowhere.sock")
		x.Keys(t, "q")
		x.Shows(t, "exit code 0")
	})
	t.Run("no right to", func(t *testing.T) {
		x := m.begin(t, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", m.program, name, "--container.host=unix://"+m.socket())
		x.Shows(t, "[UP]", "permission denied. HINT: This program's user needs the group that owns the socket")
		x.Keys(t, "b")
		x.Shows(t, "No backup from here: start it with --backup.token-file")
		x.Keys(t, "q")
		x.Shows(t, "exit code 0")
	})
}
