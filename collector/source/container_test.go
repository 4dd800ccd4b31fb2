package source

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/containers"
)

func TestContainerOptionErrorsSayWhatIsRight(t *testing.T) {
	for name, tc := range map[string]struct {
		opts ContainerOptions
		want string
	}{
		"no name":          {ContainerOptions{}, `"" can't be the name of a container. HINT:`},
		"path in the name": {ContainerOptions{Name: "../images"}, `"../images" can't be the name of a container. HINT:`},
		"bare path":        {ContainerOptions{Name: "db", Host: "/var/run/docker.sock"}, `does not say how to reach it. HINT: Write unix:///`},
		"two slashes":      {ContainerOptions{Name: "db", Host: "unix://var/run/docker.sock"}, `has no absolute path to a socket. HINT:`},
		"no port":          {ContainerOptions{Name: "db", Host: "tcp://engine"}, `"tcp://engine" is not tcp://host:port. HINT:`},
		"ssh":              {ContainerOptions{Name: "db", Host: "ssh://u:secret@engine"}, `ssh:// is not supported. HINT:`},
		"password":         {ContainerOptions{Name: "db", Host: "tcp://u:secret@engine:1"}, `is not tcp://host:port. HINT:`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewContainer(tc.opts)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error %v, want it to hold %q", err, tc.want)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error holds a secret: %v", err)
			}
		})
	}
}

// madeUpEngine serves a made-up engine on a unix socket and returns its address.
func madeUpEngine(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	socket := filepath.Join(shortDir(t), "engine.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return "unix://" + socket
}

// shortDir is a directory whose path leaves room for a socket's name within 108 bytes.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pgr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func newContainer(t *testing.T, o ContainerOptions) *Container {
	t.Helper()
	if o.Name == "" {
		o.Name = "db"
	}
	c, err := NewContainer(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestContainerEngineFaults(t *testing.T) {
	// Each secret is what a container's environment would give away.
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"no such container": {answer(404, `{"message":"No such container: db"}`), "there is no container db. HINT:"},
		"not an engine":     {answer(404, `<html>not found</html>`), `status 404 for container db: "Not Found". HINT: Is another service`},
		"proxy forbids":     {answer(403, `<html>secret</html>`), `status 403 for container db: "Forbidden". HINT: A proxy`},
		"engine's error":    {answer(500, `{"message":"layer is gone"}`), `status 500 for container db: "layer is gone"`},
		"redirect":          {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "http://127.0.0.1:1/", 302) }, "status 302"},
		"no JSON":           {answer(200, `<html>secret</html>`), "not what the Docker Engine API says"},
		"other JSON":        {answer(200, `{"Env":["PGPASSWORD=secret"]}`), "has no id or state"},
		"wrong types":       {answer(200, `{"Id":1,"RestartCount":"secret"}`), "not what the Docker Engine API says"},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			chunk := strings.Repeat("x", 1<<16)
			for range 2 * containers.MaxInspection >> 16 {
				if _, err := fmt.Fprint(w, chunk); err != nil {
					return
				}
			}
		}, "is longer than"},
		"cut": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, `{"Id":`)
		}, "unexpected EOF"},
		"hangs": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "HINT: The engine accepts but does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			host := madeUpEngine(t, tc.handler)
			// Only the engine that hangs is to be given up quickly. The others answer, and a busy machine may take its time to read them.
			timeout := time.Minute
			if name == "hangs" {
				timeout = 200 * time.Millisecond
			}
			c := newContainer(t, ContainerOptions{Host: host, Timeout: timeout})
			c.OnState(func(string, int, time.Time, bool) { t.Error("OnState is told of a failure") })
			got, err := collected(t, c)
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), host) {
				t.Fatalf("error %v, want it to hold %q and %q", err, tc.want, host)
			}
			if len(got) != 0 {
				t.Errorf("samples without an answer: %v", got)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error holds a secret: %v", err)
			}
		})
	}
}

func TestContainerEngineUnreachable(t *testing.T) {
	gone := filepath.Join(shortDir(t), "gone.sock")
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for name, tc := range map[string]struct{ host, want string }{
		"no socket": {"unix://" + gone, "HINT: Is the engine running? Inside a container, mount the socket"},
		"no port":   {"tcp://" + closed.Addr().String(), "HINT: Is the engine running?"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := collected(t, newContainer(t, ContainerOptions{Host: tc.host}))
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), tc.host) {
				t.Errorf("error %v, want it to hold %q and %q", err, tc.want, tc.host)
			}
		})
	}
}

// What Podman 4 answers for a container without a health check, shortened.
const podmanAnswer = `{"Id":"8f1c","Created":"2026-01-02T03:04:05.1Z","State":{"Status":"stopped","Running":false,"Paused":false,
	"Restarting":false,"OOMKilled":true,"Dead":false,"Pid":0,"ExitCode":137,"Error":"","StartedAt":"2026-01-02T03:04:05.5+00:00",
	"FinishedAt":"2026-01-02T03:05:00Z","Health":{"Status":"","FailingStreak":0,"Log":null}},
	"RestartCount":7,"HostConfig":{"Memory":0},"Config":{"Image":"docker.io/library/postgres:17","Env":["POSTGRES_PASSWORD=secret"]}}`

func TestContainerOverTCPAndPodmansWords(t *testing.T) {
	var path string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path = r.URL.Path
		fmt.Fprint(w, podmanAnswer)
	}))
	defer server.Close()
	type state struct {
		id       string
		restarts int
		started  time.Time
	}
	var told []state
	c := newContainer(t, ContainerOptions{Host: "tcp://" + server.Listener.Addr().String()})
	c.OnState(func(id string, restarts int, started time.Time, _ bool) {
		told = append(told, state{id, restarts, started})
	})
	got, err := collected(t, c)
	if err != nil {
		t.Fatal(err)
	}
	if path != "/containers/db/json" {
		t.Errorf("asked %s", path)
	}
	for key, want := range map[string]float64{
		"running{db}": 0, "state{db,exited}": 1, "state{db,running}": 0, "restart_count{db}": 7, "oom_killed{db}": 1,
		"exit_code{db}": 137, "start_timestamp_seconds{db}": 1767323045.5, "info{db,docker.io/library/postgres:17}": 1,
	} {
		if v, ok := got["pg_reliability_container_"+key]; !ok || v != want {
			t.Errorf("%s is %v (%v), want %v", key, v, ok, want)
		}
	}
	for key := range got {
		if strings.Contains(key, "health") || strings.Contains(key, "memory_limit") {
			t.Errorf("%s is emitted though unknown", key)
		}
	}
	if len(told) != 1 || told[0].id != "8f1c" || told[0].restarts != 7 || told[0].started.Unix() != 1767323045 {
		t.Errorf("OnState was told %+v", told)
	}
}
