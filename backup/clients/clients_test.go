package clients

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

func TestParseVersion(t *testing.T) {
	// As recorded from distributions' packages.
	for line, want := range map[string]struct {
		version string
		major   int
	}{
		"pg_dump (PostgreSQL) 13.23 (Debian 13.23-1.pgdg12+1)":       {"13.23", 13},
		"pg_dump (PostgreSQL) 14.20":                                 {"14.20", 14},
		"pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)":        {"15.18", 15},
		"pg_dump (PostgreSQL) 16.11 (Ubuntu 16.11-0ubuntu0.24.04.1)": {"16.11", 16},
		"pg_dump (PostgreSQL) 17.7 (Homebrew)":                       {"17.7", 17},
		"pg_dump (PostgreSQL) 18.1":                                  {"18.1", 18},
		"pg_dump (PostgreSQL) 19beta1":                               {"19beta1", 19},
		"postgres (PostgreSQL) 18devel":                              {"18devel", 18},
		"pg_dump (PostgreSQL) 9.6.24":                                {"9.6.24", 9},
		"pg_dump (EnterpriseDB) 15.1":                                {"", 0},
		"":                                                           {"", 0},
	} {
		version, major, err := ParseVersion(line)
		if version != want.version || major != want.major || (err != nil) != (want.major == 0) {
			t.Errorf("%q: %q, %d, %v", line, version, major, err)
		}
	}
}

func fake(t *testing.T, major string, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, n := range names {
		if err := os.WriteFile(filepath.Join(dir, n), []byte("#!/bin/sh\necho '"+n+" (PostgreSQL) "+major+"'\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFindTakesTheServersMajorAndNoOther(t *testing.T) {
	old, right, half := fake(t, "14.20", "pg_dump", "psql"), fake(t, "16.11", "pg_dump", "psql"), fake(t, "17.7", "pg_dump")
	f := Finder{Dirs: []string{old, right, half}}
	p, err := f.Find(t.Context(), 16, "pg_dump", "psql")
	if err != nil || p.Dir != right || p.Version != "16.11" {
		t.Errorf("%+v, %v", p, err)
	}
	for major, says := range map[int]string{15: "14.20", 18: "17.7", 17: "without psql"} {
		_, err := f.Find(t.Context(), major, "pg_dump", "psql")
		if failure.Of(err) != failure.Version || !strings.Contains(err.Error(), says) ||
			!strings.Contains(err.Error(), fmt.Sprintf("postgresql-client-%d", major)) {
			t.Errorf("major %d: %v", major, err)
		}
	}
}

func TestRunKillsTheWholeGroupAtTheDeadline(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	err := Run(ctx, exec.Command("sh", "-c", "sleep 60 & echo $! > "+mark+"; wait"))
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 5*time.Second {
		t.Errorf("%v after %s", err, time.Since(began))
	}
	pid, err := os.ReadFile(mark)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; {
		stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the grandchild lives on")
		}
	}
}

func TestRunKeepsTheEndOfStderr(t *testing.T) {
	err := Run(t.Context(), exec.Command("sh", "-c", "seq 1 5000 >&2; echo the cause >&2; exit 3"))
	var p *ProgramError
	if !errors.As(err, &p) || !strings.HasSuffix(p.Stderr, "the cause") || len(err.Error()) > 500 {
		t.Errorf("%v", err)
	}
}

// A statement of many lines stands behind the error that it met: the error is what must not be lost.
func TestAProgramsErrorIsToldBeforeItsStatement(t *testing.T) {
	statement := strings.Repeat("a line of the statement\n", 5000)
	for name, text := range map[string]string{
		"pg_dump": "pg_dump: warning: one\npg_dump: error: query failed: ERROR:  out of shared memory\nHINT:  You might\n" +
			"pg_dump: detail: Query was: " + statement,
		"pg_restore": "pg_restore: while PROCESSING TOC:\npg_restore: from TOC entry 215; 1259 16385 TABLE t postgres\n" +
			"pg_restore: error: could not execute query: ERROR:  out of shared memory\nCommand was: " + statement,
	} {
		cmd := exec.Command("sh", "-c", "cat >&2; exit 1")
		cmd.Stdin = strings.NewReader(text)
		err := Run(t.Context(), cmd)
		if err == nil || !strings.Contains(err.Error(), "ERROR:  out of shared memory") || len(err.Error()) > 1000 {
			t.Errorf("%s: %.1000v", name, err)
		}
		if name == "pg_restore" && !strings.Contains(fmt.Sprint(err), "TABLE t") {
			t.Errorf("what it was about is lost: %v", err)
		}
	}
	if got := Gist("one\ntwo\n"); got != "one; two" {
		t.Errorf("without an error: %q", got)
	}
}
