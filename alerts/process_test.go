package alerts_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/stack"
)

// process is a program that runs until the test ends, and can be killed and started again.
type process struct {
	name, url string
	command   func() *exec.Cmd

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
	killed atomic.Bool
	log    logBuffer
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.b.String()
	return s[max(0, len(s)-2000):]
}

// run starts a program and waits until it is ready.
func run(t testing.TB, name, url, ready string, command func() *exec.Cmd) *process {
	t.Helper()
	p := &process{name: name, url: url, command: command}
	p.start(t)
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s:\n%s", name, p.log.tail())
		}
	})
	pgtest.Eventually(t, 60*time.Second, func() error {
		if p.dead() {
			t.Fatalf("%s ended at its start:\n%s", name, p.log.tail())
		}
		_, err := get(url + ready)
		return err
	})
	return p
}

func (p *process) start(t testing.TB) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd = p.command()
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := spawn(p.cmd); err != nil {
		t.Fatalf("start %s: %v", p.name, err)
	}
	exited := make(chan struct{})
	p.exited = exited
	p.killed.Store(false)
	cmd := p.cmd
	go func() { _ = cmd.Wait(); close(exited) }()
}

func (p *process) dead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// died says whether it ended though nobody killed it.
func (p *process) died() bool { return !p.killed.Load() && p.dead() }

func (p *process) kill() {
	p.killed.Store(true)
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.cmd.Process.Kill()
	<-p.exited
}

var spawner struct {
	once  sync.Once
	queue chan func()
}

// spawn starts a child that dies with us. The kernel binds that to the thread that forked, which therefore lives on.
func spawn(cmd *exec.Cmd) error {
	spawner.once.Do(func() {
		spawner.queue = make(chan func())
		go func() {
			runtime.LockOSThread()
			for f := range spawner.queue {
				f()
			}
		}()
	})
	dieWithUs(cmd)
	done := make(chan error)
	spawner.queue <- func() { done <- cmd.Start() }
	return <-done
}

func get(url string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, resp.Status)
	}
	return string(b), err
}

func freePort(t testing.TB) int { return stack.Port(t) }

func freeAddress(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", freePort(t))
}

// newCluster is a server on a port of its own.
func newCluster(t testing.TB, settings map[string]string) *pgtest.Cluster {
	t.Helper()
	return pgtest.New(t, pgtest.Options{Port: freePort(t), Settings: settings})
}

// startExporter runs our exporter with the role that users give it.
func startExporter(t testing.TB, dsn string, args ...string) *process {
	t.Helper()
	address := freeAddress(t)
	path := program(t, "pg_reliability_exporter")
	return run(t, "exporter", "http://"+address, "/-/ready", func() *exec.Cmd {
		cmd := exec.Command(path, append([]string{"--web.listen-address=" + address, "--state.dir=none"}, args...)...)
		cmd.Env = append(os.Environ(), "DATA_SOURCE_NAME="+dsn)
		return cmd
	})
}

// startPrometheus runs Prometheus on a configuration.
func startPrometheus(t testing.TB, dir, address, config string, args ...string) *process {
	t.Helper()
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	path := stack.Tool(t, "prometheus")
	return run(t, "prometheus", "http://"+address, "/-/ready", func() *exec.Cmd {
		return exec.Command(path, append([]string{"--config.file=" + file, "--storage.tsdb.path=" + filepath.Join(dir, "prometheus"),
			"--web.listen-address=" + address}, args...)...)
	})
}

// startAlertmanager runs Alertmanager on our configuration with its webhooks sent to another address.
func startAlertmanager(t testing.TB, dir, address, webhook string, change func(string) string) *process {
	t.Helper()
	const shippedWebhook = "http://127.0.0.1:9095/"
	config := change(configuration(t))
	if !strings.Contains(config, shippedWebhook) {
		t.Fatalf("alertmanager.yml has no receiver at %s", shippedWebhook)
	}
	file := filepath.Join(dir, "alertmanager.yml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(config, shippedWebhook, webhook+"/")), 0o600); err != nil {
		t.Fatal(err)
	}
	path := stack.Tool(t, "prometheus-alertmanager", "alertmanager")
	return run(t, "alertmanager", "http://"+address, "/-/ready", func() *exec.Cmd {
		return exec.Command(path, "--config.file="+file, "--storage.path="+filepath.Join(dir, "alertmanager"),
			"--web.listen-address="+address, "--cluster.listen-address=")
	})
}
