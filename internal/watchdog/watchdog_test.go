package watchdog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/internal/incident"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// guarded is a real server with a prober, a recorder and a watchdog whose program marks that it ran, and kills the server.
type guarded struct {
	*Watchdog
	pg       *pgtest.Cluster
	prober   *probe.Prober
	recorder *incident.Recorder
	dir      string
	logged   *pgtest.Buffer
}

func guard(t *testing.T, pg *pgtest.Cluster, dsn string, after time.Duration) *guarded {
	t.Helper()
	g := &guarded{pg: pg, dir: t.TempDir(), logged: &pgtest.Buffer{}}
	connector, err := postgres.NewConnector(postgres.ConnectorOptions{DSN: dsn})
	must(t, err)
	g.prober, err = probe.New(probe.Options{
		Connector: connector, Target: connector.Target(), Logger: log.NewNopLogger(), StateDir: g.dir, ReadInterval: 200 * time.Millisecond,
		LoginInterval: 500 * time.Millisecond, ReadTimeout: time.Second, LoginTimeout: time.Second,
	})
	must(t, err)
	g.recorder = incident.NewRecorder(incident.Options{Dir: g.dir, Target: connector.Target(), Logger: log.NewNopLogger()})
	script := filepath.Join(g.dir, "restart")
	must(t, os.WriteFile(script, []byte("#!/bin/sh\n# What is known was saved before.\nls incidents > saved\necho acted >> acts\n"+
		"env > environment\nkill -9 $(cat pids)\n"), 0o755))
	command, err := NewCommand(fmt.Sprintf("sh -c 'cd %s && exec ./restart'", g.dir), []string{"PATH=" + os.Getenv("PATH"),
		"PGPASSWORD=secret", "DATA_SOURCE_NAME=secret"})
	must(t, err)
	g.Watchdog, err = New(Options{Knock: connector.Knock, Act: command, Save: g.recorder.Flush, Tell: g.recorder.Host, Dir: g.dir,
		Logger: log.NewLogfmtLogger(g.logged)})
	must(t, err)
	g.o.After = after // shorter than anybody may choose
	g.prober.OnOutcome(g.recorder.Outcome)
	g.prober.OnOutcome(g.Outcome)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, run := range []func(context.Context){g.prober.Run, g.recorder.Run, g.Run} {
		running.Go(func() { run(ctx) })
	}
	t.Cleanup(func() { cancel(); running.Wait() })
	pgtest.Eventually(t, 20*time.Second, func() error {
		s := g.prober.Snapshot()
		if login := s.Probes[probe.Login]; !s.Known || s.Reason != postgres.OK || login.At.IsZero() || !g.View().Armed {
			return fmt.Errorf("the server is not known to be up, or the watchdog not armed: %s, %+v", s.Reason, g.View())
		}
		return nil
	})
	return g
}

func (g *guarded) acts() int {
	data, _ := os.ReadFile(filepath.Join(g.dir, "acts"))
	return bytes.Count(data, []byte("acted"))
}

// TestFrozenServerIsRestartedOnce stops all processes of a real server.
func TestFrozenServerIsRestartedOnce(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t, pgtest.Options{})
	g := guard(t, pg, pg.MonitorDSN(), 4*time.Second)
	pg.Pause()
	t.Cleanup(pg.Resume)
	var pids strings.Builder
	processes := pg.Processes() // all there are: one that is stopped begins no other
	for _, pid := range processes {
		fmt.Fprintln(&pids, pid)
	}
	must(t, os.WriteFile(filepath.Join(g.dir, "pids"), []byte(pids.String()), 0o600))
	pgtest.Eventually(t, 30*time.Second, func() error {
		if g.View().Done != 1 || g.acts() != 1 {
			return fmt.Errorf("the watchdog has not acted: %+v", g.View())
		}
		return nil
	})
	if saved, err := os.ReadFile(filepath.Join(g.dir, "saved")); err != nil || !strings.Contains(string(saved), "outage") {
		t.Errorf("when it acted, the black box held %q (%v)", saved, err)
	}
	if environment, _ := os.ReadFile(filepath.Join(g.dir, "environment")); strings.Contains(string(environment), "secret") {
		t.Errorf("the program was given a secret: %s", environment)
	}
	pg.AwaitEnd(processes)
	must(t, pg.Launch(t.Context()))
	pgtest.Eventually(t, 30*time.Second, func() error {
		list := g.recorder.List()
		if len(list) == 0 || list[0].End.IsZero() {
			return errors.New("the outage goes on")
		}
		if list[0].Cause != incident.Hung || !strings.Contains(list[0].Sentence, "answered again") {
			return fmt.Errorf("it is told as %s: %s", list[0].Cause, list[0].Sentence)
		}
		return nil
	})
	if v := g.View(); v.Done != 1 || v.Failed != 0 || v.Last.IsZero() || g.acts() != 1 {
		t.Errorf("%+v, and the program ran %d times", v, g.acts())
	}
	if !strings.Contains(g.logged.String(), "the watchdog acts") {
		t.Errorf("its log: %s", g.logged)
	}
}

// TestItSaysWhyItDoesNothing: the lease is another's; it acted often enough; and what is known of a silence says to wait.
func TestItSaysWhyItDoesNothing(t *testing.T) {
	dir, now := t.TempDir(), time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	command, err := NewCommand("true", nil)
	must(t, err)
	w, err := New(Options{Act: command, Dir: dir, Logger: log.NewNopLogger()})
	must(t, err)
	w.now = func() time.Time { return now }
	says := func(what, idle string, armed bool, recent int) {
		t.Helper()
		if v := w.View(); !strings.Contains(v.Idle, idle) || (v.Idle == "") != (idle == "") || v.Armed != armed || v.Recent != recent {
			t.Errorf("%s: %+v", what, v)
		}
	}
	says("at first", "only just begun", false, 0)
	other := newLease(dir)
	if got, err := other.take(); !got || err != nil {
		t.Fatal(got, err)
	}
	w.arm()
	says("another one's lease", "another exporter", false, 0)
	for range MostAnHour {
		must(t, other.note(now.Add(-10*time.Minute)))
	}
	other.release()
	w.arm()
	says("three acts", "3 times in the last hour", true, 3)
	now = now.Add(time.Hour)
	says("an hour on", "", true, 0)
	for i, kind := range []probe.Kind{probe.Read, probe.Login, probe.Read, probe.Login, probe.Read, probe.Login} {
		o := probe.Outcome{Kind: kind, Reason: postgres.Timeout, Ended: now}
		if i < 2 {
			o.Reason = postgres.OK
		}
		w.Outcome(o, probe.Snapshot{})
	}
	w.Host(incident.Fact{At: now.Add(time.Minute), Kind: incident.VolumeFull, Name: "data"})
	now = now.Add(time.Minute)
	says("a full disk", "the volume data is full", true, 0)
}

// TestServersThatAnswerAreLeftAlone has a real server be silent to reads and logins, for longer than the watchdog waits, in ways that are
// no hang.
func TestServersThatAnswerAreLeftAlone(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t, pgtest.Options{})
	proxy := pgtest.NewProxy(t, pg)
	after := min(pgtest.Patience(4*time.Second), 8*time.Second) // each silence lasts more than twice that
	g := guard(t, pg, proxy.DSN(pg.MonitorDSN()), after)
	silent := func(name string, begin, end func()) {
		t.Helper()
		before := g.View()
		begin()
		defer end()
		began := time.Now()
		pgtest.Eventually(t, 20*time.Second, func() error {
			if g.prober.Snapshot().OutageStart.IsZero() {
				return errors.New(name + ": there is no outage")
			}
			return nil
		})
		pgtest.Eventually(t, 3*after+20*time.Second, func() error {
			if time.Since(began) < 2*after+time.Second {
				return errors.New("it is to last")
			}
			return nil
		})
		if v := g.View(); v.Done != before.Done || v.Failed != before.Failed || g.acts() != 0 {
			t.Errorf("%s: the watchdog acted: %+v, %s", name, v, g.logged)
		}
	}
	up := func() {
		t.Helper()
		pgtest.Eventually(t, 30*time.Second, func() error {
			if s := g.prober.Snapshot(); s.Reason != postgres.OK || !s.OutageStart.IsZero() {
				return fmt.Errorf("it is not up again: %s", s.Reason)
			}
			return nil
		})
	}
	// Each answer takes longer than the probes wait: what the slowest of servers does.
	silent("a slow server", func() { proxy.Delay(1500 * time.Millisecond) }, func() { proxy.Delay(0) })
	up()
	silent("a password that is wrong", func() {
		must(t, pg.Exec(t.Context(), "ALTER ROLE "+pgtest.Monitor+" PASSWORD 'another'"))
		proxy.Cut()
	}, func() { must(t, pg.Exec(t.Context(), "ALTER ROLE "+pgtest.Monitor+" PASSWORD '"+pgtest.Password+"'")) })
	up()
	silent("a server that is stopped", func() { must(t, pg.Stop()) }, func() { must(t, pg.Launch(t.Context())) })
	up()
}

// TestOneActsAtMostThriceAnHour asks two leases of one state directory.
func TestOneActsAtMostThriceAnHour(t *testing.T) {
	dir, now := t.TempDir(), time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	first, second := newLease(dir), newLease(dir)
	if got, err := first.take(); !got || err != nil {
		t.Fatal(got, err)
	}
	if got, err := second.take(); got || err != nil || second.note(now) == nil {
		t.Error("two act at once")
	}
	for range MostAnHour {
		must(t, first.note(now))
		now = now.Add(time.Minute)
	}
	if err := first.note(now); err == nil || !strings.Contains(err.Error(), "3 times in the last hour") {
		t.Errorf("a fourth time: %v", err)
	}
	first.release()
	if got, err := second.take(); !got || err != nil {
		t.Error("the next one does not follow", got, err)
	}
	if err := second.note(now.Add(30 * time.Minute)); err == nil {
		t.Error("the next one forgets what the first one did")
	}
	if err := second.note(now.Add(-2 * time.Minute)); err == nil {
		t.Error("a clock that was put back allows more")
	}
	must(t, second.note(now.Add(2*time.Hour)))
	if list, err := second.read(); err != nil || len(list) != 4 || !list[3].Equal(now.Add(2*time.Hour)) {
		t.Errorf("acted at %s, %v", list, err)
	}
	must(t, os.WriteFile(filepath.Join(dir, actsName), []byte("nonsense"), 0o600))
	if err := second.note(now.Add(9 * time.Hour)); err == nil || !strings.Contains(err.Error(), "HINT") {
		t.Errorf("what was done is not known: %v", err)
	}
}

func TestCommandsThatFail(t *testing.T) {
	for line, want := range map[string]string{
		"":                       "is empty. HINT",
		"/is/not/there":          "can't be run",
		"sh -c 'unclosed":        "a quote is not closed",
		"sh -c 'echo no; false'": "",
	} {
		c, err := NewCommand(line, nil)
		if want == "" {
			must(t, err)
			if err = c.Do(t.Context()); err == nil || !strings.Contains(err.Error(), `"no\n"`) {
				t.Errorf("%s: %v", line, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", line, err)
		}
	}
	c, err := NewCommand("sleep 60", nil)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := c.Do(ctx); err == nil || time.Since(began) > 20*time.Second {
		t.Errorf("a program that hangs: %v after %s", err, time.Since(began))
	}
}
