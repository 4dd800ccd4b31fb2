package source

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/containers"
)

// dockerSwitch turns the tests with a real engine on. They start an engine of their own, so they need
// root and dockerd, and with the switch on they fail, not skip, where these are missing.
const dockerSwitch = "PG_RELIABILITY_DOCKER"

// dockerEngine is a Docker engine that was started for one test, without a network.
type dockerEngine struct {
	t      *testing.T
	host   string
	client *http.Client
	dead   chan struct{} // closed when the engine's process has ended
	stop   func(os.Signal)
}

func startDocker(t *testing.T) *dockerEngine {
	t.Helper()
	if os.Getenv(dockerSwitch) != "1" {
		t.Skipf("a real container engine is used when %s=1: needs root and dockerd", dockerSwitch)
	}
	dockerd, err := exec.LookPath("dockerd")
	if err != nil {
		t.Fatalf("%s=1, but there is no dockerd: %v. HINT: apt install docker.io", dockerSwitch, err)
	}
	if os.Getuid() != 0 {
		t.Fatalf("%s=1, but dockerd needs root", dockerSwitch)
	}
	dir := shortDir(t)
	socket := filepath.Join(dir, "docker.sock")
	var log bytes.Buffer
	cmd := exec.Command(dockerd, "--host", "unix://"+socket, "--data-root", dir+"/data", "--exec-root", dir+"/exec",
		"--pidfile", dir+"/pid", "--bridge", "none", "--iptables=false", "--storage-driver", "vfs")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d := &dockerEngine{t: t, host: "unix://" + socket, dead: make(chan struct{}), client: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
		DisableKeepAlives: true,
	}}}
	go func() { defer close(d.dead); _ = cmd.Wait() }()
	d.stop = func(s os.Signal) { _ = cmd.Process.Signal(s) }
	t.Cleanup(func() {
		d.stop(syscall.SIGCONT)
		d.stop(syscall.SIGTERM)
		<-d.dead
		if t.Failed() {
			t.Logf("dockerd: %s", log.String())
		}
	})
	waitFor(t, "dockerd to answer", func() bool {
		select {
		case <-d.dead:
			t.Fatalf("dockerd can't be started on this machine: %s", log.String())
		default:
		}
		resp, err := d.client.Get("http://docker/_ping")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	d.load()
	return d
}

// do asks the engine's API and fails the test unless it says yes.
func (d *dockerEngine) do(method, path string, body io.Reader, contentType string) {
	d.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, "http://docker"+path, body)
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := d.client.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(resp.Body)
	if resp.StatusCode >= 400 {
		d.t.Fatalf("%s %s: %s: %s", method, path, resp.Status, said)
	}
}

// load makes an image of nothing but one static program.
func (d *dockerEngine) load() {
	d.t.Helper()
	binary := filepath.Join(shortDir(d.t), "app")
	build := exec.Command("go", "build", "-o", binary, "./testdata/container")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		d.t.Fatalf("build the container's program: %v: %s", err, out)
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		d.t.Fatal(err)
	}
	var image bytes.Buffer
	w := tar.NewWriter(&image)
	if err := w.WriteHeader(&tar.Header{Name: "app", Mode: 0o755, Size: int64(len(program))}); err != nil {
		d.t.Fatal(err)
	}
	if _, err := w.Write(program); err != nil {
		d.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		d.t.Fatal(err)
	}
	d.do("POST", "/images/create?fromSrc=-&repo=pgr&tag=test", &image, "application/x-tar")
}

type object = map[string]any

// create makes a container that runs the program, and removes it when the test ends.
func (d *dockerEngine) create(name, what string, hostConfig, more object) {
	d.t.Helper()
	hostConfig["NetworkMode"] = "none"
	config := object{"Image": "pgr:test", "Cmd": []string{"/app", what}, "HostConfig": hostConfig}
	for k, v := range more {
		config[k] = v
	}
	body, err := json.Marshal(config)
	if err != nil {
		d.t.Fatal(err)
	}
	d.do("POST", "/containers/create?name="+name, bytes.NewReader(body), "application/json")
	d.t.Cleanup(func() { d.do("DELETE", "/containers/"+name+"?force=1", nil, "") })
}

func (d *dockerEngine) tell(name, verb string) {
	d.t.Helper()
	d.do("POST", "/containers/"+name+"/"+verb, nil, "")
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestContainerOnARealEngine(t *testing.T) {
	d := startDocker(t)
	always := object{"RestartPolicy": object{"Name": "always"}}
	// until waits for one value; other values of that same answer are in the returned map.
	until := func(t *testing.T, c *Container, key string, want func(float64) bool) map[string]float64 {
		t.Helper()
		var got map[string]float64
		waitFor(t, c.name+" to have the right "+key, func() bool {
			var err error
			if got, err = collected(t, c); err != nil {
				t.Fatal(err)
			}
			v, ok := got["pg_reliability_container_"+key]
			return ok && want(v)
		})
		return got
	}
	is := func(want float64) func(float64) bool { return func(v float64) bool { return v == want } }
	check := func(t *testing.T, got map[string]float64, want map[string]float64) {
		t.Helper()
		for key, w := range want {
			if v, ok := got["pg_reliability_container_"+key]; !ok || v != w {
				t.Errorf("%s is %v (%v), want %v", key, v, ok, w)
			}
		}
	}
	source := func(t *testing.T, name string) *Container {
		t.Helper()
		return newContainer(t, ContainerOptions{Name: name, Host: d.host})
	}

	t.Run("created, running, paused, stopped", func(t *testing.T) {
		d.create("steady", "sleep", object{"Memory": 64 << 20, "Init": false}, nil)
		c := source(t, "steady")
		got, err := collected(t, c)
		if err != nil {
			t.Fatal(err)
		}
		check(t, got, map[string]float64{"running{steady}": 0, "state{steady,created}": 1, "info{steady,pgr:test}": 1})
		for _, absent := range []string{"start_timestamp_seconds{steady}", "exit_code{steady}", "health{steady,healthy}"} {
			if v, ok := got["pg_reliability_container_"+absent]; ok {
				t.Errorf("before the first start %s is %v, want it absent", absent, v)
			}
		}
		before := float64(time.Now().Unix())
		d.tell("steady", "start")
		got = until(t, c, "running{steady}", is(1))
		check(t, got, map[string]float64{"state{steady,running}": 1, "restart_count{steady}": 0, "oom_killed{steady}": 0,
			"memory_limit_bytes{steady}": 64 << 20})
		if started := got["pg_reliability_container_start_timestamp_seconds{steady}"]; started < before-1 || started > before+20 {
			t.Errorf("started at %v, want about %v", started, before)
		}
		d.tell("steady", "pause")
		until(t, c, "state{steady,paused}", is(1))
		d.tell("steady", "unpause")
		d.tell("steady", "kill")
		check(t, until(t, c, "state{steady,exited}", is(1)), map[string]float64{"running{steady}": 0, "exit_code{steady}": 137})
	})

	t.Run("restarts are counted and told", func(t *testing.T) {
		d.create("crashing", "exit3", always, nil)
		d.tell("crashing", "start")
		var told atomic.Int64
		c := newContainer(t, ContainerOptions{Name: "crashing", Host: d.host})
		c.OnState(func(id string, restarts int, started time.Time, _ bool) {
			if len(id) != 64 || time.Since(started) > time.Minute {
				t.Errorf("OnState was told %q, %s", id, started)
			}
			told.Store(int64(restarts))
		})
		got := until(t, c, "restart_count{crashing}", func(v float64) bool { return v >= 2 })
		if v := got["pg_reliability_container_restart_count{crashing}"]; float64(told.Load()) != v {
			t.Errorf("OnState was told %d restarts, the metric says %v", told.Load(), v)
		}
		check(t, until(t, c, "state{crashing,restarting}", is(1)), map[string]float64{"running{crashing}": 0, "exit_code{crashing}": 3})
	})

	t.Run("health", func(t *testing.T) {
		test := func(what string) object {
			return object{"Healthcheck": object{"Test": []string{"CMD", "/app", what}, "Interval": int64(100 * time.Millisecond), "Retries": 1}}
		}
		d.create("well", "sleep", object{}, test("ok"))
		d.create("ill", "sleep", object{}, test("exit3"))
		d.tell("well", "start")
		d.tell("ill", "start")
		check(t, until(t, source(t, "well"), "health{well,healthy}", is(1)),
			map[string]float64{"health{well,unhealthy}": 0, "health{well,starting}": 0})
		check(t, until(t, source(t, "ill"), "health{ill,unhealthy}", is(1)), map[string]float64{"health{ill,healthy}": 0, "running{ill}": 1})
	})

	t.Run("killed for want of memory", func(t *testing.T) {
		d.create("hungry", "eat", object{"Memory": 16 << 20, "MemorySwap": 16 << 20}, nil)
		// The engine forgets the kill when it learns of the end first, so it may take more than one.
		c := source(t, "hungry")
		waitFor(t, "the engine to tell of a kill for want of memory", func() bool {
			d.tell("hungry", "start")
			got := until(t, c, "state{hungry,exited}", is(1))
			check(t, got, map[string]float64{"exit_code{hungry}": 137})
			return got["pg_reliability_container_oom_killed{hungry}"] == 1
		})
	})

	t.Run("no such container", func(t *testing.T) {
		got, err := collected(t, source(t, "nobody"))
		if err == nil || !strings.Contains(err.Error(), "there is no container nobody. HINT:") || len(got) != 0 {
			t.Errorf("error %v with %v, want it to say that there is none", err, got)
		}
	})

	// What the terminal screen does with the database's container.
	t.Run("its log is followed across a restart", func(t *testing.T) {
		d.create("talker", "log", object{}, nil)
		d.tell("talker", "start")
		engine, err := containers.NewEngine(d.host, 0)
		if err != nil {
			t.Fatal(err)
		}
		lines := func(count int, from time.Time) time.Time {
			t.Helper()
			log, err := engine.Logs(t.Context(), "talker", 10, from)
			if err != nil {
				t.Fatal(err)
			}
			defer log.Close()
			var said []string
			for scanner := bufio.NewScanner(log); len(said) < 2*count && scanner.Scan(); {
				said = append(said, scanner.Text())
			}
			slices.Sort(said) // two streams
			if want := slices.Concat(slices.Repeat([]string{"began"}, count), slices.Repeat([]string{"complains"}, count)); !slices.Equal(said,
				want) {
				t.Errorf("the log is %q, want %q", said, want)
			}
			return log.Newest()
		}
		newest := lines(1, time.Time{})
		before, err := engine.Inspect(t.Context(), "talker")
		if err != nil {
			t.Fatal(err)
		}
		if err := engine.Restart(t.Context(), "talker", time.Second); err != nil {
			t.Fatal(err)
		}
		after, err := engine.Inspect(t.Context(), "talker")
		if err != nil || after.State.Word() != "running" || !after.State.StartedAt.After(before.State.StartedAt) {
			t.Errorf("after the restart: %+v, %v", after.State, err)
		}
		lines(2, time.Time{})
		if last := lines(1, newest); !last.After(newest) {
			t.Errorf("a log from %v on ends with %v", newest, last)
		}
	})

	t.Run("the engine hangs, then is gone", func(t *testing.T) {
		c := newContainer(t, ContainerOptions{Name: "steady", Host: d.host, Timeout: 200 * time.Millisecond})
		d.stop(syscall.SIGSTOP)
		var err error
		waitFor(t, "the engine to stop", func() bool { // not all its threads do at once
			_, err = collected(t, c)
			return err != nil
		})
		d.stop(syscall.SIGCONT)
		if err == nil || !strings.Contains(err.Error(), "HINT: The engine accepts but does not answer") {
			t.Errorf("error %v, want the hang", err)
		}
		waitFor(t, "the engine to go on", func() bool {
			_, err := collected(t, source(t, "nobody"))
			return strings.Contains(fmt.Sprint(err), "no container")
		})
	})
}
