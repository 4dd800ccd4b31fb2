package probe

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

func TestADeadlineCountsOnlyWhatThisProcessDidNotSleepThrough(t *testing.T) {
	// limit 800 ms: parts of 100 ms. The loop takes no events while it is busy, as a process that gets no CPU does not.
	for name, tc := range map[string]struct {
		busy   time.Duration
		unread int // how often something is found unread
		passed time.Duration
	}{
		"in time":                         {0, 0, 800 * time.Millisecond},
		"late by what may be":             {112 * time.Millisecond, 0, 812 * time.Millisecond},
		"late by more":                    {113 * time.Millisecond, 0, 913 * time.Millisecond},
		"busy for 3 s":                    {3 * time.Second, 0, 3800 * time.Millisecond},
		"an answer is there, and is read": {0, 3, 1100 * time.Millisecond},
		"what comes without end is not waited for without end": {0, 1000, 800*time.Millisecond + patience},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &loop{events: make(chan func()), ended: make(chan struct{})}
				var late time.Duration
				l.lateness = func(d time.Duration) { late += d }
				began, left := time.Now(), tc.unread
				var passed time.Duration
				d := l.deadline(800*time.Millisecond, func() bool { left--; return left >= 0 }, func() { passed = time.Since(began) })
				time.Sleep(tc.busy)
				for passed == 0 {
					(<-l.events)()
				}
				if passed != tc.passed {
					t.Errorf("passed after %s, want %s", passed, tc.passed)
				}
				want := max(0, tc.busy-100*time.Millisecond)
				uncounted := want
				if !counts(100*time.Millisecond, want) {
					uncounted += 100 * time.Millisecond
				}
				if late != want || d.slept() != uncounted {
					t.Errorf("late by %s, want %s; %s don't count, want %s", late, want, d.slept(), uncounted)
				}
			})
		})
	}
}

const sleeper = "PROBE_TEST_SLEEPER"

// TestMain also plays the process that is stopped and woken. Nothing that a test has started goes on after all of them, but what pgtest
// keeps for the process: ports, and the thread that its servers are the children of.
func TestMain(m *testing.M) {
	if dsn := os.Getenv(sleeper); dsn != "" {
		sleepAndTell(dsn)
		return
	}
	const module = "github.com/pg-reliability/pg_reliability_exporter/internal/"
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction(module+"pgtest.FreePort.func1"), goleak.IgnoreAnyFunction(module+"spawn.(*spawner).start.func1.1"))
}

// sleepAndTell runs a prober, and says at the end of its input what it made of its life.
func sleepAndTell(dsn string) {
	o := quick(connectTo(&testing.T{}, dsn))
	o.ReadTimeout, o.LoginTimeout, o.Logger = 500*time.Millisecond, time.Second, discard()
	p, err := New(o)
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); p.Run(ctx) }()
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		s := p.Snapshot()
		fmt.Printf("reached %v, reason %s, outages %d, stalled %s, at %d\n", s.Reached, s.Reason, s.Outages, s.Stalled,
			s.Probes[Read].At.UnixMilli())
	}
	cancel()
	<-done
}

// An exporter that was stopped, as by a machine that is full or a laptop's lid, wakes up to timers that have all passed, and
// to answers that have all come.
func TestAnExporterThatSleptDoesNotCallTheServerDown(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	far := pgtest.NewProxy(t, c)
	far.Delay(100 * time.Millisecond) // so that a read is always under way
	cmd := exec.Command(os.Args[0])   //nolint:gosec // ourselves
	cmd.Env = append(os.Environ(), sleeper+"="+far.DSN(c.MonitorDSN()))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	told := bufio.NewScanner(out)
	ask := func() string {
		_, err := fmt.Fprintln(in)
		must(t, err)
		if !told.Scan() {
			t.Fatalf("the prober ended: %v", told.Err())
		}
		return told.Text()
	}
	fit := func() string {
		var text string
		pgtest.Eventually(t, 20*time.Second, func() error {
			before := time.Now().UnixMilli()
			time.Sleep(20 * time.Millisecond)
			var at int64
			text = ask()
			_, _ = fmt.Sscanf(text[strings.LastIndex(text, " "):], "%d", &at)
			if !strings.Contains(text, "reached true, reason ok") || at < before-1000 {
				return fmt.Errorf("%s", text)
			}
			return nil
		})
		return text
	}
	fit()
	for i := range 6 {
		must(t, cmd.Process.Signal(syscall.SIGSTOP))
		time.Sleep(time.Duration(700+37*i) * time.Millisecond)
		must(t, cmd.Process.Signal(syscall.SIGCONT))
		time.Sleep(700 * time.Millisecond)
		if text := fit(); !strings.Contains(text, "outages 0, stalled 0s,") {
			t.Fatalf("woken %d times: %s", i+1, text)
		}
	}
	_ = in.Close()
}
