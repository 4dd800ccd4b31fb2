package incident

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
	"github.com/pg-reliability/pg_reliability_exporter/internal/serverlog"
)

var update = flag.Bool("update", false, "keep the windows of the real servers' incidents in testdata, for TestExplain")

// watch has a prober, a log and a recorder look at a server, over a connection that can be cut.
type watch struct {
	t        *testing.T
	pg       *pgtest.Cluster
	way      *way
	prober   *probe.Prober
	recorder *Recorder
}

func newWatch(t *testing.T, pg *pgtest.Cluster, logged bool) *watch {
	t.Helper()
	w := &watch{t: t, pg: pg, way: newWay(t, pg.Port)}
	dsn := strings.Replace(pg.MonitorDSN(), fmt.Sprint(":", pg.Port), fmt.Sprint(":", w.way.port), 1)
	connector, err := postgres.NewConnector(postgres.ConnectorOptions{DSN: dsn})
	if err != nil {
		t.Fatal(err)
	}
	state := t.TempDir()
	w.prober, err = probe.New(probe.Options{
		Connector: connector, Target: connector.Target(), StateDir: state, Logger: log.NewNopLogger(), ReadInterval: 100 * time.Millisecond,
		LoginInterval: 200 * time.Millisecond, ReadTimeout: pgtest.Patience(time.Second), LoginTimeout: pgtest.Patience(time.Second),
	})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Dir: state, Target: connector.Target(), Logger: log.NewNopLogger()}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	if logged {
		l, err := serverlog.New(serverlog.Options{
			Files: []string{pg.LogFile()}, Logger: log.NewNopLogger(), OnEvent: func(e serverlog.Event) { w.recorder.Log(e) },
		})
		if err != nil {
			t.Fatal(err)
		}
		l.Learn(serverlog.Settings{Prefix: "%m [%p] %q%u@%d/%a ", TimeZone: "UTC"})
		o.LogWritten = l.Written
		defer running.Go(func() { l.Run(ctx) })
	}
	w.recorder = NewRecorder(o)
	w.prober.OnOutcome(w.recorder.Outcome)
	running.Go(func() { w.recorder.Run(ctx) })
	running.Go(func() { w.prober.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	pgtest.Eventually(t, 20*time.Second, func() error {
		s := w.prober.Snapshot()
		if login := s.Probes[probe.Login]; !s.Known || s.Reason != postgres.OK || login.At.IsZero() || s.Server.StartTime.IsZero() {
			return fmt.Errorf("the server is not known to be up: %s", s.Reason)
		}
		return nil
	})
	return w
}

// way passes connections on, and can go away.
type way struct {
	t        *testing.T
	port, to int

	mu       sync.Mutex
	listener net.Listener
	open     []net.Conn
}

func newWay(t *testing.T, to int) *way {
	t.Helper()
	port, err := pgtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	w := &way{t: t, port: port, to: to}
	w.restore()
	t.Cleanup(w.cut)
	return w
}

func (w *way) restore() {
	l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", w.port))
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.listener = l
	w.mu.Unlock()
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", w.to))
			if err != nil {
				_ = in.(*net.TCPConn).SetLinger(0)
				in.Close()
				continue
			}
			w.mu.Lock()
			w.open = append(w.open, in, out)
			w.mu.Unlock()
			go func() { _, _ = io.Copy(out, in); out.Close(); in.Close() }()
			go func() { _, _ = io.Copy(in, out); out.Close(); in.Close() }()
		}
	}()
}

func (w *way) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listener.Close()
	for _, c := range w.open {
		c.Close()
	}
	w.open = nil
}

// story waits for a new incident that has ended, and that is told so; or for one that never is, for a while.
func (w *watch) story(after int, want Cause, words string) (Window, Story) {
	w.t.Helper()
	var window Window
	var story Story
	pgtest.Eventually(w.t, 20*time.Second, func() error {
		list := w.recorder.List()
		if len(list) <= after {
			return errors.New("there is no incident")
		}
		window, story, _ = w.recorder.Get(list[0].ID)
		if window.End.IsZero() || window.Is.StartTime.IsZero() {
			return errors.New("it goes on")
		}
		if story.Cause != want || !strings.Contains(story.Sentence, words) { // the log is read a little later
			return fmt.Errorf("it is told as %s (%s)", story.Cause, story.Sentence)
		}
		return nil
	})
	return window, story
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// faults of a server, and their causes.
var faults = []struct {
	name  string
	do    func(t *testing.T, w *watch)
	want  Cause
	sure  Sureness
	words string
}{
	{"a backend is killed", func(t *testing.T, w *watch) { kill(t, w.pg, syscall.SIGKILL) }, KilledBySignal, Certain,
		"signal 9 (SIGKILL) while it ran: SELECT '?', pg_sleep(?)"},
	{"a backend crashes", func(t *testing.T, w *watch) { kill(t, w.pg, syscall.SIGSEGV) }, KilledBySignal, Certain, "signal 11"},
	{"a fast restart", func(t *testing.T, w *watch) { must(t, w.pg.Restart(t.Context())) }, Restarted, Certain, "fast shutdown"},
	{"an immediate shutdown", func(t *testing.T, w *watch) {
		must(t, w.pg.StopWith(syscall.SIGQUIT))
		w.down()
		must(t, w.pg.Launch(t.Context()))
	}, ImmediateShutdown, Certain, "had to recover"},
	{"all is killed", func(t *testing.T, w *watch) {
		w.pg.KillServer()
		w.down()
		must(t, w.pg.Launch(t.Context()))
	}, ServerKilled, Likely, "without a shutdown"},
	{"connections are used up", func(t *testing.T, w *watch) {
		var held []*pgx.Conn
		for range 1000 {
			conn, err := pgx.Connect(t.Context(), w.pg.MonitorDSN())
			if err != nil {
				break
			}
			held = append(held, conn)
		}
		w.down()
		for _, conn := range held {
			_ = conn.Close(t.Context())
		}
	}, ConnectionsExhausted, Certain, "All connections are used up"},
	{"pg_hba.conf", func(t *testing.T, w *watch) {
		hba, err := os.ReadFile(filepath.Join(w.pg.DataDir(), "pg_hba.conf"))
		must(t, err)
		must(t, w.pg.WriteHBA("host all "+pgtest.Monitor+" 127.0.0.1/32 reject\n"+string(hba)))
		must(t, w.pg.Reload())
		w.down()
		must(t, w.pg.WriteHBA(string(hba)))
		must(t, w.pg.Reload())
	}, AccessChanged, Certain, "reloaded"},
	{"a new password", func(t *testing.T, w *watch) {
		must(t, w.pg.Exec(t.Context(), "ALTER ROLE "+pgtest.Monitor+" PASSWORD 'another'"))
		w.down()
		must(t, w.pg.Exec(t.Context(), "ALTER ROLE "+pgtest.Monitor+" PASSWORD '"+pgtest.Password+"'"))
	}, LoginRefused, Certain, "password"},
	{"the network is gone", func(t *testing.T, w *watch) {
		w.way.cut()
		for began := time.Now(); time.Since(began) < 5*time.Second; time.Sleep(200 * time.Millisecond) {
			_ = w.pg.Exec(t.Context(), "SELECT 1 / 0") // users go on
		}
		w.way.restore()
	}, Network, Likely, "no connection to it could be made"},
	{"it is frozen", func(t *testing.T, w *watch) {
		w.pg.Pause()
		w.down()
		time.Sleep(time.Second)
		w.pg.Resume()
	}, Unknown, NotSure, ""},
}

// down waits until the prober sees it.
func (w *watch) down() {
	w.t.Helper()
	pgtest.Eventually(w.t, 20*time.Second, func() error {
		if w.prober.Snapshot().OutageStart.IsZero() {
			return errors.New("there is no outage")
		}
		return nil
	})
}

func kill(t *testing.T, pg *pgtest.Cluster, signal syscall.Signal) {
	t.Helper()
	conn, err := pg.Connect(t.Context(), "postgres")
	must(t, err)
	cut := make(chan struct{})
	pid := conn.PgConn().PID()
	go func() {
		defer close(cut)
		_, _ = conn.Exec(context.Background(), "SELECT 'secret', pg_sleep(60)", pgx.QueryExecModeSimpleProtocol)
		conn.Close(context.Background())
	}()
	pgtest.Eventually(t, 10*time.Second, func() error {
		n, err := pg.Query(t.Context(), "postgres", "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND state = 'active' AND query ~ "+
			"'secret'", pid)
		if err != nil || n != "1" {
			return fmt.Errorf("%q sessions run the statement, %w", n, err)
		}
		return nil
	})
	must(t, syscall.Kill(int(pid), signal))
	<-cut
	must(t, pg.WaitReady(t.Context()))
}

// TestRealFaults breaks a real server in each way, and asks for the cause. With -update the windows become rows of TestExplain.
func TestRealFaults(t *testing.T) {
	pg := pgtest.New(t, pgtest.Options{})
	w := newWatch(t, pg, true)
	for i, fault := range faults {
		before := len(w.recorder.List())
		fault.do(t, w)
		window, story := w.story(before, fault.want, fault.words)
		if story.Sure != fault.sure {
			t.Errorf("%s: %s, %q", fault.name, story.Sure, story.Sentence)
		}
		if strings.Contains(fmt.Sprint(window, story), "'secret'") {
			t.Errorf("%s: the story has a literal: %q", fault.name, story.Sentence)
		}
		if len(story.Evidence) == 0 {
			t.Errorf("%s: no evidence", fault.name)
		}
		if *update {
			keep(t, fmt.Sprintf("testdata/%02d-%s.json", i, strings.ReplaceAll(fault.name, " ", "-")), window)
		}
		t.Logf("%s: %s. Also: %q. Missing: %q", fault.name, story.Sentence, story.Also, story.Missing)
		w.forget()
	}
}

// forget closes all windows now instead of in half a minute.
func (w *watch) forget() {
	r := w.recorder
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.active {
		m.End = m.End.Add(-After)
	}
	r.log.list = nil
}

// keep writes what of a window is around its incident.
func keep(t *testing.T, name string, w Window) {
	t.Helper()
	w.Target, w.Samples, w.Facts = "db1:5432/postgres", nil, nil
	w.Probes = slices.DeleteFunc(w.Probes, func(p Probe) bool {
		return p.At.Before(w.Start.Add(-300*time.Millisecond)) || p.At.After(w.End.Add(300*time.Millisecond))
	})
	w.Probes = w.Probes[:min(len(w.Probes), 20)]
	w.Log = slices.DeleteFunc(w.Log, func(e serverlog.Event) bool { return e.At.Before(w.Start.Add(-2 * time.Second)) })
	data, err := json.MarshalIndent(w, "", " ")
	must(t, err)
	must(t, os.WriteFile(name, append(data, '\n'), 0o644))
}
