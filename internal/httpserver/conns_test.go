package httpserver

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// Clients that keep connections, or open them and say nothing, take no more files than they may, and keep nobody out.
func TestConnectionsWithoutEndKeepNobodyOut(t *testing.T) {
	const most = 20
	var open atomic.Int64
	c := newConnections()
	c.most = most
	server := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "fine") }),
		ReadHeaderTimeout: readTimeout,
		ConnState: func(conn net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				open.Add(1)
			case http.StateClosed:
				open.Add(-1)
			}
			c.changed(conn, state)
		},
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	for i := range 5 * most {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if i%2 == 0 { // the others say nothing
			if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
		}
	}
	resp, err := http.Get("http://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if text := body(t, resp); text != "fine" {
		t.Errorf("somebody who asks is told %q", text)
	}
	http.DefaultClient.CloseIdleConnections()
	pgtest.Eventually(t, 10*time.Second, func() error {
		if n := open.Load(); n > most {
			return fmt.Errorf("%d connections are open, want %d", n, most)
		}
		return nil
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) > most {
		t.Errorf("%d are remembered", len(c.open))
	}
}

func TestTheBoundOfConnectionsLeavesFilesToTheProgram(t *testing.T) {
	if most, files := newConnections().most, openFiles(); most < 1 || most > mostConnections || uint64(most) > max(files/2, fewConnections) {
		t.Errorf("%d connections of %d files", most, files)
	}
}
