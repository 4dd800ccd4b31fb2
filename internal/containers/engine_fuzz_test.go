package containers

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// Whatever an engine, or what listens in its place, says of a container is an error or has an id and a state.
func FuzzInspect(f *testing.F) {
	f.Add(200, []byte(`{"Id":"abc","State":{"Status":"running","StartedAt":"2026-05-04T12:00:00Z"},"RestartCount":1}`))
	f.Add(200, []byte(`{"Id":"abc","State":{"Status":"running","Health":{"Log":[{}]}}}`))
	f.Add(404, []byte(`{"message":"no such container"}`))
	f.Add(500, []byte("<html>"))
	type answer struct {
		status int
		body   []byte
	}
	var next atomic.Pointer[answer]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		a := next.Load()
		w.WriteHeader(a.status)
		_, _ = w.Write(a.body)
	}))
	f.Cleanup(server.Close)
	e, err := NewEngine("tcp://"+server.Listener.Addr().String(), time.Minute)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if status < 200 || status > 599 {
			t.Skip()
		}
		next.Store(&answer{status, body})
		i, err := e.Inspect(t.Context(), "postgres")
		if err == nil && (i.ID == "" || i.State.Status == "") {
			t.Errorf("accepted: %q", body)
		}
		if err != nil && len(err.Error()) > 4<<10 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
		_, _ = i.State.Word(), i.State.HasHealth()
	})
}

// A log ends, and is no longer than what the engine sent.
func FuzzLog(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x1f2026-05-04T12:00:00.000000000Z hi\n"))
	f.Add([]byte("\x02\x00\x00\x00\xff\xff\xff\xff"))
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		l := &Log{text: bufio.NewReader(&frames{body: bytes.NewReader(sent)}), begins: true}
		n, _ := io.Copy(io.Discard, io.LimitReader(l, 1<<20))
		if n > int64(len(sent)) {
			t.Errorf("%d bytes of %d", n, len(sent))
		}
	})
}
