package probe

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// backends counts the sessions and unfinished logins of the exporter, as the kernel and the server see them.
func backends(t *testing.T, c *pgtest.Cluster) (n int) {
	t.Helper()
	v, err := c.Query(t.Context(), "postgres",
		"SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")
	must(t, err)
	_, err = fmt.Sscan(v, &n)
	must(t, err)
	return n
}

func TestAFrozenServer(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{Settings: map[string]string{"log_connections": "on"}})
	p := start(t, quick(connectTo(t, c.MonitorDSN())))
	p.waitFor(t, postgres.OK)
	before := strings.Count(c.Log(), "connection received")
	c.Pause()
	frozen := time.Now()
	down := p.waitFor(t, postgres.Timeout)
	if d := time.Since(frozen); d > pgtest.Patience(2*time.Second) {
		t.Errorf("the timeout was reported after %s, want after one interval and one timeout", d)
	}
	if d := down.OutageStart.Sub(frozen); d < -200*time.Millisecond || d > 500*time.Millisecond {
		t.Errorf("the outage began %s after the freeze, want when the first hanging probe was sent", d)
	}
	<-p.lost
	p.wait(t, "3 s of timeouts", func(s Snapshot) bool { return s.Downtime > 3*time.Second })
	c.Resume()
	awake := time.Now()
	up := p.waitFor(t, postgres.OK)
	if d := time.Since(awake); d > pgtest.Patience(time.Second) {
		t.Errorf("the server's waking up was seen after %s, want at once", d)
	}
	assertOutage(t, up, awake.Sub(frozen), 400*time.Millisecond)
	// Every connection in the backlog costs the waking server a process: the dial, the cancel request for
	// the query that hung, a login; and after it the login that shows it is awake.
	if n := strings.Count(c.Log(), "connection received") - before; n > 4 {
		t.Errorf("%d connections during a freeze of 3 s, want at most 4", n)
	}
	pgtest.Eventually(t, 20*time.Second, func() error {
		if n := backends(t, c); n > 1 {
			return fmt.Errorf("%d sessions after the freeze, want the kept one", n)
		}
		return nil
	})
	assertRestarts(t, up, map[RestartKind]uint64{})
}

// assertOutage compares the only outage with the clock. It is exact to one interval; the machine may be busy.
func assertOutage(t *testing.T, s Snapshot, want, interval time.Duration) {
	t.Helper()
	margin := interval + 400*time.Millisecond
	if got := s.LastOutageEnd.Sub(s.LastOutageStart); s.Outages != 1 || (got-want).Abs() > margin {
		t.Errorf("%d outages, the last of %s; want one of %s within %s", s.Outages, got, want, margin)
	}
	if (s.Downtime - want).Abs() > margin {
		t.Errorf("downtime = %s, want %s within %s", s.Downtime, want, margin)
	}
}

func TestAnOutagesLengthAgreesWithTheClock(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, durable())
	o := quick(connectTo(t, c.MonitorDSN()))
	o.ReadInterval, o.ReadTimeout, o.LoginTimeout, o.LoginInterval = 0, 0, 0, 0 // the defaults
	p := start(t, o)
	p.waitFor(t, postgres.OK)
	killed := time.Now()
	c.KillServer()
	down := p.waitFor(t, postgres.Refused)
	if down.Answers() {
		t.Errorf("up while refused: %+v", down)
	}
	p.wait(t, "3 s down", func(s Snapshot) bool { return s.Downtime >= 3*time.Second })
	must(t, c.Launch(t.Context()))
	back := time.Now()
	up := p.waitAfter(t)
	assertOutage(t, up, back.Sub(killed), time.Second)
	assertRestarts(t, up, map[RestartKind]uint64{Restart: 1})
	p.stop()
	for what, want := range map[string]int{"is not fit for use": 1, "is fit for use again": 1, "was restarted": 1} {
		if got := strings.Count(p.log.String(), what); got < want || got > want+1 { // starting_up may come in between
			t.Errorf("%d log lines with %q, want one per change", got, what)
		}
	}
}

func TestAServerFullOfOthers(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{Settings: map[string]string{"max_connections": "8", "superuser_reserved_connections": "2"}})
	p := start(t, quick(connectTo(t, c.MonitorDSN())))
	p.waitFor(t, postgres.OK)
	var others []*pgx.Conn
	t.Cleanup(func() {
		for _, conn := range others {
			_ = conn.Close(t.Context())
		}
	})
	pgtest.Eventually(t, 10*time.Second, func() error {
		conn, err := pgx.Connect(t.Context(), c.MonitorDSN())
		if err == nil {
			others = append(others, conn)
			return errors.New("not full yet")
		}
		if s := p.Snapshot(); s.Reason != postgres.TooManyConnections {
			return fmt.Errorf("full, and the reason is %s", s.Reason)
		}
		return nil
	})
	s := p.Snapshot()
	if !s.Answers() || s.Probes[Login].Reason != postgres.TooManyConnections || s.OutageStart.IsZero() {
		t.Errorf("snapshot = %+v, want reads up, logins too_many_connections, and an outage", s)
	}
	late := start(t, quick(connectTo(t, c.MonitorDSN())))
	if s := late.waitFor(t, postgres.TooManyConnections); s.Answers() {
		t.Errorf("started while full: %+v, want down", s)
	}
	for _, conn := range others {
		must(t, conn.Close(t.Context()))
	}
	others = nil
	free := time.Now()
	if s := p.waitFor(t, postgres.OK); s.LastOutageEnd.Sub(free) > 2*time.Second {
		t.Errorf("seen %s after the connections were free, want the next try", s.LastOutageEnd.Sub(free))
	}
	late.waitFor(t, postgres.OK)
}

func TestReasonsOfADatabaseThatWasNeverFit(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	hole, err := net.Listen("tcp", "127.0.0.1:0") // accepts, never answers
	must(t, err)
	t.Cleanup(func() { _ = hole.Close() })
	port, err := pgtest.FreePort()
	must(t, err)
	for name, tc := range map[string]struct {
		dsn  string
		want postgres.Reason
	}{
		"wrong password": {strings.Replace(c.MonitorDSN(), pgtest.Password, "secret-but-wrong", 1), postgres.Auth},
		"blackhole":      {"postgres://u:secret-but-wrong@" + hole.Addr().String() + "/x?sslmode=disable", postgres.Timeout},
		"refused":        {fmt.Sprintf("postgres://u:secret-but-wrong@127.0.0.1:%d/x", port), postgres.Refused},
		"no such name":   {"postgres://u:secret-but-wrong@no-such-host.invalid/x", postgres.DNS},
	} {
		t.Run(name, func(t *testing.T) {
			p := prepare(t, quick(connectTo(t, tc.dsn)))
			if s := p.Snapshot(); s.Answers() || s.Known {
				t.Errorf("before the first probe: %+v", s)
			}
			p.run(t)
			s := p.wait(t, string(tc.want), func(s Snapshot) bool {
				return s.Reason == tc.want && s.Probes[Read].Reason == tc.want && s.Probes[Login].Reason == tc.want
			})
			if s.Outages != 0 || s.Downtime != 0 || !s.OutageStart.IsZero() || s.Reached {
				t.Errorf("snapshot = %+v, want no outage of what was never reached", s)
			}
			if s.Answers() || s.Probes[Read].Reason != tc.want || s.Probes[Login].Reason != tc.want || s.Probes[Read].Error == "" {
				t.Errorf("snapshot = %+v, want both probes %s", s, tc.want)
			}
			if hint := "HINT: Something takes connections there"; tc.want == postgres.Timeout && !strings.Contains(s.Probes[Read].Error, hint) {
				t.Errorf("no remedy in %q", s.Probes[Read].Error)
			}
			if strings.Contains(p.log.String()+s.Probes[Read].Error+s.Probes[Login].Error, "secret") {
				t.Errorf("the password is in %s", p.log)
			}
		})
	}
}

func TestABlackholeIsDialledOnceAtATime(t *testing.T) {
	t.Parallel()
	hole, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = hole.Close() })
	accepted := make(chan net.Conn, 100)
	go func() {
		for {
			conn, err := hole.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	p := start(t, quick(connectTo(t, "postgres://u@"+hole.Addr().String()+"/x?sslmode=disable")))
	began := time.Now()
	p.wait(t, "3 s of timeouts", func(s Snapshot) bool {
		return s.Reason == postgres.Timeout && s.Probes[Read].At.Sub(began) > 3*time.Second
	})
	if n := len(accepted); n != 1 {
		t.Errorf("%d connections in 3 s, want 1", n)
	}
}

func TestRestartWhileTheExporterIsOff(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, durable())
	o := quick(connectTo(t, c.MonitorDSN()))
	o.StateDir = t.TempDir()
	p := start(t, o)
	p.waitFor(t, postgres.OK)
	p.stop()
	must(t, c.Restart(t.Context()))
	for range 2 { // counted once
		p = start(t, o)
		s := p.waitFor(t, postgres.OK)
		assertRestarts(t, s, map[RestartKind]uint64{Restart: 1})
		if !s.LastRestart[Restart].Equal(s.Server.StartTime) || s.Outages != 0 {
			t.Errorf("snapshot = %+v, want the restart dated by the server and no outage", s)
		}
		p.stop()
	}
	must(t, c.KillBackend(t.Context()))
	p = start(t, o)
	assertRestarts(t, p.waitFor(t, postgres.OK), map[RestartKind]uint64{Restart: 1, Crash: 1})
}

func TestAnOutageGoesOnOverARestartOfTheExporter(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	o := quick(connectTo(t, c.MonitorDSN()))
	o.StateDir = t.TempDir()
	p := start(t, o)
	p.waitFor(t, postgres.OK)
	must(t, c.Stop())
	began := p.waitFor(t, postgres.Refused).OutageStart
	p.stop()
	p = start(t, o)
	if s := p.waitFor(t, postgres.Refused); s.Outages != 1 || !s.OutageStart.Equal(began) {
		t.Errorf("snapshot = %+v, want the same outage, from %v", s, began)
	}
	must(t, c.Launch(t.Context()))
	if s := p.waitFor(t, postgres.OK); s.Outages != 1 || !s.LastOutageStart.Equal(began) {
		t.Errorf("snapshot = %+v, want one outage from %v", s, began)
	}
}

func TestASessionEndedByTheAdministratorIsNoOutage(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	p := start(t, quick(connectTo(t, c.MonitorDSN())))
	p.waitFor(t, postgres.OK)
	must(t, c.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '"+pgtest.Monitor+"'"))
	select {
	case <-p.lost:
	case <-time.After(pgtest.Patience(20 * time.Second)):
		t.Fatal("OnConnectionLost was not called")
	}
	if s := p.waitAfter(t); s.Outages != 0 || len(s.Restarts) != 0 {
		t.Errorf("snapshot = %+v, want neither an outage nor a restart", s)
	}
}

func TestAStoppedServerIsShuttingDownThenRefused(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	p := start(t, quick(connectTo(t, c.MonitorDSN())))
	p.waitFor(t, postgres.OK)
	conn, err := c.Connect(t.Context(), "postgres") // keeps a smart shutdown waiting
	must(t, err)
	must(t, syscall.Kill(c.PID(), syscall.SIGTERM))
	s := p.waitFor(t, postgres.ShuttingDown)
	if !s.Answers() || s.Probes[Login].Reason != postgres.ShuttingDown {
		t.Errorf("snapshot = %+v, want reads on the kept session, and no login", s)
	}
	must(t, conn.Close(t.Context()))
}

func TestBehindPgBouncer(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, durable())
	p := start(t, quick(connectTo(t, pgBouncer(t, c))))
	s := p.waitFor(t, postgres.OK)
	if got := s.Server; got.Role != Primary || got.CheckpointerStart.IsZero() || got.SystemIdentifier == "" || got.Timeline != 1 {
		t.Errorf("server = %+v, want all its facts", got)
	}
	must(t, c.KillBackend(t.Context()))
	assertRestarts(t, p.waitAfter(t), map[RestartKind]uint64{Crash: 1})
	must(t, c.Restart(t.Context()))
	assertRestarts(t, p.waitAfter(t), map[RestartKind]uint64{Crash: 1, Restart: 1})
}

func pgBouncer(t *testing.T, c *pgtest.Cluster) (dsn string) {
	t.Helper()
	bin, err := exec.LookPath("pgbouncer")
	if err != nil {
		bin = "/usr/sbin/pgbouncer"
	}
	port, err := pgtest.FreePort()
	must(t, err)
	ini := filepath.Join(c.Dir, "pgbouncer.ini")
	must(t, os.WriteFile(ini, fmt.Appendf(nil, `[databases]
postgres = host=127.0.0.1 port=%d user=%s password=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 1
server_login_retry = 1
`, c.Port, pgtest.Monitor, pgtest.Password, port), 0o644))
	cmd := pgtest.Command(bin, ini)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=postgres sslmode=disable", port, pgtest.Monitor)
}
