//go:build linux

package compose_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// engine is a Docker engine of the test's own, in a network namespace of its own: its ports are nobody's else, its
// firewall rules touch nothing, and whatever happens all of it is gone afterwards.
type engine struct {
	t         *testing.T // the step that runs
	owner     *testing.T
	dir       string // short, for the unix sockets in it
	namespace string
	docker    string
	process   *exec.Cmd
	dead      chan struct{}
}

func newEngine(t *testing.T) *engine {
	t.Helper()
	docker, err := exec.LookPath("docker")
	if err != nil {
		t.Fatalf("no docker: %v. HINT: Run internal/pgtest/install.sh docker", err)
	}
	dir, err := os.MkdirTemp("/tmp", "pgr-")
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{t: t, owner: t, dir: dir, namespace: filepath.Base(dir), docker: docker}
	t.Cleanup(func() {
		e.stop()
		// What a failed run leaves mounted would keep the directory.
		_, _ = output(exec.Command("sh", "-c", "grep -o '"+dir+"[^ ]*' /proc/mounts | sort -r | xargs -r umount -l"))
		_, _ = output(exec.Command("ip", "netns", "del", e.namespace))
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the engine's directory: %v", err)
		}
	})
	for _, args := range [][]string{{"netns", "add", e.namespace}, {"-n", e.namespace, "link", "set", "lo", "up"}} {
		if out, err := output(exec.Command("ip", args...)); err != nil {
			t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
	e.start()
	return e
}

func (e *engine) socket() string { return filepath.Join(e.dir, "docker.sock") }

// start starts the engine, again where it was stopped. Live restore is off, as it is by default.
func (e *engine) start() {
	e.t.Helper()
	log, err := os.OpenFile(filepath.Join(e.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		e.t.Fatal(err)
	}
	defer log.Close()
	// `ip netns exec` would mount a /sys of its own, without the control groups.
	e.process = exec.Command("nsenter", "--net=/run/netns/"+e.namespace, "dockerd", "--host", "unix://"+e.socket(),
		"--data-root", e.dir+"/data", "--exec-root", e.dir+"/exec", "--pidfile", e.dir+"/pid")
	e.process.Stdout, e.process.Stderr = log, log
	if err := e.process.Start(); err != nil {
		e.t.Fatal(err)
	}
	dead := make(chan struct{})
	e.dead = dead
	process := e.process
	go func() { defer close(dead); _ = process.Wait() }()
	pgtest.Eventually(e.t, time.Minute, func() error {
		select {
		case <-dead:
			text, _ := os.ReadFile(filepath.Join(e.dir, "log"))
			e.t.Fatalf("dockerd ended: %s", text[max(0, len(text)-3000):])
		default:
		}
		_, err := e.try("version")
		return err
	})
}

// stop ends the engine as a shutdown of the host does, and with it all containers.
func (e *engine) stop() {
	if e.process == nil {
		return
	}
	_ = e.process.Process.Signal(syscall.SIGTERM)
	select {
	case <-e.dead:
	case <-time.After(pgtest.Patience(3 * time.Minute)):
		e.t.Errorf("dockerd did not end")
		_ = e.process.Process.Kill()
		<-e.dead
	}
	e.process = nil
}

func (e *engine) environ() []string {
	return append(os.Environ(), "DOCKER_HOST=unix://"+e.socket(), "DOCKER_CONFIG="+e.dir+"/config")
}

func (e *engine) try(args ...string) (string, error) {
	cmd := exec.Command(e.docker, args...)
	cmd.Env = e.environ()
	out, err := output(cmd)
	if err != nil {
		return out, fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return out, nil
}

func (e *engine) run(args ...string) string {
	e.t.Helper()
	out, err := e.try(args...)
	if err != nil {
		e.t.Fatal(err)
	}
	return out
}

func (e *engine) inspect(container string, into any) {
	e.t.Helper()
	if err := json.Unmarshal([]byte(e.run("inspect", container)), into); err != nil {
		e.t.Fatal(err)
	}
}

// output is what a command said, both streams, without the last line break.
func output(cmd *exec.Cmd) (string, error) {
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	err := cmd.Run()
	return strings.TrimSpace(b.String()), err
}

// stack is the compose project.
type stack struct {
	*engine
	root, project, secrets, tool string
	settings                     []string // of .env
	override                     string   // a second compose file
	dotenv                       string   // a file in the place of .env, with all settings and COMPOSE_FILE
	wrapped                      string   // the directory of a `docker` for the commands of the guides
	measured                     []measurement
	notes                        []string
}

func newStack(e *engine) *stack {
	e.t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		e.t.Fatal(err)
	}
	tool, err := pgtest.Tool("docker-compose", "compose")
	if err != nil {
		e.t.Fatal(err)
	}
	s := &stack{engine: e, root: root, project: "pgr-test", secrets: filepath.Join(e.dir, "secrets"), tool: tool}
	s.settings = []string{"DOCKER_SOCKET=" + e.socket(), "SECRETS_DIR=" + s.secrets}
	if out, err := output(exec.Command(filepath.Join(root, "deploy/compose/secrets.sh"), s.secrets)); err != nil {
		e.t.Fatalf("make secrets: %v: %s", err, out)
	}
	// Some passwords are people's own: two of those that go through a password file, whose marks these are.
	for _, name := range []string{"app_password", "replication_password"} {
		path := filepath.Join(s.secrets, name)
		if err := errors.Join(os.Remove(path), os.WriteFile(path, []byte(`it's "a:`+name+`"`), 0o444)); err != nil {
			e.t.Fatal(err)
		}
	}
	info, err := os.Stat(e.socket())
	if err != nil {
		e.t.Fatal(err)
	}
	s.settings = append(s.settings, fmt.Sprintf("DOCKER_GID=%d", info.Sys().(*syscall.Stat_t).Gid))
	return s
}

// compose runs `docker compose` with the project's own file and nobody's .env, or with all that s.dotenv says.
func (s *stack) compose(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	command := []string{"--project-name", s.project, "--progress", "plain"}
	settings := s.settings
	if s.dotenv != "" {
		command, settings = append(command, "--env-file", s.dotenv), nil
	} else {
		command = append(command, "--project-directory", s.root, "--file", filepath.Join(s.root, "docker-compose.yml"), "--env-file", os.DevNull)
	}
	if s.override != "" {
		command = append(command, "--file", filepath.Join(s.root, s.override))
	}
	cmd := exec.CommandContext(ctx, s.tool, append(command, args...)...)
	cmd.Dir = s.root
	cmd.Env = append(s.environ(), settings...)
	out, err := output(cmd)
	if err != nil {
		return out, fmt.Errorf("docker compose %s: %w: %s", strings.Join(args, " "), err, tail(out, 6000))
	}
	return out, nil
}

func (s *stack) mustCompose(args ...string) string {
	s.t.Helper()
	out, err := s.compose(args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

func (s *stack) container(service string) string { return s.project + "-" + service + "-1" }

// sql asks the server as its superuser, inside its container, and fails with an error where it does not answer.
func (s *stack) sql(statement string) (string, error) {
	return s.try("exec", s.container("postgres"), "psql", "--no-psqlrc", "-U", "postgres", "-d", "app", "-Atc", statement)
}

func (s *stack) mustSQL(statement string) string {
	s.t.Helper()
	out, err := s.sql(statement)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// unhealthy lists the services that are not as they should be.
func (s *stack) unhealthy() error {
	var errs []error
	for _, service := range services {
		out, err := s.try("inspect", "--format", "{{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{end}}", s.container(service))
		if err == nil && out != "running healthy" {
			err = fmt.Errorf("%s is %s", service, out)
		}
		errs = append(errs, err)
	}
	out, err := s.try("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", s.container("bootstrap"))
	if err == nil && out != "exited 0" {
		err = fmt.Errorf("bootstrap is %s", out)
	}
	return errors.Join(append(errs, err)...)
}

// build makes an image with the engine's own builder; the context is a tar stream.
func (e *engine) build(tag string, context io.Reader) {
	e.t.Helper()
	cmd := exec.Command(e.docker, "build", "--quiet", "--network", "none", "--tag", tag, "-")
	cmd.Env = append(e.environ(), "DOCKER_BUILDKIT=0")
	cmd.Stdin = context
	if out, err := output(cmd); err != nil {
		e.t.Fatalf("build the stand-in %s: %v: %s", tag, err, tail(out, 3000))
	}
}

// explain shows, after a failure, what the containers said.
func (s *stack) explain() {
	out, _ := s.compose("ps", "--all")
	s.t.Log(out)
	for _, service := range append([]string{"bootstrap"}, services...) {
		out, _ := s.try("logs", "--tail", "25", s.container(service))
		s.t.Logf("%s:\n%s", service, tail(out, 4000))
	}
}
