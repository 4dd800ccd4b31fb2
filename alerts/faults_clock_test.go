package alerts_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// clockFaults are of a server whose host has the wrong time.
func clockFaults() []fault {
	return []fault{
		{
			name: "clock-skewed", about: "the server's clock jumps ahead by 30 s, and back after the ticket",
			build:  serverWithClock,
			inject: func(s *scene) { s.setClock("+30s") },
			heal:   func(s *scene) { s.setClock("+0s") },
			want:   []alarm{{name: "PostgresClockSkew", severity: "warning"}},
			may:    []string{"PostgresCrashRecovery"}, // under libfaketime a process of the server died once, and rightly that was told
		},
	}
}

// serverWithClock has libfaketime between the server and the system's clock.
func serverWithClock(s *scene) {
	dir, err := os.MkdirTemp("/tmp", "pgr-")
	s.must(err)
	s.Cleanup(func() { _ = os.RemoveAll(dir) })
	s.must(os.Chmod(dir, 0o755)) // the server's user reads it
	s.clock = filepath.Join(dir, "clock")
	s.setClock("+0s")
	s.pg = pgtest.New(s, pgtest.Options{Port: freePort(s), Env: []string{
		"LD_PRELOAD=" + faketime(s), "FAKETIME_TIMESTAMP_FILE=" + s.clock, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1",
	}})
}

func (s *scene) setClock(offset string) {
	s.Helper()
	s.must(os.WriteFile(s.clock+".new", []byte(offset+"\n"), 0o644))
	s.must(os.Rename(s.clock+".new", s.clock))
}

func faketime(t testing.TB) string {
	t.Helper()
	for _, pattern := range []string{"/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib*/faketime/libfaketime.so.1"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[0]
		}
	}
	t.Fatal("libfaketime is not installed. HINT: Run internal/pgtest/install.sh faketime")
	return ""
}
