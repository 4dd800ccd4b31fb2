package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

func newPool(t *testing.T, dsn string, minConns, maxConns int) *postgres.Pool {
	t.Helper()
	p, err := postgres.NewPool(postgres.PoolOptions{Connector: connector(t, dsn), Min: minConns, Max: maxConns, Apart: 2,
		Logger: log.NewNopLogger()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// idleWorks asks for a connection as a scrape does, and uses it.
func idleWorks(t *testing.T, p *postgres.Pool) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), pgtest.Patience(time.Second))
	defer cancel()
	l, err := p.AcquireIdle(ctx)
	if err != nil {
		return err
	}
	defer l.Release()
	_, err = l.Query(ctx, "SELECT 1")
	return err
}

func TestPoolStartsBeforeItsServer(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	p := newPool(t, c.MonitorDSN(), 1, 4)
	pgtest.Eventually(t, 20*time.Second, func() error {
		if r := postgres.ReasonOf(idleWorks(t, p)); r != postgres.Refused {
			return fmt.Errorf("reason = %s, want refused", r)
		}
		return nil
	})
	if err := c.Launch(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.Resume() // what the prober says when it sees the server
	pgtest.Eventually(t, 2*time.Second, func() error { return idleWorks(t, p) })
}

func TestPoolReconnectsByItselfWithGrowingPauses(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	proxy := pgtest.NewProxy(t, c)
	proxy.Refuse(true)
	p := newPool(t, proxy.DSN(c.MonitorDSN()), 1, 4)
	// 0 s, about 1 s, about 3 s: nobody hammers a server that is down.
	var attempts []time.Duration
	start := time.Now()
	for seen := 0; len(attempts) < 3 && time.Since(start) < 10*time.Second; time.Sleep(5 * time.Millisecond) {
		n, now := proxy.Accepted(), time.Since(start)
		// pgx follows a login that was cut with a request to cancel it, on a connection of its own.
		if n > seen && (len(attempts) == 0 || now-attempts[len(attempts)-1] > 100*time.Millisecond) {
			attempts = append(attempts, now)
		}
		seen = n
	}
	if len(attempts) < 3 || attempts[1] < 600*time.Millisecond || attempts[2]-attempts[1] < 1500*time.Millisecond {
		t.Fatalf("attempts at %v, want pauses of 1 s and 2 s", attempts)
	}
	proxy.Refuse(false)
	pgtest.Eventually(t, 10*time.Second, func() error { return idleWorks(t, p) })
}

func TestAcquireIdleNeverDials(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	proxy := pgtest.NewProxy(t, c)
	p := newPool(t, proxy.DSN(c.MonitorDSN()), 1, 4)
	pgtest.Eventually(t, 20*time.Second, func() error { return idleWorks(t, p) })
	before := proxy.Accepted()
	for range 50 {
		if err := idleWorks(t, p); err != nil {
			t.Fatal(err)
		}
	}
	if after := proxy.Accepted(); after != before {
		t.Errorf("%d connections were opened for scrapes", after-before)
	}

	p.Suspend(postgres.Refused)
	p.Reset()
	pgtest.Eventually(t, 20*time.Second, func() error {
		start := time.Now()
		err := idleWorks(t, p)
		if took := time.Since(start); took > pgtest.Patience(100*time.Millisecond) {
			t.Errorf("a scrape waited %s for a pool that has none", took)
		}
		if postgres.ReasonOf(err) != postgres.Refused {
			return fmt.Errorf("err = %w, want refused", err)
		}
		return nil
	})
}

func TestPoolReplacesConnectionsThatTheServerCut(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	p := newPool(t, c.MonitorDSN(), 1, 4)
	pgtest.Eventually(t, 20*time.Second, func() error { return idleWorks(t, p) })
	if err := c.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, 20*time.Second, func() error { return idleWorks(t, p) })
}

// A server, a proxy or a firewall may end what is idle. Whoever scrapes next meets another connection, not that one.
func TestAConnectionThatEndedWhileIdleIsReplacedBeforeAScrapeNeedsIt(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	proxy := pgtest.NewProxy(t, c)
	p := newPool(t, proxy.DSN(c.MonitorDSN()), 1, 4)
	pgtest.Eventually(t, 20*time.Second, func() error { return idleWorks(t, p) })
	for name, end := range map[string]func() error{
		"the server says goodbye": func() error {
			return c.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pg_reliability_exporter'")
		},
		"cut without a word": func() error { proxy.Cut(); return nil },
	} {
		before := proxy.Accepted()
		if err := end(); err != nil {
			t.Fatal(err)
		}
		pgtest.Eventually(t, 20*time.Second, func() error { // nobody asks for a connection meanwhile
			if idle, _ := p.Open(); idle == 0 || proxy.Accepted() == before {
				return fmt.Errorf("%s: the connection is not replaced", name)
			}
			return idleWorks(t, p) // not so when the cut met the new one, too
		})
	}
}

// A reload tells each idle session of changed settings. That is no reason to part.
func TestAnIdleConnectionOutlivesAReload(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	proxy := pgtest.NewProxy(t, c)
	p := newPool(t, proxy.DSN(c.MonitorDSN()), 1, 4)
	pgtest.Eventually(t, 20*time.Second, func() error { return idleWorks(t, p) })
	before := proxy.Accepted()
	if err := errors.Join(c.Configure(map[string]string{"IntervalStyle": "iso_8601"}), c.Reload()); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, 20*time.Second, func() error {
		got, err := c.Query(t.Context(), "postgres", "SELECT current_setting('IntervalStyle')")
		if err == nil && got != "iso_8601" {
			err = errors.New("not reloaded yet")
		}
		return err
	})
	for range 5 {
		if err := idleWorks(t, p); err != nil {
			t.Error(err)
		}
	}
	if after := proxy.Accepted(); after != before {
		t.Errorf("%d connections were opened", after-before)
	}
}

func TestPoolKeepsItsBoundAndWaitsForABusyConnection(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	p := newPool(t, c.MonitorDSN(), 1, 3) // one connection besides the prober's two
	pgtest.Eventually(t, 20*time.Second, func() error { return idleWorks(t, p) })
	busy, err := p.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- idleWorks(t, p) }()
	select {
	case err := <-done:
		t.Fatalf("a second connection appeared, err = %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	busy.Release()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if idle, lent := p.Open(); idle+lent != 1 {
		t.Errorf("%d connections are open, want 1", idle+lent)
	}
}

func TestPoolBoundsThatCanNotWorkAreRefused(t *testing.T) {
	c := connector(t, "host=127.0.0.1 user=u")
	for _, bounds := range [][2]int{{1, 2}, {0, 4}, {5, 4}} {
		if _, err := postgres.NewPool(
			postgres.PoolOptions{Connector: c, Min: bounds[0], Max: bounds[1], Apart: 2, Logger: log.NewNopLogger()}); err == nil {
			t.Errorf("bounds %v were accepted", bounds)
		}
	}
}

func TestConnectionStringsThatCanNotBeUsedAreNeverQuoted(t *testing.T) {
	for _, dsn := range []string{
		"postgres://u:hunter2@host:port/db", "postgres://u:hun/ter2@host/db", "postgres://u:%zzhunter2@h/db", "host=h password=hunter2 port=x",
		"host=h password=hunter2 sslmode=sometimes", "password='hunter2", "postgres://u:hunter2@h/db?sslmode=verify-full&sslrootcert=/nowhere",
		"hunter2", "host=h password=hunter2 nonsense", "postgres://u:hun ter2@h/db", "postgres://u:hun?ter2@h:1/db", "postgres://u:[hunter2@h/db",
	} {
		_, err := postgres.NewConnector(postgres.ConnectorOptions{DSN: dsn})
		if err == nil {
			continue
		}
		t.Logf("%-60s %v", dsn, err)
		for _, secret := range []string{"hunter2", "ter2", "zzhun"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%q shows the secret: %v", dsn, err)
			}
		}
	}
	if _, err := postgres.NewConnector(postgres.ConnectorOptions{DSN: "host=h", PasswordFile: "/nowhere/password"}); err == nil ||
		!errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing password file: err = %v", err)
	}
}

// While the only connection is lent for long, scrapes have another; while it is lent for an instant, none is opened.
func TestAConnectionIsOpenedBesideOneThatIsLentForLong(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	proxy := pgtest.NewProxy(t, c)
	p := newPool(t, proxy.DSN(c.MonitorDSN()), 1, 4)
	background, err := p.Acquire(t.Context()) // waits for the first login
	if err != nil {
		t.Fatal(err)
	}
	background.Release()
	before := proxy.Accepted()
	if background, err = p.Acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	background.Release()
	if after := proxy.Accepted(); after != before {
		t.Errorf("%d connections were opened for work of an instant", after-before)
	}
	if background, err = p.Acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer background.Release()
	if err := idleWorks(t, p); err != nil { // waits for one, and opens none itself
		t.Error(err)
	}
	if after := proxy.Accepted(); after != before+1 {
		t.Errorf("%d connections were opened beside the one that is lent, want 1", after-before)
	}
}
