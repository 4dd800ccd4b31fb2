package pgtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ClientDirs names the variable whose directories, or patterns of directories, hold client tools of versions of which the
// machine has only a server. A colon is between them.
const ClientDirs = "PG_RELIABILITY_BACKUP_CLIENT_DIR"

// Programs returns a directory that has an installation's server and client tools. Where the installation has no client tools
// of its own, ClientDirs gives them; the test is skipped, and says so, where it does not.
func Programs(t testing.TB, in Install) string {
	t.Helper()
	if in.HasClients {
		return in.BinDir
	}
	var patterns []string
	if v := os.Getenv(ClientDirs); v != "" {
		patterns = strings.FieldsFunc(v, func(r rune) bool { return r == filepath.ListSeparator || r == '\n' })
	}
	for _, pattern := range patterns {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatalf("%s: %v", ClientDirs, err)
		}
		for _, dir := range found {
			if major, err := majorOf(filepath.Join(dir, "pg_dump")); err == nil && major == in.Major {
				return joined(t, in, dir)
			}
		}
	}
	t.Skipf("not tried: PostgreSQL %d has no client tools here, and none are given by %s=%q", in.Major, ClientDirs, os.Getenv(ClientDirs))
	return ""
}

// joined makes a directory of links to a server's and client tools' programs.
func joined(t testing.TB, in Install, clients string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pgtest-programs-") // not the test's own, which no other user can enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	err = os.Chmod(dir, 0o755) //nolint:gosec // the server's user reads it
	for name, from := range map[string]string{
		"postgres": in.BinDir, "initdb": in.BinDir, "pg_dump": clients, "pg_dumpall": clients, "pg_restore": clients, "psql": clients,
	} {
		if err == nil {
			err = os.Symlink(filepath.Join(from, name), filepath.Join(dir, name))
		}
	}
	if err != nil {
		t.Fatal(fmt.Errorf("join the programs of PostgreSQL %d: %w", in.Major, err))
	}
	return dir
}

// EachMajor runs a test with each version that the machine has a server of, oldest first, and its programs as Programs finds them.
func EachMajor(t *testing.T, f func(t *testing.T, in Install, programs string)) {
	t.Helper()
	for _, major := range Supported() {
		t.Run(fmt.Sprintf("postgres-%d", major), func(t *testing.T) {
			in, err := Find(major)
			if err != nil {
				t.Skipf("not tried: %v", err)
			}
			f(t, in, Programs(t, in))
		})
	}
}
