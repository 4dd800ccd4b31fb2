package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/internal/incident"
	"github.com/pg-reliability/pg_reliability_exporter/internal/monitor"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

// TestWhoBlocksWhomIsOnThePage: live, with the statement that ends it.
func TestWhoBlocksWhomIsOnThePage(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t, pgtest.Options{})
	r := launch(t, pg.MonitorDSN(), "--state.dir="+t.TempDir(), "--watchdog=command", "--watchdog.command=true")
	pgtest.Eventually(t, 20*time.Second, func() error { return r.health(t, "ok") })
	if err := pg.Exec(t.Context(), "CREATE TABLE queue (id int)"); err != nil {
		t.Fatal(err)
	}
	ctx := context.WithoutCancel(t.Context())
	holder, err := pg.Connect(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close(ctx)
	if _, err := holder.Exec(t.Context(), "BEGIN; LOCK TABLE queue /* <b>top-secret</b> */"); err != nil {
		t.Fatal(err)
	}
	waiter, err := pg.Connect(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = waiter.Exec(ctx, `SELECT 'top-secret' AS "<script>alert(1)</script>" FROM queue`)
		waiter.Close(ctx)
	}()
	remedy := fmt.Sprintf("SELECT pg_terminate_backend(%d)", holder.PgConn().PID())
	pgtest.Eventually(t, 30*time.Second, func() error {
		_, text, err := r.get(t, "/api/status?history=none")
		if err != nil {
			return err
		}
		var s status.Status
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			return err
		}
		if s.Sessions == nil || len(s.Sessions.Blocking) != 2 || s.Sessions.Blocking[0].Remedy != remedy || s.Sessions.Blocked != 1 {
			return fmt.Errorf("the sessions are %+v", s.Sessions)
		}
		if _, text, err = r.get(t, "/"); err != nil || !strings.Contains(text, remedy) || strings.Contains(text, "top-secret") ||
			strings.Contains(text, "<script>alert") {
			return fmt.Errorf("the page is %s, %w", text, err)
		}
		if !s.Watchdog.On || s.Watchdog.Idle != "" || !strings.Contains(text, "On. After 20 s in which the server takes connections") {
			return fmt.Errorf("the watchdog is %+v", s.Watchdog)
		}
		return nil
	})
	if _, err := holder.Exec(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	<-ended
	pgtest.Eventually(t, 30*time.Second, func() error {
		if _, text, err := r.get(t, "/"); err != nil || strings.Contains(text, remedy) || !strings.Contains(text, "Nobody waits for a lock") {
			return fmt.Errorf("the page still shows who blocked, or nothing: %w", err)
		}
		return nil
	})
}

// queue is a chain of sessions, each of which waits for the one before; the first holds the table of roles, so that nobody can log in.
type queue struct {
	t       *testing.T
	culprit *pgx.Conn
	waiting chan struct{} // closed when all who waited have gone on
}

func newQueue(t *testing.T, pg *pgtest.Cluster) *queue {
	t.Helper()
	for _, sql := range []string{"CREATE TABLE stock (id int)", "CREATE TABLE orders (id int)",
		"CREATE ROLE night_shift SUPERUSER LOGIN PASSWORD '" + pgtest.Password + "'"} {
		if err := pg.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	config, err := pgx.ParseConfig(pg.DSN("night_shift", "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	config.RuntimeParams["application_name"] = "stock_report"
	q := &queue{t: t, waiting: make(chan struct{})}
	if q.culprit, err = pgx.ConnectConfig(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.culprit.Close(context.WithoutCancel(t.Context())) })
	return q
}

// form makes the queue: one who waits for the culprit and holds what the next wants.
func (q *queue) form(pg *pgtest.Cluster) {
	q.t.Helper()
	ctx := context.WithoutCancel(q.t.Context())
	var conns []*pgx.Conn
	for range 2 {
		conn, err := pg.Connect(ctx, "postgres")
		if err != nil {
			q.t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	if _, err := conns[0].Exec(ctx, "BEGIN; LOCK TABLE orders"); err != nil {
		q.t.Fatal(err)
	}
	for _, sql := range []string{"BEGIN", "LOCK TABLE stock, pg_authid", "SELECT set_config('my.secret', 'top-secret', true)"} {
		if _, err := q.culprit.Exec(ctx, sql); err != nil {
			q.t.Fatal(err)
		}
	}
	ends := make(chan struct{}, len(conns))
	for i, sql := range []string{"SELECT * FROM stock", "SELECT * FROM orders"} {
		go func() {
			_, _ = conns[i].Exec(ctx, sql)
			conns[i].Close(ctx)
			ends <- struct{}{}
		}()
	}
	go func() {
		for range conns {
			<-ends
		}
		close(q.waiting)
	}()
}

// names is whether a text names the culprit: its process, role, application and state, and what it waits for.
func (q *queue) names(text string) error {
	for _, part := range []string{fmt.Sprint(q.culprit.PgConn().PID()), "night_shift", "stock_report", "idle in transaction"} {
		if !strings.Contains(text, part) {
			return fmt.Errorf("%q is not in it: %s", part, text)
		}
	}
	return nil
}

// TestALockQueueIsShownAndExplained: somebody holds the table of roles and another one, and goes to lunch. Nobody can log in, and behind
// those who wait are others. Page, API and monitor say whom to end while it lasts; the outage's story names the same process afterwards.
// It ends when the chain does. No literal of a statement is anywhere but where that was asked for.
func TestALockQueueIsShownAndExplained(t *testing.T) {
	for show, want := range map[string]string{"masked": "set_config('?', '?', true)", "none": "", "full": "top-secret"} {
		if show != "masked" && os.Getenv("PG_RELIABILITY_LONG") == "" {
			continue // what shows a statement is tested by itself
		}
		t.Run(show, func(t *testing.T) {
			t.Parallel()
			pg := pgtest.New(t, pgtest.Options{})
			q := newQueue(t, pg)
			r := launch(t, pg.MonitorDSN(), "--state.dir="+t.TempDir(), "--probe.login-interval=1s", "--web.show-statements="+show)
			screen, err := monitor.NewExporterClient(monitor.HTTPOptions{URL: r.url})
			if err != nil {
				t.Fatal(err)
			}
			onScreen := func() string {
				var b strings.Builder
				_, err := monitor.Once(t.Context(), &b, monitor.Options{Sources: monitor.Sources{Status: screen}}, 200)
				return fmt.Sprint(b.String(), err)
			}
			pgtest.Eventually(t, 20*time.Second, func() error { return r.health(t, "ok") })
			pgtest.Eventually(t, 20*time.Second, func() error { // the first sample has it ask for the names of who is there
				if n := r.scrape(t)[`pg_reliability_session_sampling_total{result="ok"}`]; n < 3 {
					return fmt.Errorf("%v samples were taken", n)
				}
				return nil
			})
			q.form(pg)
			pgtest.Eventually(t, 30*time.Second, func() error { return r.health(t, "timeout") })
			remedy := fmt.Sprintf("SELECT pg_terminate_backend(%d)", q.culprit.PgConn().PID())
			pgtest.Eventually(t, 30*time.Second, func() error {
				for _, path := range []string{"/", "/api/status?history=none", "/api/sessions"} {
					code, text, err := r.get(t, path)
					if err = errors.Join(err, q.names(text)); err != nil || code != http.StatusOK || !strings.Contains(text, remedy) ||
						!strings.Contains(text, "Client:ClientRead") {
						return fmt.Errorf("%s: %d, %w", path, code, err)
					}
					if strings.Contains(text, "top-secret") != (show == "full") || show == "none" && strings.Contains(text, "set_config") {
						t.Fatalf("%s does not show statements as %s says: %s", path, show, text)
					}
				}
				var s status.Status
				_, text, _ := r.get(t, "/api/status?history=none")
				if err := json.Unmarshal([]byte(text), &s); err != nil {
					return err
				}
				if s.Sessions == nil || len(s.Sessions.Blocking) < 4 {
					return fmt.Errorf("not all who wait are told: %+v", s.Sessions)
				}
				if root, last := s.Sessions.Blocking[0], s.Sessions.Blocked; root.Blocks < 3 || root.TransactionSeconds <= 0 || last < 3 {
					return fmt.Errorf("the root is %+v, of %d who wait", root, last)
				}
				if text := onScreen(); q.names(text) != nil || !strings.Contains(text, remedy) {
					return fmt.Errorf("the monitor shows %s", text)
				}
				return nil
			})
			pgtest.Eventually(t, 30*time.Second, func() error { // while it lasts
				if _, text, err := r.get(t, "/"); err != nil || !strings.Contains(text, "A queue of locks") {
					return fmt.Errorf("the page does not say why: %w %s", err, text)
				}
				return nil
			})
			if _, err := q.culprit.Exec(t.Context(), "ROLLBACK"); err != nil {
				t.Fatal(err)
			}
			<-q.waiting
			id := r.incident(t, incident.LockQueue)
			for _, path := range []string{"/incidents/" + id, "/incidents/" + id + ".md", "/api/incidents/" + id, "/api/incidents"} {
				_, text, err := r.get(t, path)
				if err = errors.Join(err, q.names(text)); err != nil || !strings.Contains(text, "waiting for its client") {
					t.Errorf("%s does not name who it was: %v: %s", path, err, text)
				}
				if strings.Contains(text, "top-secret") != (show == "full") || show == "none" && strings.Contains(text, "set_config") {
					t.Errorf("%s does not show statements as %s says: want %q in %s", path, show, want, text)
				}
			}
			pgtest.Eventually(t, 30*time.Second, func() error {
				_, text, err := r.get(t, "/")
				if err != nil || strings.Contains(text, remedy) || !strings.Contains(text, "Nobody waits for a lock") {
					return fmt.Errorf("the page still shows who blocked: %w", err)
				}
				if text := onScreen(); strings.Contains(text, "Who blocks whom") || strings.Contains(text, "wait for a lock") {
					return fmt.Errorf("the monitor still shows who blocked: %s", text)
				}
				return r.health(t, "ok")
			})
		})
	}
}
