package containers

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestPermissionDeniedNamesTheRemedy(t *testing.T) {
	e, err := NewEngine("unix:///run/gone.sock", 0)
	if err != nil {
		t.Fatal(err)
	}
	// Root may open any socket, so the kernel's answer is made here.
	e.client.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.EACCES)}
	}
	_, err = e.Inspect(t.Context(), "pg")
	if err == nil || !strings.Contains(err.Error(), "permission denied. HINT: This program's user needs the group") {
		t.Errorf("error %v, want the remedy", err)
	}
}

func TestAddressesOfEngines(t *testing.T) {
	const unix, windows = "unix:///var/run/docker.sock", "npipe:////./pipe/docker_engine"
	for name, is := range map[string]struct{ usual, host, network, address, err string }{
		"Docker's on Unix":       {unix, unix, "unix", "/var/run/docker.sock", ""},
		"Docker's on Windows":    {windows, windows, "npipe", `\\.\pipe\docker_engine`, ""},
		"another pipe":           {windows, "npipe:////./pipe/podman-machine-default", "npipe", `\\.\pipe\podman-machine-default`, ""},
		"a network's on Windows": {windows, "tcp://engine:2375", "tcp", "engine:2375", ""},
		"a socket on Windows":    {windows, unix, "unix", "/var/run/docker.sock", ""},
		"half a pipe": {windows, "npipe://./pipe/docker_engine", "", "",
			"does not name a pipe. HINT: Write npipe:////./pipe/docker_engine or tcp://host:2375"},
		"a pipe on Unix": {unix, windows, "", "", "npipe:// is not supported. HINT: Write unix:///var/run/docker.sock or tcp://host:2375"},
	} {
		t.Run(name, func(t *testing.T) {
			network, address, err := parseEngineHost(is.host, is.usual)
			if network != is.network || address != is.address || (err == nil) != (is.err == "") || err != nil &&
				!strings.Contains(err.Error(), is.err) {
				t.Errorf("%s, %s, %v", network, address, err)
			}
		})
	}
}

func TestRefusedOnWindows(t *testing.T) {
	err := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connectex", syscall.Errno(10061))}
	if !Refused(err) || Refused(context.DeadlineExceeded) {
		t.Errorf("%v is a refusal, being late is none", err)
	}
}

// answering is an engine whose log is the given bytes.
func answering(t *testing.T, tty, log string) *Engine {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/json") {
			_, _ = io.WriteString(w, `{"Id":"1","State":{"Status":"running"},"Config":{"Tty":`+tty+`}}`)
			return
		}
		_, _ = io.WriteString(w, log)
	}))
	t.Cleanup(server.Close)
	e, err := NewEngine("tcp://"+strings.TrimPrefix(server.URL, "http://"), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func frame(stream byte, text string) string {
	header := [8]byte{stream}
	binary.BigEndian.PutUint32(header[4:], uint32(len(text))) //nolint:gosec // a test's short text
	return string(header[:]) + text
}

func TestLogsComeWithoutFramesAndTimes(t *testing.T) {
	const stamp = "2026-05-04T12:00:00.123456789Z "
	for name, is := range map[string]struct{ tty, log, want, err string }{
		"frames":     {"false", frame(1, stamp+"one\n"+stamp+"t") + frame(2, "") + frame(2, "wo\n"), "one\ntwo\n", ""},
		"a terminal": {"true", stamp + "plain\r\n", "plain\r\n", ""},
		"no times":   {"true", "plain text\n\nx\n", "plain text\n\nx\n", ""},
		"a long one": {"true", stamp + strings.Repeat("long ", 5000), strings.Repeat("long ", 5000), ""},
		"cut short":  {"false", frame(1, "one\n") + "\x01\x00", "one\n", "in the middle of a header"},
		"no frames":  {"false", "plain text", "", "not in the frames"},
	} {
		t.Run(name, func(t *testing.T) {
			log, err := answering(t, is.tty, is.log).Logs(t.Context(), "pg", 10, time.Time{})
			if err != nil {
				t.Fatal(err)
			}
			defer log.Close()
			got, err := io.ReadAll(log)
			if string(got) != is.want || (err == nil) != (is.err == "") || err != nil && !strings.Contains(err.Error(), is.err) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestRestartThatAProxyForbids(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer server.Close()
	e, err := NewEngine("tcp://"+strings.TrimPrefix(server.URL, "http://"), 0)
	if err != nil {
		t.Fatal(err)
	}
	err = e.Restart(t.Context(), "pg", time.Second)
	if err == nil || !strings.Contains(err.Error(), "must allow POST /containers/*/restart") {
		t.Errorf("error %v, want it to say what the proxy must allow", err)
	}
}
