package serverlog

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

var oneLine = time.Now().UTC().Format("2006-01-02 15:04:05.000 MST") + " [42] ERROR:  number %d\n"

func appendLines(t *testing.T, path string, from, to int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := from; i < to; i++ {
		if _, err := fmt.Fprintf(f, oneLine, i); err != nil {
			t.Fatal(err)
		}
	}
}

// counts waits until so many messages were read, and no more.
func (f *following) counts(want float64) {
	f.t.Helper()
	pgtest.Eventually(f.t, 10*time.Second, func() error {
		if got := f.value("messages_total", "error"); got != want {
			return fmt.Errorf("%g messages are counted, not %g", got, want)
		}
		return nil
	})
}

// TestRotation reads each message once, however its file is rotated.
func TestRotation(t *testing.T) {
	settings := Settings{Prefix: "%m [%p] "}
	for name, rotate := range map[string]func(t *testing.T, path string){
		"renamed, and made anew": func(t *testing.T, path string) {
			out, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			must(t, err)
			defer out.Close()
			must(t, os.Rename(path, path+".1"))
			appendLines(t, path, 10, 20)
			_, err = fmt.Fprintf(out, oneLine, 9) // the server has not noticed yet
			must(t, err)
		},
		"copied and cut": func(t *testing.T, path string) {
			must(t, os.Truncate(path, 0))
			appendLines(t, path, 9, 20)
		},
		"copied, cut, and longer than before at once": func(t *testing.T, path string) {
			must(t, os.Truncate(path, 0))
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			must(t, err)
			defer f.Close()
			_, err = fmt.Fprintf(f, oneLine+strings.Repeat(oneLine, 10), 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19)
			must(t, err)
		},
		"a file for each hour": func(t *testing.T, path string) {
			appendLines(t, strings.TrimSuffix(path, ".log")+"-2.log", 9, 20)
		},
		"removed": func(t *testing.T, path string) {
			must(t, os.Remove(path))
			appendLines(t, path, 9, 20)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, state := t.TempDir(), t.TempDir()
			path := filepath.Join(dir, "server.log")
			appendLines(t, path, -100, 0)
			f := follow(t, settings, state, filepath.Join(dir, "*.log"))
			f.counts(0) // what was there before
			appendLines(t, path, 0, 9)
			f.counts(9)
			rotate(t, path)
			f.counts(20)
			f.end()
		})
		t.Run(name+", while we don't run", func(t *testing.T) {
			t.Parallel()
			dir, state := t.TempDir(), t.TempDir()
			path := filepath.Join(dir, "server.log")
			appendLines(t, path, -100, 0)
			f := follow(t, settings, state, filepath.Join(dir, "*.log"))
			appendLines(t, path, 0, 7)
			f.counts(7)
			f.end()
			appendLines(t, path, 7, 9) // of a file that is cut or removed then, this is lost
			lost := 0.0
			if strings.HasPrefix(name, "copied") || name == "removed" {
				lost = 2
			}
			rotate(t, path)
			follow(t, settings, state, filepath.Join(dir, "*.log")).counts(20 - 7 - lost)
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestBacklogIsLeftOut: who can't keep up goes on at the end, and says so.
func TestBacklogIsLeftOut(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "server.log")
	appendLines(t, path, 0, 10)
	f := follow(t, Settings{Prefix: "%m [%p] "}, "", path)
	must(t, os.Truncate(path, maxBacklog+10<<20)) // a hole takes no room
	appendLines(t, path, 0, 10)
	f.counts(9) // the first is one line with the hole
	if skips, bytes := f.value("skips_total"), f.value("skipped_bytes_total"); skips != 1 || bytes < maxBacklog {
		t.Errorf("%g skips of %g bytes", skips, bytes)
	}
}

func TestNothingToFollow(t *testing.T) {
	for _, o := range []Options{{}, {Files: []string{""}}, {Files: []string{"["}}, {Container: "db"}} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), "HINT") && o.Container == "" {
			t.Errorf("%+v is taken: %v", o, err)
		}
	}
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "a.log"), 0o755))
	f := &following{t: t}
	var err error
	var said strings.Builder
	f.log, err = New(Options{Files: []string{filepath.Join(dir, "*.log")}, Logger: log.NewLogfmtLogger(&said)})
	must(t, err)
	newFiles(f.log).scan(time.Now())
	if f.log.fileState.get() != sourceDown || f.value("source_up") != 0 {
		t.Error("a directory is followed")
	}
	if !strings.Contains(said.String(), "is a directory. HINT: Name the files in it") {
		t.Errorf("it said %s", said.String())
	}
}
