package httpserver

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// asking opens a connection that asks for / and reads nothing.
func asking(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return conn
}

// taken is how many places are.
func (l *Limit) taken() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.holders)
}

func TestRequestsBeyondTheLimitAreTurnedAwayAtOnce(t *testing.T) {
	o := options(t)
	limit := NewLimit(2)
	making, release := make(chan struct{}), make(chan struct{})
	o.Handler = limit.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { making <- struct{}{}; <-release }))
	r := start(t, o)
	for range 2 {
		asking(t, r.address)
		<-making
	}
	resp, err := http.Get("http://" + r.address)
	if err != nil {
		t.Fatal(err)
	}
	if text := body(t, resp); resp.StatusCode != 503 || !resp.Close || resp.Header.Get("Retry-After") != "1" ||
		!strings.HasPrefix(text, "2 requests are being answered already") {
		t.Errorf("%d, Retry-After %q: %s", resp.StatusCode, resp.Header.Get("Retry-After"), text)
	}
	close(release)
	go func() {
		for range making {
		}
	}()
	pgtest.Eventually(t, 10*time.Second, func() error {
		resp, err := http.Get("http://" + r.address)
		if err != nil {
			return err
		}
		if body(t, resp); resp.StatusCode != 200 {
			return fmt.Errorf("status %d", resp.StatusCode)
		}
		return nil
	})
	close(making)
}

// Two clients that do not read hold all places. Whoever comes next gets one of them.
func TestAClientThatDoesNotReadLosesItsPlaceToOneThatDoes(t *testing.T) {
	page := bytes.Repeat([]byte("x"), 64<<20) // more than the kernel buffers
	o := options(t)
	limit := NewLimit(2)
	limit.reading = time.Hour
	o.Handler = limit.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(page) }))
	r := start(t, o)
	for range 2 {
		asking(t, r.address)
	}
	pgtest.Eventually(t, 10*time.Second, func() error {
		if n := limit.taken(); n != 2 {
			return fmt.Errorf("%d places are taken", n)
		}
		return nil
	})
	pgtest.Eventually(t, 10*time.Second, func() error {
		resp, err := http.Get("http://" + r.address)
		if err != nil {
			return err
		}
		if text := body(t, resp); resp.StatusCode != 200 || len(text) != len(page) {
			return fmt.Errorf("status %d with %d bytes", resp.StatusCode, len(text))
		}
		return nil
	})
}

func TestAnAnswerThatNobodyReadsEndsByItself(t *testing.T) {
	page := bytes.Repeat([]byte("x"), 64<<20)
	o := options(t)
	limit := NewLimit(0)
	limit.reading = 100 * time.Millisecond
	ended := make(chan error, 1)
	o.Handler = limit.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, err := w.Write(page)
		ended <- err
	}))
	r := start(t, o)
	asking(t, r.address)
	select {
	case err := <-ended:
		if err == nil {
			t.Error("all was written to a client that reads nothing")
		}
	case <-time.After(pgtest.Patience(10 * time.Second)):
		t.Error("an answer that nobody reads goes on for ever")
	}
}

// A handler may take longer for its answer than a client may take to read it.
func TestMakingAnAnswerHasATimeOfItsOwn(t *testing.T) {
	o := options(t)
	o.Handler = NewLimit(1).Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		// As if the answer had taken too long to make.
		if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(-time.Second)); err != nil {
			t.Errorf("the deadline can't be set below a Limit: %v", err)
		}
		_, _ = io.WriteString(w, "late")
	}))
	r := start(t, o)
	ctx, cancel := context.WithTimeout(t.Context(), pgtest.Patience(10*time.Second))
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.address, nil)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if text := body(t, resp); text != "late" {
		t.Errorf("got %q", text)
	}
}

func TestEveryAnswerIsOfThisMomentAndWhatItSays(t *testing.T) {
	o := options(t)
	o.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/error" {
			http.Error(w, "no", http.StatusNotFound)
		}
	})
	r := start(t, o)
	for _, path := range []string{"/", "/error"} {
		resp, err := http.Get("http://" + r.address + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if h := resp.Header; h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, h)
		}
	}
}
