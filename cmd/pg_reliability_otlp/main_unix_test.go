//go:build unix

package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// A file that hangs or has no end, and an exporter whose page has none, are said to be so; they neither fill the memory nor keep the
// program from ending.
func TestWhatHangsOrHasNoEndIsSaid(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	serve := func(h http.HandlerFunc) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return " --exporter.url=" + s.URL
	}
	short := strings.Repeat("a 1\n", 8000)
	long := `a{b="` + strings.Repeat("x", 30000) + "\"} 1\n"
	endless := func(text string) string {
		return serve(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/metrics" {
				http.NotFound(w, r)
				return
			}
			for {
				if _, err := w.Write([]byte(text)); err != nil {
					return
				}
			}
		})
	}
	well := serve(http.NotFound)
	for args, want := range map[string]string{
		"--ca-file=/dev/zero":                                         "--ca-file: /dev/zero is longer than",
		"--ca-file=" + pipe:                                           "nobody writes to it",
		"--otlp.headers-file=/dev/zero":                               "--otlp.headers-file: /dev/zero is longer than",
		"--otlp.headers-file=" + pipe:                                 "nobody writes to it",
		"--exporter.password-file=/dev/zero --exporter.username=u":    "--exporter.password-file: /dev/zero is longer than",
		"--exporter.password-file=" + pipe + " --exporter.username=u": "nobody writes to it",
		"--otlp.interval=1m" + endless(short):                         "more than 250000 lines",
		"--otlp.interval=1m " + endless(long):                         "longer than 24 MiB",
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(args, "--exporter.url") {
				args += well
			}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			var log pgtest.Buffer
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				run(ctx, strings.Fields("--otlp.endpoint=http://127.0.0.1:1 "+args), func(string) (string, bool) { return "", false }, &log)
			}()
			pgtest.Eventually(t, 60*time.Second, func() error {
				if text := log.String(); !strings.Contains(text, want) {
					return fmt.Errorf("it says %q, want %q", text, want)
				}
				return nil
			})
			cancel()
			select {
			case <-ended:
			case <-time.After(pgtest.Patience(20 * time.Second)):
				t.Error("it does not end")
			}
		})
	}
}
