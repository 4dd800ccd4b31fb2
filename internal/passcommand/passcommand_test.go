package passcommand

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"

	"github.com/pg-reliability/pg_reliability_exporter/internal/spawn"
)

func TestWordsAreThoseThatStandThere(t *testing.T) {
	for line, want := range map[string][]string{
		"":                                    nil,
		"  \t ":                               nil,
		"aws rds\tgenerate --port 5432":       {"aws", "rds", "generate", "--port", "5432"},
		`sh -c 'a | head -1' ''`:              {"sh", "-c", "a | head -1", ""},
		`a "b \"c\" \\ \d $HOME" x\ y 'it\n'`: {"a", `b "c" \ \d $HOME`, "x y", `it\n`},
		"a$HOME `id` $(id) *.yml ~ b'c d'e;f": {"a$HOME", "`id`", "$(id)", "*.yml", "~", "bc de;f"},
		"vault read -field=token päss/wörd\r\n": {"vault", "read", "-field=token", "päss/wörd"},
	} {
		if got, err := spawn.Words(line); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v; want %q", line, got, err, want)
		}
	}
	for _, line := range []string{"a 'b", `a "b`, `a \`, `a "b\"`} {
		if got, err := spawn.Words(line); err == nil || !strings.Contains(err.Error(), "HINT: ") {
			t.Errorf("%q: %q, %v", line, got, err)
		}
	}
}

// script is a program of a test's own.
func script(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

func command(t *testing.T, o Options) *Command {
	t.Helper()
	if o.Timeout == 0 {
		o.Timeout = pgtest.Patience(DefaultTimeout)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTheFirstLineIsThePassword(t *testing.T) {
	for name, tc := range map[string]struct{ script, want string }{
		"a line":             {"echo one", "one"},
		"no end of line":     {"printf one", "one"},
		"a line of Windows'": {`printf 'one\r\n'`, "one"},
		"spaces belong":      {"echo ' o ne '", " o ne "},
		"more lines":         {"echo one; yes two | head -c 3000000", "one"},
		"written in parts":   {"printf o; sleep 0.05; printf ne; sleep 0.05; echo", "one"},
		"a long token":       {"head -c 16384 /dev/zero | tr '\\0' x", strings.Repeat("x", 16384)},
		"its other stream":   {"echo secret >&2; echo one", "one"},
		"what it started":    {"sleep 60 & echo one", "one"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := command(t, Options{Command: script(t, tc.script)}).Password(t.Context())
			if err != nil || got != tc.want {
				t.Errorf("%.50q, %v", got, err)
			}
		})
	}
}

func TestFailuresAreNamedAndTellNoSecret(t *testing.T) {
	for name, tc := range map[string]struct {
		script, want string
		timeout      time.Duration
	}{
		"it fails":      {script: "echo hunter2; echo hunter2 >&2; exit 3", want: "failed: exit status 3. HINT: Run it as"},
		"nothing":       {script: "echo hunter2 >&2", want: "printed no password. HINT: Run it as"},
		"an empty line": {script: "echo; echo hunter2", want: "printed no password"},
		"too much":      {script: "yes hunter2 | tr -d '\\n' | head -c 5000000", want: "more than 16384 bytes"},
		"a zero byte":   {script: `printf 'hunter2\0x\n'`, want: "zero byte"},
		"it hangs": {script: "echo hunter2; sleep 600", want: "not ended within 300ms and was killed. HINT: ",
			timeout: 300 * time.Millisecond},
		"it is stubborn": {script: "trap '' TERM INT HUP; echo hunter2; while :; do sleep 600; done", want: "was killed",
			timeout: 300 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := command(t, Options{Command: script(t, tc.script) + " hunter2", Timeout: tc.timeout})
			got, err := c.Password(t.Context())
			if err == nil || got != "" || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	for command, want := range map[string]string{
		"":                  "is empty. HINT: ",
		"/nowhere/password": "can't be run",
		"no-such-program":   "can't be run",
		"'sh":               "a quote is not closed",
	} {
		if _, err := New(Options{Command: command}); err == nil || !strings.Contains(err.Error(), want) ||
			!strings.Contains(err.Error(), "HINT: ") {
			t.Errorf("%q: %v", command, err)
		}
	}
}

// A program that is ended takes with it what it started.
func TestAProgramThatHangsLeavesNobodyBehind(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	c := command(t, Options{Command: script(t, "sleep 600 & echo $! > "+pidFile+"; wait"), Timeout: pgtest.Patience(500 * time.Millisecond)})
	if _, err := c.Password(t.Context()); err == nil {
		t.Fatal("it did not hang")
	}
	b, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	pgtest.Eventually(t, 5*time.Second, func() error {
		stat, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat") // empty once it is gone
		if len(stat) > 0 && !strings.Contains(string(stat), ") Z ") {
			return errors.New("the program's child still runs")
		}
		return nil
	})
}

func TestTheProgramGetsNothingThatOpensTheDatabase(t *testing.T) {
	c := command(t, Options{
		Command: script(t, "env | sort | tr '\\n' ,"),
		Environ: []string{"PATH=" + os.Getenv("PATH"), "AWS_REGION=eu", "PGPASSWORD=hunter2", "PGPASSFILE=/f", "DATA_SOURCE_NAME=hunter2",
			"DATA_SOURCE_PASS=hunter2",
			"PG_RELIABILITY_EXPORTER_LOG_LEVEL=debug"},
		Login: []string{"PGHOST=db1", "PGPORT=5432", "PGUSER=u"},
	})
	got, err := c.Password(t.Context())
	if err != nil || strings.Contains(got, "hunter2") || strings.Contains(got, "PGPASS") || strings.Contains(got, "RELIABILITY") {
		t.Errorf("%q, %v", got, err)
	}
	for _, want := range []string{"AWS_REGION=eu,", "PGHOST=db1,", "PGPORT=5432,", "PGUSER=u,"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %q", want, got)
		}
	}
}

// clock is set by the test.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func TestLoginsShareARunUntilItsPasswordIsOldOrTurnedDown(t *testing.T) {
	runs := filepath.Join(t.TempDir(), "runs")
	c := command(t, Options{Command: script(t, "echo x >> "+runs+"; wc -l < "+runs)})
	hand := &clock{at: time.Now()}
	c.now = hand.now
	ask := func() string {
		t.Helper()
		got, err := c.Password(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(got)
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if got := ask(); got != "1" {
				t.Errorf("got the password of run %s", got)
			}
		})
	}
	all.Wait()
	hand.pass(fresh + time.Second) // given once more, while the next is fetched
	if got := ask(); got != "1" {
		t.Errorf("got the password of run %s", got)
	}
	pgtest.Eventually(t, 5*time.Second, func() error {
		if got := ask(); got != "2" {
			return errors.New("still the password of run " + got)
		}
		return nil
	})
	if c.TurnedDown("2") || ask() != "2" { // printed a moment ago: another run would print the same
		t.Error("a password of a moment ago is fetched again")
	}
	hand.pass(pause)
	if got := ask(); got != "3" {
		t.Errorf("got the password of run %s after it was turned down", got)
	}
	if !c.TurnedDown("2") {
		t.Error("a newer password is there, and the login is not tried with it")
	}
	hand.pass(pause)
	if !c.TurnedDown("") || ask() != "4" {
		t.Error("a password that was turned down is given again")
	}
	hand.pass(usable)
	if got := ask(); got != "5" {
		t.Errorf("got the password of run %s, which is too old", got)
	}
}

func TestAFailureIsNotRepeatedManyTimesASecond(t *testing.T) {
	runs := filepath.Join(t.TempDir(), "runs")
	c := command(t, Options{Command: script(t, "echo x >> "+runs+"; exit 1")})
	hand := &clock{at: time.Now()}
	c.now = hand.now
	for range 10 {
		if _, err := c.Password(t.Context()); err == nil {
			t.Fatal("no error")
		}
	}
	hand.pass(pause)
	if _, err := c.Password(t.Context()); err == nil {
		t.Fatal("no error")
	}
	if b, _ := os.ReadFile(runs); string(b) != "x\nx\n" {
		t.Errorf("runs: %q", b)
	}
}

func TestNobodyWaitsLongerThanHeSays(t *testing.T) {
	c := command(t, Options{Command: script(t, "sleep 600"), Timeout: time.Hour})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Password(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
