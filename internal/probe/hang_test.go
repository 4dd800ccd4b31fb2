package probe

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// hang makes a state directory whose files never answer: a FIFO that nobody writes to. The returned function lets it go.
func hang(t testing.TB, dir string) (release func(content string)) {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o750))
	fifo := filepath.Join(dir, stateFile)
	must(t, syscall.Mkfifo(fifo, 0o600))
	done := false
	release = func(content string) {
		if done {
			return
		}
		done = true
		f, err := os.OpenFile(fifo, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		must(t, err)
		_, err = f.WriteString(content)
		must(t, err)
		must(t, f.Close())
	}
	return release
}

func TestAStateThatHangsHoldsNothingUp(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, durable())
	o := quick(connectTo(t, c.MonitorDSN()))
	o.StateDir = filepath.Join(t.TempDir(), "state")
	release := hang(t, o.StateDir)
	began := time.Now()
	p := prepare(t, o)
	p.store.slowLoad = 10 * time.Millisecond
	p.run(t)
	if d := time.Since(began); d > pgtest.Patience(time.Second) {
		t.Errorf("the start took %s", d)
	}
	p.waitFor(t, postgres.OK)
	assertSamples(t, p, map[string]float64{"pg_up": 1, `pg_reliability_state_persistence{status="loading"}`: 1},
		"pg_reliability_outages_total", "pg_reliability_downtime_seconds_total", "pg_reliability_restarts_total",
		"pg_reliability_stall_seconds_total",
		"pg_reliability_recovery_duration_seconds", "pg_reliability_outage_in_progress_seconds")
	p.wait(t, "the state is told not to be there", func(s Snapshot) bool { return s.Keeping == Keeping{Loading: true} })
	must(t, c.Restart(t.Context())) // is seen, and told when the counts of before are known
	p.waitAfter(t)

	before := newState()
	for i := range 3 {
		before.observe(o3(Read, 10*i, postgres.OK))
		before.observe(o3(Read, 10*i+1, postgres.Refused))
		before.observe(o3(Read, 10*i+2, postgres.OK))
	}
	before.Identity = identity{}
	data, err := encodeState(before, o.Target, time.Now())
	must(t, err)
	release(string(data))
	s := p.wait(t, "loaded", func(s Snapshot) bool { return s.Loaded && s.Keeping == Keeping{} })
	if s.Outages < 4 || s.Restarts[Restart] != 1 {
		t.Errorf("snapshot = %+v, want 3 outages of before and that of the restart", s)
	}
	assertSamples(t, p, map[string]float64{"pg_up": 1, `pg_reliability_state_persistence{status="ok"}`: 1,
		`pg_reliability_restarts_total{kind="restart"}`: 1})
	p.stop()
	if info, err := os.Stat(filepath.Join(o.StateDir, stateFile)); err != nil || !info.Mode().IsRegular() {
		t.Errorf("the state was not saved at the end: %v, %v", info, err)
	}
}

func o3(k Kind, second int, r postgres.Reason) Outcome { return o(k, second, second, r) }

func TestAStateThatHangsForEverDoesNotHoldUpTheEnd(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	o := quick(connectTo(t, c.MonitorDSN()))
	o.StateDir = filepath.Join(t.TempDir(), "state")
	release := hang(t, o.StateDir)
	p := start(t, o)
	t.Cleanup(func() {
		release("")
		<-p.store.closed // it goes on where it hung, and makes files that are to be removed
	})
	p.waitFor(t, postgres.OK)
	began := time.Now()
	p.stop()
	if d := time.Since(began); d > pgtest.Patience(2*time.Second) {
		t.Errorf("the end took %s", d)
	}
	if !strings.Contains(p.log.String(), "did not answer in time") {
		t.Errorf("log = %s", p.log)
	}
}

func TestWhatWasSeenEarlyIsToldToTheStateThatComes(t *testing.T) {
	var e early
	var want *state
	whole := newState()
	story := []Outcome{
		o(Read, 0, 0, postgres.OK), o(Login, 0, 0, postgres.OK), o(Read, 1, 1, postgres.OK), o(Read, 2, 2, postgres.OK),
		o(Read, 3, 3, postgres.OK),
		o(Read, 4, 4, postgres.Refused), o(Login, 4, 4, postgres.Refused), o(Read, 5, 5, postgres.Refused), o(Login, 5, 5, postgres.Refused),
		o(Read, 6, 6, postgres.Refused), o(Login, 6, 6, postgres.Refused), o(Read, 9, 9, postgres.OK), o(Login, 9, 9, postgres.OK),
	}
	for range 1000 { // hours of the same take no room
		story = append(story, o(Read, 10, 10, postgres.OK))
	}
	for _, one := range story {
		e.add(one)
		whole.observe(one)
	}
	want = newState()
	e.tell(want)
	if g, w := encoded(t, want), encoded(t, whole); g != w {
		t.Errorf("told:\n%s\nwant:\n%s", g, w)
	}
	if len(e.outcomes) > 12 {
		t.Errorf("%d outcomes are kept", len(e.outcomes))
	}
}
