package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

func connector(t *testing.T, dsn string) *postgres.Connector {
	t.Helper()
	c, err := postgres.NewConnector(postgres.ConnectorOptions{DSN: dsn, Settings: settings()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func settings() postgres.Settings {
	return postgres.Settings{
		ApplicationName: "pg_reliability_exporter", StatementTimeout: 300 * time.Millisecond,
		LockTimeout: 100 * time.Millisecond, IdleInTransactionTimeout: 5 * time.Second,
	}
}

// login returns the reason of one attempt to connect and to run a query, and checks that no password shows, and that a mistake
// that a person can mend is told with its remedy.
func login(t *testing.T, dsn string, sql ...string) postgres.Reason {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), pgtest.Patience(2*time.Second))
	defer cancel()
	s, err := connector(t, dsn).Connect(ctx)
	if err == nil {
		defer s.Close()
		for _, q := range sql {
			if _, err = s.Query(ctx, q); err != nil {
				break
			}
		}
	}
	if err != nil && (strings.Contains(err.Error(), pgtest.Password) || strings.Contains(err.Error(), "wrong-secret")) {
		t.Errorf("the password is in the error: %v", err)
	}
	if err != nil && strings.Contains(err.Error(), "\n") {
		t.Errorf("the error has several lines: %q", err)
	}
	switch r := postgres.ReasonOf(err); r {
	case postgres.Auth, postgres.PgHBA, postgres.NoDatabase, postgres.TLS, postgres.Protocol:
		if !strings.Contains(err.Error(), "HINT: ") {
			t.Errorf("%s without a remedy: %v", r, err)
		}
	}
	t.Logf("%v", err)
	return postgres.ReasonOf(err)
}

func expect(t *testing.T, got, want postgres.Reason) {
	t.Helper()
	if got != want {
		t.Errorf("reason = %s, want %s", got, want)
	}
}

func TestReasonOfEachFailureOfARealServer(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := pgtest.New(t, pgtest.Options{Settings: map[string]string{"max_connections": "8", "superuser_reserved_connections": "1"}})
	monitor := c.MonitorDSN()

	t.Run("ok", func(t *testing.T) { expect(t, login(t, monitor, "SELECT 1"), postgres.OK) })
	t.Run("auth: wrong password", func(t *testing.T) {
		expect(t, login(t, strings.Replace(monitor, pgtest.Password, "wrong-secret", 1)), postgres.Auth)
	})
	t.Run("auth: no such role", func(t *testing.T) { expect(t, login(t, c.DSN("nobody", "postgres")), postgres.Auth) })
	// Each of the two is told what it has not done, and not to compare what it never gave.
	t.Run("auth: no password", func(t *testing.T) {
		_, err := connector(t, strings.Replace(monitor, pgtest.Password, "", 1)+"&passfile=/nowhere").Connect(ctx)
		if postgres.ReasonOf(err) != postgres.Auth || !strings.Contains(err.Error(), "No password was given") {
			t.Errorf("%v", err)
		}
	})
	t.Run("auth: no role named", func(t *testing.T) {
		me, err := user.Current()
		if err != nil {
			t.Fatal(err)
		}
		_, err = connector(t, c.DSN(me.Username, "postgres")).Connect(ctx)
		if postgres.ReasonOf(err) != postgres.Auth || !strings.Contains(err.Error(), "name yours with DATA_SOURCE_USER") {
			t.Errorf("%v", err)
		}
	})
	t.Run("no_database", func(t *testing.T) {
		expect(t, login(t, c.DSN(pgtest.Monitor, "nowhere")), postgres.NoDatabase)
	})
	t.Run("permission", func(t *testing.T) {
		expect(t, login(t, monitor, "SELECT * FROM pg_authid"), postgres.Permission)
	})
	t.Run("permission: the database is closed to us", func(t *testing.T) {
		for to, back := range map[string]string{
			"ALTER DATABASE closed ALLOW_CONNECTIONS false":                     "ALTER DATABASE closed ALLOW_CONNECTIONS true",
			"REVOKE CONNECT ON DATABASE closed FROM PUBLIC":                     "GRANT CONNECT ON DATABASE closed TO PUBLIC",
			"UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'closed'": "DROP DATABASE closed", // an interrupted DROP DATABASE
		} {
			if err := c.Exec(ctx, "DROP DATABASE IF EXISTS closed", "CREATE DATABASE closed", to); err != nil {
				t.Fatal(err)
			}
			_, err := connector(t, c.DSN(pgtest.Monitor, "closed")).Connect(ctx)
			if postgres.ReasonOf(err) != postgres.Permission || !strings.Contains(err.Error(), "HINT: Let this role connect to the database") {
				t.Errorf("%s: %s, %v", to, postgres.ReasonOf(err), err)
			}
			if err := c.Exec(ctx, back); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("query", func(t *testing.T) { expect(t, login(t, monitor, "SELECT 1/0"), postgres.Query) })
	t.Run("read_only", func(t *testing.T) {
		expect(t, login(t, monitor, "CREATE TABLE public.t ()"), postgres.ReadOnly)
	})
	t.Run("timeout: statement_timeout", func(t *testing.T) {
		expect(t, login(t, monitor, "SELECT pg_sleep(5)"), postgres.Timeout)
	})
	t.Run("lock_timeout", func(t *testing.T) {
		if err := c.Exec(ctx, "CREATE TABLE locked ()", "GRANT SELECT ON locked TO PUBLIC"); err != nil {
			t.Fatal(err)
		}
		holder, err := c.Connect(ctx, "postgres")
		if err != nil {
			t.Fatal(err)
		}
		defer holder.Close(ctx)
		if _, err := holder.Exec(ctx, "BEGIN; LOCK TABLE locked", pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
		expect(t, login(t, monitor, "SELECT * FROM public.locked"), postgres.LockTimeout)
	})
	t.Run("shutting_down: the session is cut", func(t *testing.T) {
		s, err := connector(t, monitor).Connect(ctx)
		if err != nil {
			t.Fatal(err)
		}
		err = c.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pg_reliability_exporter'")
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Query(ctx, "SELECT 1")
		expect(t, postgres.ReasonOf(err), postgres.ShuttingDown)
		if !s.Broken() {
			t.Error("the session does not know that it is broken")
		}
	})
	t.Run("too_many_connections", func(t *testing.T) {
		var held []*pgx.Conn
		for {
			conn, err := pgx.Connect(ctx, monitor)
			if err != nil {
				break
			}
			held = append(held, conn)
		}
		expect(t, login(t, monitor), postgres.TooManyConnections)
		for _, conn := range held {
			_ = conn.Close(ctx)
		}
	})
	for _, limited := range []string{"ROLE " + pgtest.Monitor, "DATABASE postgres"} {
		t.Run("connection_limit: "+limited, func(t *testing.T) {
			held, err := pgx.Connect(ctx, monitor)
			if err != nil {
				t.Fatal(err)
			}
			defer held.Close(ctx)
			if err := c.Exec(ctx, "ALTER "+limited+" CONNECTION LIMIT 1"); err != nil {
				t.Fatal(err)
			}
			_, err = connector(t, monitor).Connect(ctx)
			expect(t, postgres.ReasonOf(err), postgres.ConnectionLimit)
			if !strings.Contains(fmt.Sprint(err), "HINT: Raise the limit") {
				t.Errorf("no remedy in %v", err)
			}
			if err := c.Exec(ctx, "ALTER "+limited+" CONNECTION LIMIT -1"); err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Run("tls: the server has none", func(t *testing.T) {
		expect(t, login(t, strings.Replace(monitor, "sslmode=disable", "sslmode=require", 1)), postgres.TLS)
	})
	t.Run("tls: unknown authority", func(t *testing.T) {
		if err := c.EnableTLS(ctx, time.Now().Add(time.Hour), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		expect(t, login(t, strings.Replace(monitor, "sslmode=disable", "sslmode=verify-full", 1)), postgres.TLS)
		expect(t, login(t, strings.Replace(monitor, "sslmode=disable", "sslmode=require", 1)), postgres.OK)
	})
	t.Run("pg_hba: pg_hba.conf wants TLS", func(t *testing.T) {
		if err := c.WriteHBA("local all all trust\nhost all postgres all trust\nhostssl all all all scram-sha-256\n"); err != nil {
			t.Fatal(err)
		}
		if err := c.Reload(); err != nil {
			t.Fatal(err)
		}
		pgtest.Eventually(t, 20*time.Second, func() error {
			if r := login(t, monitor); r != postgres.PgHBA {
				return fmt.Errorf("reason = %s, want pg_hba", r)
			}
			return nil
		})
	})
	t.Run("timeout: the server is frozen", func(t *testing.T) {
		c.Pause()
		defer c.Resume()
		expect(t, login(t, monitor), postgres.Timeout)
	})
	t.Run("shutting_down", func(t *testing.T) {
		client, err := c.Connect(ctx, "postgres")
		if err != nil {
			t.Fatal(err)
		}
		smart := make(chan error, 1)
		go func() { smart <- c.StopWith(15) }() // waits for the client, and takes no others
		pgtest.Eventually(t, 20*time.Second, func() error {
			if r := login(t, c.DSN(pgtest.Superuser, "postgres")); r != postgres.ShuttingDown {
				return fmt.Errorf("reason = %s", r)
			}
			return nil
		})
		_ = client.Close(ctx)
		if err := <-smart; err != nil {
			t.Fatal(err)
		}
	})
	t.Run("refused", func(t *testing.T) { expect(t, login(t, monitor), postgres.Refused) })
	t.Run("refused: no unix socket", func(t *testing.T) {
		expect(t, login(t, c.SocketDSN(pgtest.Superuser, "postgres")), postgres.Refused)
	})
	t.Run("starting_up", func(t *testing.T) {
		// A standby that has nothing to restore from never gets consistent.
		err := errors.Join(
			c.WriteFile("standby.signal", nil),
			c.WriteFile("backup_label", []byte("START WAL LOCATION: 9/28 (file 000000010000000900000000)\n"+
				"CHECKPOINT LOCATION: 9/28\nBACKUP METHOD: streamed\nBACKUP FROM: primary\nSTART TIMELINE: 1\n")),
			c.Configure(map[string]string{"restore_command": "'sleep 1; false'"}),
			c.LaunchNoWait(),
		)
		if err != nil {
			t.Fatal(err)
		}
		pgtest.Eventually(t, 10*time.Second, func() error {
			if r := login(t, c.DSN(pgtest.Superuser, "postgres")); r != postgres.StartingUp {
				return fmt.Errorf("reason = %s", r)
			}
			return nil
		})
	})
}

func TestReasonOfTheNetwork(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	proxy := pgtest.NewProxy(t, c)
	t.Run("dns", func(t *testing.T) {
		expect(t, login(t, "host=no-such-host.invalid user=u dbname=d"), postgres.DNS)
	})
	t.Run("timeout: accepts and never answers", func(t *testing.T) {
		proxy.Blackhole(true)
		defer proxy.Blackhole(false)
		expect(t, login(t, proxy.DSN(c.MonitorDSN())), postgres.Timeout)
	})
	t.Run("timeout: nobody takes the connection request", func(t *testing.T) {
		expect(t, login(t, fmt.Sprintf("host=127.0.0.1 port=%d user=u dbname=d connect_timeout=1", deafPort(t))), postgres.Timeout)
	})
	t.Run("timeout: no route", func(t *testing.T) { // the kernel's answers that no loopback address gives
		for _, errno := range []syscall.Errno{syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ETIMEDOUT} {
			expect(t, postgres.ReasonOf(&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", errno)}), postgres.Timeout)
		}
	})
	t.Run("refused: a load balancer without a server", func(t *testing.T) {
		proxy.Refuse(true)
		defer proxy.Refuse(false)
		expect(t, login(t, proxy.DSN(c.MonitorDSN())), postgres.Refused)
	})
	t.Run("protocol: not PostgreSQL", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			if conn, err := l.Accept(); err == nil {
				_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
				_ = conn.Close()
			}
		}()
		port := l.Addr().(*net.TCPAddr).Port
		expect(t, login(t, fmt.Sprintf("host=127.0.0.1 port=%d user=u dbname=d sslmode=disable", port)), postgres.Protocol)
	})
}

func TestRecoveryConflictOnAStandby(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	primary := pgtest.New(t, pgtest.Options{})
	if err := primary.Exec(ctx, "CREATE TABLE t AS SELECT g FROM generate_series(1, 1000) g", "GRANT SELECT ON t TO PUBLIC"); err != nil {
		t.Fatal(err)
	}
	standby, err := primary.Standby(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = standby.Close() })
	if err := errors.Join(standby.Configure(map[string]string{"max_standby_streaming_delay": "0"}), standby.Restart(ctx)); err != nil {
		t.Fatal(err)
	}
	c, err := postgres.NewConnector(postgres.ConnectorOptions{DSN: standby.MonitorDSN(), Settings: postgres.Settings{}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	failure := make(chan error, 1)
	go func() {
		_, err := s.Query(ctx, "SELECT count(*), pg_sleep(30) FROM public.t GROUP BY g")
		failure <- err
	}()
	pgtest.Eventually(t, 20*time.Second, func() error {
		if err := primary.Exec(ctx, "DELETE FROM t WHERE g % 7 = 0", "VACUUM (FREEZE) t",
			"INSERT INTO t SELECT generate_series(1, 1000)"); err != nil {
			return err
		}
		select {
		case err := <-failure:
			expect(t, postgres.ReasonOf(err), postgres.RecoveryConflict)
			return nil
		case <-time.After(100 * time.Millisecond):
			return errors.New("no conflict yet")
		}
	})
}

// deafPort is a port whose queue of connection requests is full, so that the kernel drops further ones:
// to a client it looks like a host that is switched off.
func deafPort(t *testing.T) int {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	port := name.(*syscall.SockaddrInet4).Port
	for range 8 {
		conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 200*time.Millisecond)
		if err != nil {
			return port
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("the queue does not fill")
	return 0
}
