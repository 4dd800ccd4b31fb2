package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/internal/containers"
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

// watched is a server with a prober, a recorder and a watcher, when it is known to be up and on this machine.
func watched(t *testing.T, pg *pgtest.Cluster, timeout time.Duration) (*incident.Recorder, func() error) {
	t.Helper()
	connector, err := postgres.NewConnector(postgres.ConnectorOptions{DSN: pg.MonitorDSN()})
	must(t, err)
	prober, err := probe.New(probe.Options{
		Connector: connector, Target: connector.Target(), Logger: log.NewNopLogger(), ReadInterval: 200 * time.Millisecond,
		LoginInterval: time.Second, ReadTimeout: timeout, LoginTimeout: timeout,
	})
	must(t, err)
	var recorder *incident.Recorder
	watcher := New(Options{
		Tell: func(f incident.Fact) { recorder.Host(f) },
		Serving: func(ctx context.Context, look func(int, string, string)) error {
			s, err := connector.Connect(ctx)
			if err != nil {
				return err
			}
			defer s.Close()
			rows, err := s.Query(ctx, "SELECT pg_backend_pid(), session_user, current_database()")
			if err != nil {
				return err
			}
			pid, err := strconv.Atoi(*rows[0][0])
			look(pid, *rows[0][1], *rows[0][2])
			return err
		},
	})
	recorder = incident.NewRecorder(incident.Options{Dir: t.TempDir(), Target: connector.Target(), Logger: log.NewNopLogger(),
		HostWatched: watcher.Local})
	prober.OnOutcome(recorder.Outcome)
	prober.OnOutcome(watcher.Outcome)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, run := range []func(context.Context){prober.Run, recorder.Run, watcher.Run} {
		running.Go(func() { run(ctx) })
	}
	t.Cleanup(func() { cancel(); running.Wait() })
	up := func() error {
		if s := prober.Snapshot(); !s.Known || s.Reason != postgres.OK || !s.OutageStart.IsZero() {
			return fmt.Errorf("the server is not known to be up: %s", s.Reason)
		}
		return nil
	}
	pgtest.Eventually(t, 20*time.Second, up)
	pgtest.Eventually(t, 20*time.Second, func() error {
		if !watcher.Local() {
			return errors.New("the server is not known to be here")
		}
		return nil
	})
	return recorder, up
}

// TestFactsOfARealServer breaks a server on this machine, whose log nobody follows, and asks for the cause: the machine knows.
func TestFactsOfARealServer(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t, pgtest.Options{})
	limited := limitMemory(t, pg, "150M")
	recorder, up := watched(t, pg, pgtest.Patience(time.Second))
	tells := func(want incident.Cause, times int) error {
		list := recorder.List()
		n := 0
		for _, i := range list {
			_, story, _ := recorder.Get(i.ID)
			if story.Cause == want {
				if n++; story.Sure != incident.Certain {
					t.Errorf("%+v", story)
				}
			}
		}
		if n < times {
			return fmt.Errorf("of %d incidents %d are told as %s, want %d", len(list), n, want, times)
		}
		return nil
	}
	told := func(want incident.Cause) error { return tells(want, 1) }

	t.Cleanup(pg.Resume)
	pg.Pause()
	pgtest.Eventually(t, 30*time.Second, func() error { return told(incident.Frozen) })
	pg.Resume()
	pgtest.Eventually(t, 30*time.Second, up)

	if limited {
		pgtest.Eventually(t, 60*time.Second, func() error { // on a busy machine the outage may be over before a probe sees it
			if err := pg.Exec(t.Context(), "SELECT repeat('x', 500000000)"); err == nil {
				t.Fatal("a server with 150 MB made a text of 500 MB")
			}
			return soon(func() error { return told(incident.OutOfMemory) })
		})
	}

	must(t, pg.Restart(t.Context())) // another process is the server now
	pgtest.Eventually(t, 30*time.Second, up)
	pgtest.Eventually(t, 20*time.Second, func() error { // it may be frozen before anybody could look which
		pg.Pause()
		defer pg.Resume()
		return soon(func() error { return tells(incident.Frozen, 2) })
	})
}

// soon asks again and again for some seconds.
func soon(f func() error) error {
	err := f()
	for range 50 {
		if err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
		err = f()
	}
	return err
}

// limitMemory puts a server into a control group of its own, of version 1, which root may make where the kernel has them.
func limitMemory(t *testing.T, pg *pgtest.Cluster, limit string) bool {
	t.Helper()
	group := filepath.Join("/sys/fs/cgroup/memory", fmt.Sprint("pgtest-", os.Getpid()))
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Logf("no process is killed for want of memory, as no control group can be made here: %v", err)
		return false
	}
	t.Cleanup(func() { // an empty one can be removed, a moment after its processes have ended
		_ = pg.Close()
		pgtest.Eventually(t, 10*time.Second, func() error { return os.Remove(group) })
	})
	must(t, os.WriteFile(filepath.Join(group, "memory.limit_in_bytes"), []byte(limit), 0o600))
	for _, pid := range pg.Processes() {
		if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o600); !errors.Is(err, syscall.ESRCH) {
			must(t, err) // a worker may have ended
		}
	}
	return true
}

// TestKernelFiles reads what kernels write: of version 2 of control groups, of version 1, and what is none of it.
func TestKernelFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(text), 0o600))
	}
	const unit = "cgroup/system.slice/postgresql.service/"
	write("proc/70/cmdline", "postgres: main: reliability_exporter app 10.0.0.2(5432) idle\x00")
	write("proc/70/stat", "70 (postgres: a) b) S 7 70 70 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1 2")
	write("proc/7/stat", "7 (postgres) T 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 42 1 2")
	write("proc/7/cgroup", "0::/system.slice/postgresql.service\n")
	write("proc/vmstat", "nr_free_pages 1\noom_kill 3\n")
	write("proc/loadavg", "100000.00 1 1 1/1 1\n")
	write("proc/pressure/io", "some avg10=1.00 avg60=0.00 avg300=0.00 total=1\n")
	write(unit+"memory.events", "low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\n")
	write(unit+"cgroup.events", "populated 1\nfrozen 1\n")
	write(unit+"memory.pressure", "some avg10=88.50 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n")
	write(unit+"io.pressure", "some avg10=nonsense\n")
	var facts []incident.FactKind
	w := New(Options{Proc: filepath.Join(dir, "proc"), Cgroups: filepath.Join(dir, "cgroup"), Tell: func(f incident.Fact) {
		facts = append(facts, f.Kind)
	}})
	now := time.Now()
	w.now = func() time.Time { return now }
	w.look(t.Context())
	if len(facts) > 0 || w.Local() {
		t.Errorf("of a server that may be anywhere: %v", facts)
	}
	for _, other := range []struct{ user, database string }{{"exporter", "app"}, {"reliability_exporter", "ap"}, {"app", "10.0.0.2"}} {
		if p := w.postmaster(70, other.user, other.database); p.pid != 0 {
			t.Errorf("a process that serves another is taken for ours: %+v", other)
		}
	}
	w.o.Serving = func(_ context.Context, look func(int, string, string)) error {
		look(70, "reliability_exporter", "app")
		return nil
	}
	w.look(t.Context())
	want := []incident.FactKind{incident.MemoryPressure, incident.Load, incident.ProcessStopped, incident.ProcessStopped}
	if !w.Local() || !slices.Equal(facts, want) {
		t.Errorf("facts: %v, want %v", facts, want)
	}
	write(unit+"memory.events", "oom_kill 2\n")
	write("proc/vmstat", "oom_kill 9\n") // others, too: it is not told of them
	write("proc/7/stat", "7 (postgres) D 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 42 1 2")
	facts = nil
	w.look(t.Context())
	if want = []incident.FactKind{incident.OOMKill, incident.ProcessWaits}; !slices.Equal(facts, want) {
		t.Errorf("facts: %v, want %v", facts, want)
	}
	write("proc/7/cgroup", "4:memory:/db\n3:freezer:/db\n0::/\n")
	write("cgroup/memory/db/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n")
	write("cgroup/freezer/db/freezer.state", "FROZEN\n")
	now = now.Add(identify)
	w.look(t.Context())
	write("cgroup/memory/db/memory.oom_control", "oom_kill 5\n")
	facts = nil
	now = now.Add(again)
	w.look(t.Context())
	want = []incident.FactKind{incident.OOMKill, incident.Load, incident.ProcessWaits, incident.ProcessStopped}
	if !slices.Equal(facts, want) {
		t.Errorf("of version 1: %v, want %v", facts, want)
	}
	write("proc/7/stat", "7 (x) T 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 43 1 2") // its number is another's now
	must(t, os.Remove(filepath.Join(dir, "cgroup/freezer/db/freezer.state")))
	answers := w.o.Serving
	w.o.Serving = func(context.Context, func(int, string, string)) error { return errors.New("no answer") }
	facts, now = nil, now.Add(again)
	w.look(t.Context())
	if want = []incident.FactKind{incident.Load}; !slices.Equal(facts, want) {
		t.Errorf("of another process: %v, want %v", facts, want)
	}
	w.o.Serving = answers // it was the next postmaster
	facts, now = nil, now.Add(time.Second)
	w.look(t.Context())
	if want = []incident.FactKind{incident.ProcessStopped}; !slices.Equal(facts, want) {
		t.Errorf("of the next one: %v, want %v", facts, want)
	}
}

func TestContainersEnd(t *testing.T) {
	at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	state := func(status string, started time.Duration, change func(*containers.State)) containers.Inspection {
		i := containers.Inspection{ID: "1", State: containers.State{Status: status, StartedAt: at.Add(started)}}
		if change != nil {
			change(&i.State)
		}
		return i
	}
	running := state("running", 0, nil)
	exited := func(code int, oom bool) containers.Inspection {
		return state("exited", 0, func(s *containers.State) { s.ExitCode, s.OOMKilled, s.FinishedAt = code, oom, at.Add(time.Hour) })
	}
	ends := []containers.End{{At: at.Add(time.Hour), OutOfMemory: true}, {At: at.Add(time.Hour), ExitCode: 137}}
	for _, tc := range []struct {
		name    string
		answers []containers.Inspection
		ends    []containers.End
		want    []incident.Fact
	}{
		{"it runs", []containers.Inspection{running, running}, nil, nil},
		{"it had ended before we came", []containers.Inspection{exited(137, true), exited(137, true)}, nil, nil},
		{"it was killed", []containers.Inspection{running, exited(137, false), exited(137, false)}, nil,
			[]incident.Fact{{Kind: incident.Exited, Value: 137}}},
		{"it had no memory left", []containers.Inspection{running, exited(137, true)}, nil,
			[]incident.Fact{{Kind: incident.OOMKill}, {Kind: incident.Exited, Value: 137}}},
		{"it was started again between two answers", []containers.Inspection{running, state("running", time.Hour, nil)}, ends,
			[]incident.Fact{{Kind: incident.OOMKill}, {Kind: incident.Exited, Value: 137}}},
		{"another container has its name", []containers.Inspection{running, {ID: "2", State: containers.State{Status: "running"}}}, ends, nil},
		{"it is paused", []containers.Inspection{running, state("paused", 0, nil)}, nil, []incident.Fact{{Kind: incident.ProcessStopped}}},
	} {
		var got []incident.Fact
		c := &Container{Name: "db", Tell: func(f incident.Fact) { got = append(got, incident.Fact{Kind: f.Kind, Value: f.Value}) },
			Ends: func(context.Context, time.Time, time.Time) ([]containers.End, error) { return tc.ends, nil }}
		for _, a := range tc.answers {
			c.Observe(t.Context(), a)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

// The least of all limits above a process is its own, in both versions of control groups, and inside of a container.
func TestOwnMemoryIsTheLeastLimit(t *testing.T) {
	const mb = 1 << 20
	for name, tc := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"version 2": {
			map[string]string{"self": "0::/a/b\n", "a/b/memory.max": "max\n", "a/memory.max": fmt.Sprintln(256 * mb)},
			256 * mb,
		},
		"the least of two": {
			map[string]string{"self": "0::/a/b\n", "a/b/memory.max": fmt.Sprintln(9 * mb), "a/memory.max": fmt.Sprintln(256 * mb)},
			9 * mb,
		},
		"of a container":    {map[string]string{"self": "0::/\n", "memory.max": fmt.Sprintln(128 * mb)}, 128 * mb},
		"seen from outside": {map[string]string{"self": "0::/../x\n", "memory.max": fmt.Sprintln(128 * mb)}, 128 * mb},
		"version 1": {
			map[string]string{"self": "4:memory:/db\n0::/\n", "memory/db/memory.limit_in_bytes": fmt.Sprintln(64 * mb)},
			64 * mb,
		},
		"version 1, without": {map[string]string{"self": "4:memory:/db\n", "memory/db/memory.limit_in_bytes": "9223372036854771712\n"}, 0},
		"no limit":           {map[string]string{"self": "0::/a\n", "a/memory.max": "max\n"}, 0},
		"nonsense":           {map[string]string{"self": "0::/a\n", "a/memory.max": "-4\n"}, 0},
		"no files":           {nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range tc.files {
				path := filepath.Join(dir, "cgroup", file)
				if file == "self" {
					path = filepath.Join(dir, "proc", strconv.Itoa(os.Getpid()), "cgroup")
				}
				must(t, os.MkdirAll(filepath.Dir(path), 0o755))
				must(t, os.WriteFile(path, []byte(text), 0o600))
			}
			if got := OwnMemory(filepath.Join(dir, "proc"), filepath.Join(dir, "cgroup")); got.Limit != tc.want || got.Machine != 0 {
				t.Errorf("%+v, want a limit of %d", got, tc.want)
			}
		})
	}
	if got := OwnMemory("", ""); got.Machine < 64*mb {
		t.Errorf("this machine has %d bytes", got.Machine)
	}
}

// TestAServerThatStuttersIsToldAsFrozen: no read fails, so that nothing is seen of the first freeze before it is over. The next ones are.
func TestAServerThatStuttersIsToldAsFrozen(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t, pgtest.Options{})
	recorder, _ := watched(t, pg, time.Minute)
	t.Cleanup(pg.Resume)
	told := func() error {
		for _, is := range recorder.List() {
			if is.Kind != incident.Stall {
				t.Fatalf("an incident of another kind: %+v", is)
			}
			if is.Cause == incident.Frozen {
				return nil
			}
		}
		return fmt.Errorf("%d incidents, none of them told as frozen", len(recorder.List()))
	}
	const times = 8 // few, since somebody who looks now and then meets one of many
	for range times {
		pg.Pause()
		time.Sleep(1200 * time.Millisecond) // the fault itself
		pg.Resume()
		time.Sleep(time.Second)
		if told() == nil {
			return
		}
	}
	t.Errorf("after %d freezes: %v", times, told())
}
