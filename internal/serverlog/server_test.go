package serverlog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// prefixes that people have, one for each version that is tested.
var prefixes = map[int]string{
	13: "%m [%p] %q%u@%d/%a ",              // Debian's, and more
	15: "%n|%e|%p|%-10u|%d|%a|%h|%l|",      // with padding
	18: "%t:%r:%u@%d:[%p]:%l:%e:%s:%v:%x:", // a cloud's
}

// following is a log that is followed for a test.
type following struct {
	t   *testing.T
	log *Log
	end func()

	mu     sync.Mutex
	events []Event
}

func follow(t *testing.T, settings Settings, stateDir string, patterns ...string) *following {
	t.Helper()
	f := &following{t: t}
	var err error
	f.log, err = New(Options{Files: patterns, StateDir: stateDir, Logger: log.NewNopLogger(), OnEvent: func(e Event) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.events = append(f.events, e)
	}})
	if err != nil {
		t.Fatal(err)
	}
	f.log.Learn(settings)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); f.log.Run(ctx) }()
	f.end = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(f.end)
	pgtest.Eventually(t, 5*time.Second, func() error {
		if f.log.followed.Load() == 0 {
			return errors.New("no file is followed")
		}
		return nil
	})
	return f
}

// value of a metric, whose labels are as written in a page.
func (f *following) value(name string, labels ...string) float64 {
	f.t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(f.log.Metrics())
	families, err := registry.Gather()
	if err != nil {
		f.t.Fatal(err)
	}
	sum := 0.0
	for _, family := range families {
		if family.GetName() != "pg_reliability_log_"+name {
			continue
		}
		for _, m := range family.Metric {
			if labelled(m, labels) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func labelled(m *dto.Metric, values []string) bool {
	for _, want := range values {
		found := false
		for _, l := range m.Label {
			found = found || l.GetValue() == want
		}
		if !found {
			return false
		}
	}
	return true
}

func (f *following) all(kind Kind) (out []Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.events {
		if e.Kind == kind {
			out = append(out, e)
		}
	}
	return out
}

// TestFormatsOfRealServers has real servers write the same in each format they have, and reads the same in each.
func TestFormatsOfRealServers(t *testing.T) {
	for _, major := range []int{13, 15, 18} {
		t.Run(fmt.Sprintf("postgres-%d", major), func(t *testing.T) {
			t.Parallel()
			install, err := pgtest.Find(major)
			if err != nil {
				t.Fatal(err)
			}
			formats := map[string]string{"stderr": "log", "csvlog": "csv"}
			if major >= 15 {
				formats["jsonlog"] = "json"
			}
			names := make([]string, 0, len(formats))
			for name := range formats {
				names = append(names, name)
			}
			pg := pgtest.New(t, pgtest.Options{Install: install, Settings: map[string]string{
				"logging_collector": "on", "log_directory": "'log'", "log_filename": "'server.log'", "log_destination": "'" + strings.Join(names, ",") +
					"'",
				"log_line_prefix": "'" + prefixes[major] + "'", "log_timezone": "'Asia/Kathmandu'", "deadlock_timeout": "'20ms'",
				"log_lock_waits": "on",
				"log_temp_files": "0", "work_mem": "'64kB'", "log_min_duration_statement": "0", "log_connections": "on",
			}})
			read := map[string]*following{}
			for name, ext := range formats {
				read[name] = follow(t, Settings{Prefix: prefixes[major], TimeZone: "Asia/Kathmandu"}, "",
					filepath.Join(pg.DataDir(), "log", "server."+ext))
			}
			trouble(t, pg)
			t.Cleanup(func() {
				if t.Failed() {
					said, _ := os.ReadFile(filepath.Join(pg.DataDir(), "log", "server.log"))
					t.Logf("%s", said[max(0, len(said)-5000):])
				}
			})
			for name, f := range read {
				t.Run(name, func(t *testing.T) { heard(t, f, pg, name, major) })
			}
		})
	}
}

// trouble has a server say what people want to know of.
func trouble(t *testing.T, pg *pgtest.Cluster) {
	t.Helper()
	ctx := context.Background()
	fails := func(dsn string) {
		t.Helper()
		if conn, err := pgx.Connect(ctx, dsn); err == nil {
			conn.Close(ctx)
			t.Fatalf("%s can log in", dsn)
		}
	}
	fails(strings.Replace(pg.MonitorDSN(), pgtest.Password, "hunter2", 1))
	fails(pg.DSN(pgtest.Superuser, "no such\nFATAL:  database"))
	sql := func(statements ...string) { _ = pg.Exec(ctx, statements...) } // to fail is what most are for
	sql("CREATE TABLE t (id int PRIMARY KEY, secret text)", "INSERT INTO t SELECT i, 'x' FROM generate_series(1, 2) i")
	sql("SET statement_timeout = '10ms'; SELECT pg_sleep(5), 'top-secret'")
	sql("SELECT 1 /*\n2026-01-01 00:00:00 UTC [1] PANIC:  \"of\" a user's, making\n*/ FROM nowhere")
	sql("SELECT repeat('long, \"', 60000) || 1 / 0")
	sql("SELECT count(*) FROM (SELECT i FROM generate_series(1, 20000) i ORDER BY i DESC OFFSET 1) x")
	one, two := connect(t, pg), connect(t, pg)
	run := func(conn *pgx.Conn, statement string) error {
		_, err := conn.Exec(ctx, statement, pgx.QueryExecModeSimpleProtocol)
		return err
	}
	for _, step := range []struct {
		conn *pgx.Conn
		sql  string
	}{{one, "BEGIN; UPDATE t SET secret = 'a' WHERE id = 1"}, {two, "BEGIN; UPDATE t SET secret = 'b' WHERE id = 2"},
		{two, "SET LOCAL deadlock_timeout = '1min'"}} {
		if err := run(step.conn, step.sql); err != nil {
			t.Fatal(err)
		}
	}
	waits := make(chan error, 1)
	go func() { waits <- run(two, "UPDATE t SET secret = 'c' WHERE id = 1") }()
	if err := run(one, "UPDATE t SET secret = 'd' WHERE id = 2"); err == nil { // the one with the short timeout is ended, once both wait
		t.Error("there is no deadlock")
	}
	if err := <-waits; err != nil {
		t.Fatal(err)
	}
	_ = run(one, "ROLLBACK; SET lock_timeout = '10ms'; LOCK TABLE t") // two has it
	crash(t, pg)
	if err := pg.Restart(ctx); err != nil {
		t.Fatal(err)
	}
}

// crash kills a session while it runs a statement, and waits for the server's recovery.
func crash(t *testing.T, pg *pgtest.Cluster) {
	t.Helper()
	ctx := context.Background()
	conn := connect(t, pg)
	cut := make(chan struct{})
	go func() { defer close(cut); _, _ = conn.Exec(ctx, "SELECT 'top-secret', pg_sleep(60)") }()
	pid := conn.PgConn().PID()
	pgtest.Eventually(t, 10*time.Second, func() error {
		active, err := pg.Query(ctx, "postgres", "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND query ~ 'top-secret'", pid)
		if err != nil || active != "1" {
			return fmt.Errorf("the statement does not run: %q, %w", active, err)
		}
		return nil
	})
	if err := syscall.Kill(int(pid), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-cut
	if err := pg.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
}

func connect(t *testing.T, pg *pgtest.Cluster) *pgx.Conn {
	t.Helper()
	conn, err := pg.Connect(context.Background(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func heard(t *testing.T, f *following, pg *pgtest.Cluster, name string, major int) {
	f.t = t
	pgtest.Eventually(t, 10*time.Second, func() error {
		if n := len(f.all(Ready)); n != 2 { // after the crash and after the restart
			return fmt.Errorf("the server was ready %d times", n)
		}
		return nil
	})
	states := name != "stderr" || strings.Contains(prefixes[major], "%e")
	for _, want := range []struct {
		name   string
		labels []string
		value  float64
	}{
		{"failed_logins_total", []string{"password"}, 1},
		{"events_total", []string{"statement_timeout"}, 1},
		{"events_total", []string{"lock_timeout"}, 1},
		{"events_total", []string{"deadlock"}, 1},
		{"events_total", []string{"process_killed"}, 1},
		{"messages_total", []string{"panic"}, 0},
		{"messages_total", []string{"fatal", "28"}, 1},
		{"messages_total", []string{"error", "57"}, 1},
	} {
		if got := f.value(want.name, want.labels...); got != want.value {
			t.Errorf("%s%q = %g, not %g", want.name, want.labels, got, want.value)
		}
	}
	if n := f.value("messages_total", "error", "42"); states && n < 1 {
		t.Error("the syntax error has no class")
	}
	// In the format stderr a name with a line break ends its line.
	if n := f.value("failed_logins_total", "no_database"); n != 1 && name != "stderr" {
		t.Errorf("%g logins failed for want of a database", n)
	}
	if n := f.value("temporary_file_bytes_total"); n < 100_000 {
		t.Errorf("temporary files of %g bytes", n)
	}
	if n := f.value("dropped_lines_total", "unread"); n > 6 || n > 0 && name != "stderr" { // the name with a line break, in stderr
		t.Errorf("%g lines could not be read", n)
	}
	killed := f.all(ProcessKilled)
	if len(killed) == 1 && (killed[0].Number != 9 || killed[0].Process == 0 || !strings.Contains(killed[0].Detail, "pg_sleep(?)")) {
		t.Errorf("the crash is told as %+v", killed[0])
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.events {
		if age := time.Since(e.At); age < -time.Second || age > pgtest.Patience(time.Minute) {
			t.Errorf("told %s ago: %+v", age, e)
		}
		if e.PID == 0 {
			t.Errorf("nobody said: %+v", e)
		}
		if all := fmt.Sprint(e); strings.Contains(all, "hunter2") || strings.Contains(all, "top-secret") {
			t.Errorf("a secret is told: %s", all)
		}
	}
}

// TestTranslatedServer reads what a server says in German, without a SQLSTATE in its prefix.
func TestTranslatedServer(t *testing.T) {
	if _, err := os.Stat("/usr/share/locale/de/LC_MESSAGES/postgres-15.mo"); err != nil {
		t.Skip("PostgreSQL 15's German messages are not installed; the table of words is tested above")
	}
	pg := pgtest.New(t, pgtest.Options{
		Install:  pgtest.Install{Major: 15, BinDir: "/usr/lib/postgresql/15/bin", HasClients: true},
		Env:      []string{"LANGUAGE=de", "LC_ALL=C.UTF-8"},
		InitArgs: []string{"--locale=C.UTF-8"}, Settings: map[string]string{"lc_messages": "'C.UTF-8'"},
	})
	f := follow(t, Settings{Prefix: "%m [%p] %q%u@%d/%a "}, "", pg.LogFile())
	if conn, err := pgx.Connect(context.Background(), strings.Replace(pg.MonitorDSN(), pgtest.Password, "hunter2", 1)); err == nil {
		conn.Close(context.Background())
		t.Fatal("a wrong password is none")
	}
	crash(t, pg)
	pgtest.Eventually(t, 10*time.Second, func() error {
		killed := f.all(ProcessKilled)
		switch {
		case f.value("failed_logins_total", "password") != 1:
			return errors.New("no login failed")
		case len(killed) != 1 || killed[0].Number != 9 || !strings.Contains(killed[0].Message, "Signal 9") ||
			!strings.Contains(killed[0].Detail, "pg_sleep(?)"):
			return fmt.Errorf("the crash is %+v", killed)
		case len(f.all(Ready)) == 0:
			return errors.New("it was not ready again")
		}
		return nil
	})
}
