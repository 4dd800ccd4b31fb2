package server_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// throughPgBouncer starts a PgBouncer before a server, and leads to it. More are lines of its databases.
func throughPgBouncer(t *testing.T, pg *pgtest.Cluster, mode string, more ...string) server.Target {
	t.Helper()
	bin, err := exec.LookPath("pgbouncer")
	if err != nil {
		bin = "/usr/sbin/pgbouncer"
	}
	port, err := pgtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	ini := filepath.Join(pg.Dir, mode+".ini")
	lines := ""
	for _, line := range append([]string{"postgres ="}, more...) {
		lines += fmt.Sprintf("%s host=%s port=%d user=%s\n", line, pg.Dir, pg.Port, pgtest.Superuser)
	}
	conf := fmt.Sprintf("[databases]\n%s[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = "+
		"%d\nunix_socket_dir =\n"+
		"auth_type = any\npool_mode = %s\n", lines, port, mode)
	if err := os.WriteFile(ini, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := pgtest.Command(bin, ini)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	target, err := server.Parse(fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=postgres sslmode=disable", port, pgtest.Superuser), nil)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// Where a session of the server's is several clients' in turn, nothing is set in it, and nothing is tried.
func TestAPoolOfTransactionsIsRefused(t *testing.T) {
	pg := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	for _, mode := range []string{"transaction", "statement"} {
		target := throughPgBouncer(t, pg, mode)
		pgtest.Eventually(t, 20*time.Second, func() error {
			conn, err := target.Connect(t.Context(), "")
			if err == nil {
				_ = conn.Close(context.WithoutCancel(t.Context()))
				t.Fatalf("%s: a session was opened", mode)
			}
			if failure.Of(err) != failure.Config || !strings.Contains(err.Error(), "pool_mode = session") {
				return err
			}
			return nil
		})
	}
}

// PgBouncer turns the settings of a login down: they are set by a statement then, in every session from the second on at once.
func TestSettingsHoldThroughPgBouncer(t *testing.T) {
	pg := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	target := throughPgBouncer(t, pg, "session")
	for range 2 {
		pgtest.Eventually(t, 20*time.Second, func() error {
			conn, err := target.Connect(t.Context(), "")
			if err != nil {
				return err
			}
			defer conn.Close(context.WithoutCancel(t.Context()))
			var path, security string
			if err := conn.QueryRow(t.Context(), "SELECT current_setting('search_path'), current_setting('row_security')").
				Scan(&path, &security); err != nil {
				return err
			}
			if path != "pg_catalog" || security != "off" {
				t.Errorf("search_path = %s, row_security = %s", path, security)
			}
			return nil
		})
	}
}

// A pool may have another database under a name, or a session that it kept while its database was renamed. A backup of `live` held the rows
// of `other`, and was verified.
func TestASessionIsInTheDatabaseThatWasAskedFor(t *testing.T) {
	pg := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	odd := `back\\slash café "x"`
	if err := pg.Exec(t.Context(), `CREATE DATABASE live`, `CREATE DATABASE other`, `CREATE DATABASE "back\\slash café ""x"""`,
		`CREATE DATABASE "café" ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0`,
		`CREATE DATABASE "`+strings.Repeat("n", 63)+`"`); err != nil {
		t.Fatal(err)
	}
	target := throughPgBouncer(t, pg, "session", "live = dbname=other", "* =")
	open := func(name string) (err error) {
		pgtest.Eventually(t, 20*time.Second, func() error {
			var conn *pgx.Conn
			if conn, err = target.Connect(t.Context(), name); err == nil {
				_ = conn.Close(context.WithoutCancel(t.Context()))
			}
			if failure.Of(err) == failure.Connection {
				return err
			}
			return nil
		})
		return err
	}
	for _, name := range []string{"", "postgres", "other", odd, "café", strings.Repeat("n", 63)} {
		if err := open(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	err := open("live")
	if failure.Of(err) != failure.Config || !strings.Contains(err.Error(), `in database "other", and "live" was asked for`) ||
		!strings.Contains(err.Error(), "HINT") {
		t.Errorf("an alias: %v", err)
	}
}

// A balancer before two servers would have a backup made of both.
func TestARunStaysOnOneServer(t *testing.T) {
	pg := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	another := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	balancer := pgtest.NewProxy(t, pg)
	all, err := server.Parse(balancer.DSN(pg.DSN(pgtest.Superuser, "postgres")), nil)
	if err != nil {
		t.Fatal(err)
	}
	one := all.OneServer()
	open := func(target server.Target) error {
		conn, err := target.With("connect_timeout", "60").Connect(t.Context(), "postgres")
		if err == nil {
			_ = conn.Close(context.WithoutCancel(t.Context()))
		}
		return err
	}
	for range 2 {
		if err := open(one); err != nil {
			t.Fatal(err)
		}
	}
	if err := pg.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := open(one); err != nil {
		t.Errorf("the same server, started anew: %v", err)
	}
	balancer.Lead(another)
	if err := open(one); failure.Of(err) != failure.Config || !strings.Contains(err.Error(), "another server") {
		t.Errorf("another server: %v", err)
	}
	if err := open(all.OneServer()); err != nil {
		t.Errorf("the next run: %v", err)
	}
}
