package alerts_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/alerts"
)

// The two programs are built once for all tests, into a directory that outlives each of them.
var programs string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "alerts-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	programs = dir
	// Servers of the tests run as another user, who must be able to start what is here.
	_ = os.Chmod(dir, 0o755)
	// Tests here wait for what others do: the number of cores says nothing about how many can wait at once.
	if err := flag.Set("test.parallel", "32"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

var building sync.Mutex

// program builds one of our own programs and returns its path.
func program(t testing.TB, name string) string {
	t.Helper()
	building.Lock()
	defer building.Unlock()
	path := filepath.Join(programs, strings.TrimPrefix(name, "pg_reliability_"))
	if _, err := os.Stat(path); err == nil {
		return path
	}
	cmd := exec.Command("go", "build", "-o", path, "../cmd/"+name)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return path
}

func shipped(t testing.TB) (alerts.Config, map[string]string, []alerts.Rule) {
	t.Helper()
	config, err := alerts.Load()
	if err != nil {
		t.Fatal(err)
	}
	files, err := config.Rules(1)
	if err != nil {
		t.Fatal(err)
	}
	rules, err := alerts.Parse(files)
	if err != nil {
		t.Fatal(err)
	}
	return config, files, rules
}

// output runs a program and returns what it printed, on both streams.
func output(t testing.TB, name string, args ...string) (string, error) {
	t.Helper()
	var b bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &b, &b
	err := cmd.Run()
	return b.String(), err
}
