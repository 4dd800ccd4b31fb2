package serverlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/internal/containers"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// TestContainersLogIsReadOnce follows a log that ends, as at a container's restart, and goes on with what was written since.
func TestContainersLogIsReadOnce(t *testing.T) {
	var asked atomic.Int64
	var since atomic.Value
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/json") {
			fmt.Fprint(w, `{"Id":"abc","State":{"Status":"running"}}`)
			return
		}
		since.Store(r.URL.RawQuery)
		n := asked.Add(1)
		if n > 2 {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `{"message":"no"}`)
			return
		}
		at := time.Now().UTC().Format(time.RFC3339Nano)
		for _, line := range []string{"[42] ERROR:  a", "\tb", "[42] STATEMENT:  SELECT 1", "[1] LOG:  received fast shutdown request"} {
			text := at + " " + line + "\n"
			header := binary.BigEndian.AppendUint32([]byte{2, 0, 0, 0}, uint32(len(text)))
			_, _ = w.Write(append(header, text...))
		}
	}))
	defer engine.Close()
	e, err := containers.NewEngine(strings.Replace(engine.URL, "http", "tcp", 1), 0)
	must(t, err)
	f := &following{t: t}
	f.log, err = New(Options{Container: "db", Engine: e, StateDir: t.TempDir(), Logger: log.NewNopLogger(), OnEvent: func(e Event) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.events = append(f.events, e)
	}})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); f.log.Run(ctx) }()
	pgtest.Eventually(t, 10*time.Second, func() error {
		if n := f.value("messages_total", "error"); n != 2 || len(f.all(FastShutdown)) != 2 {
			return fmt.Errorf("%g errors and %d shutdowns are counted", n, len(f.all(FastShutdown)))
		}
		if f.value("source_up", "container") != 0 || asked.Load() < 3 {
			return errors.New("the refusal is not noticed")
		}
		return nil
	})
	if q := since.Load().(string); !strings.Contains(q, "since=") || !strings.Contains(q, "tail=all") {
		t.Errorf("asked with %s", q)
	}
	cancel()
	<-ended
}

// TestAnEngineThatFloodsCostsLittle: a line without end, as fast as it is taken, is taken no faster than a tenth of a CPU allows.
func TestAnEngineThatFloodsCostsLittle(t *testing.T) {
	var sent atomic.Int64
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/json") {
			fmt.Fprint(w, `{"Id":"abc","State":{"Status":"running"}}`)
			return
		}
		block := make([]byte, 64<<10)
		header := binary.BigEndian.AppendUint32([]byte{2, 0, 0, 0}, uint32(len(block)))
		for r.Context().Err() == nil {
			if _, err := w.Write(append(header, block...)); err != nil {
				return
			}
			sent.Add(int64(len(block)))
		}
	}))
	defer engine.Close()
	e, err := containers.NewEngine(strings.Replace(engine.URL, "http", "tcp", 1), 0)
	must(t, err)
	log, err := New(Options{Container: "db", Engine: e, StateDir: t.TempDir(), Logger: log.NewNopLogger(), OnEvent: func(Event) {}})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); log.Run(ctx) }()
	pgtest.Eventually(t, 10*time.Second, func() error {
		if sent.Load() < 8<<20 { // what the sockets hold, and more
			return errors.New("it is not read")
		}
		return nil
	})
	before, began := sent.Load(), time.Now()
	time.Sleep(2 * time.Second)
	if rate := float64(sent.Load()-before) / time.Since(began).Seconds() / (1 << 20); rate > 40 {
		t.Errorf("%.0f MB/s are taken", rate)
	}
	cancel()
	engine.CloseClientConnections()
	<-ended
}
