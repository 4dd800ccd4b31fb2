package alerts_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/alerts"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/stack"
)

// house is where the programs of all tests are built once, and outlive each of them.
var house *stack.Stack

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "alerts-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	root, err := filepath.Abs("..")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	house = &stack.Stack{Dir: dir, Root: root}
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

// program builds one of our own programs and returns its path.
func program(t testing.TB, name string) string {
	t.Helper()
	return house.Program(t, name)
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
