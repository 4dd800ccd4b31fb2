package postgres_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

const showSettings = `SELECT current_setting('statement_timeout'), current_setting('lock_timeout'),
	current_setting('idle_in_transaction_session_timeout'), current_setting('search_path'),
	current_setting('transaction_read_only'), current_setting('TimeZone'), current_setting('application_name')`

var wantSettings = []string{"300ms", "100ms", "5s", "pg_catalog", "on", "UTC", "pg_reliability_exporter"}

func text(row []*string) []string {
	out := make([]string, len(row))
	for i, v := range row {
		out[i] = "NULL"
		if v != nil {
			out[i] = *v
		}
	}
	return out
}

func TestEverySessionHasItsLimits(t *testing.T) {
	t.Parallel()
	pgtest.EachVersion(t, pgtest.Options{}, func(t *testing.T, c *pgtest.Cluster) {
		// What the connection string says about them must not win.
		role := "ALTER ROLE " + pgtest.Monitor + " SET "
		if c.Install.Major >= 14 {
			if err := c.Exec(t.Context(), role+"idle_session_timeout = '300ms'"); err != nil {
				t.Fatal(err)
			}
		}
		if c.Install.Major >= 17 {
			if err := c.Exec(t.Context(), role+"transaction_timeout = '300ms'"); err != nil {
				t.Fatal(err)
			}
		}
		s, err := connector(t, c.MonitorDSN()+"&options=-c%20statement_timeout=0%20-c%20search_path=public&application_name=x").
			Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		rows, err := s.Query(t.Context(), showSettings)
		if err != nil {
			t.Fatal(err)
		}
		if got := text(rows[0]); !slices.Equal(got, wantSettings) {
			t.Errorf("settings = %q, want %q", got, wantSettings)
		}
		for name, since := range map[string]int{"idle_session_timeout": 14, "transaction_timeout": 17} {
			rows, err := s.Query(t.Context(), "SELECT current_setting('"+name+"')")
			if c.Install.Major >= since && (err != nil || *rows[0][0] != "0") {
				t.Errorf("%s = %v, %v, want 0", name, rows, err)
			}
		}
		if s.Version()/10000 != c.Install.Major {
			t.Errorf("version = %d, want major %d", s.Version(), c.Install.Major)
		}
	})
}

func TestPipelineKeepsFailuresApart(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	s, err := connector(t, c.MonitorDSN()).Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	statements := []postgres.Statement{
		{SQL: "SELECT 1"}, {SQL: "SELECT 1/0"}, {SQL: "SELECT 2"}, {SQL: "SELECT no_such_function()"},
		{SQL: "SELECT 3"}, {SQL: "SELECT pg_sleep(9)"}, {SQL: "SELECT current_setting('statement_timeout')", Timeout: 7 * time.Second},
		{SQL: "SELECT 4"},
	}
	for round := range 3 { // the first round prepares, the others use what is prepared
		var got []string
		out, err := s.Pipeline(t.Context(), statements, func(i int, _ []pgconn.FieldDescription, v [][]byte) {
			got = append(got, fmt.Sprintf("%d=%s", i, v[0]))
		})
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"0=1", "2=2", "4=3", "6=7s", "7=4"}; !slices.Equal(got, want) {
			t.Errorf("round %d: rows = %q, want %q", round, got, want)
		}
		var reasons []postgres.Reason
		for _, o := range out {
			reasons = append(reasons, postgres.ReasonOf(o.Err))
		}
		want := []postgres.Reason{postgres.OK, postgres.Query, postgres.OK, postgres.Query, postgres.OK, postgres.Timeout, postgres.OK,
			postgres.OK}
		if !slices.Equal(reasons, want) {
			t.Errorf("round %d: reasons = %v, want %v", round, reasons, want)
		}
	}
}

// A client that walks the network once per query would need a second for twenty of them here.
func TestPipelineIsOneRoundTrip(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	proxy := pgtest.NewProxy(t, c)
	s, err := connector(t, proxy.DSN(c.MonitorDSN())).Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const delay = 50 * time.Millisecond
	proxy.Delay(delay)
	var statements []postgres.Statement
	for i := range 20 {
		statements = append(statements, postgres.Statement{SQL: fmt.Sprintf("SELECT %d", i), Undo: i%2 == 0})
	}
	for range 2 {
		start := time.Now()
		if _, err := s.Pipeline(t.Context(), statements, func(int, []pgconn.FieldDescription, [][]byte) {}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < 2*delay || took >= 4*delay {
			t.Errorf("20 statements took %s, want one round trip of %s", took, 2*delay)
		}
	}
}

// A collector of a user's own may call a function of the application that changes the session.
func TestWhatAStatementChangesOfTheSessionIsUndone(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	s, err := connector(t, c.MonitorDSN()).Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const locks = "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
	change := "SELECT set_config(name, value, false) FROM (VALUES ('search_path', 'public'), ('statement_timeout', '0'), " +
		"('lock_timeout', '0'), ('idle_in_transaction_session_timeout', '0'), ('TimeZone', 'Asia/Tokyo'), ('client_encoding', 'LATIN1'), " +
		"('application_name', 'x')) AS s(name, value)"
	statements := []postgres.Statement{{SQL: change, Undo: true}, {SQL: "SELECT pg_advisory_lock(4711), pg_sleep(9)", Undo: true},
		{SQL: "SELECT set_config('search_path', 'public', false), pg_advisory_lock(4711), 1/(random()*0)::int", Undo: true},
		{SQL: "SELECT pg_advisory_lock(4712), current_setting('statement_timeout')", Timeout: 7 * time.Second, Undo: true},
		{SQL: showSettings}, {SQL: locks}, {SQL: "SHOW client_encoding"}}
	for range 3 { // the first round prepares, the others use what is prepared
		rows := map[int][]string{}
		out, err := s.Pipeline(t.Context(), statements, func(i int, _ []pgconn.FieldDescription, values [][]byte) {
			rows[i] = nil
			for _, v := range values {
				rows[i] = append(rows[i], string(v))
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if out[0].Err != nil || postgres.ReasonOf(out[1].Err) != postgres.Timeout || postgres.ReasonOf(out[2].Err) != postgres.Query {
			t.Errorf("outcomes %v", out)
		}
		if !slices.Equal(rows[0], []string{"x"}) || !slices.Equal(rows[3], []string{"", "7s"}) {
			t.Errorf("their rows: %v", rows)
		}
		if !slices.Equal(rows[4], wantSettings) || rows[5][0] != "0" || rows[6][0] != "UTF8" {
			t.Errorf("settings %q, %s advisory locks, encoding %s", rows[4], rows[5], rows[6])
		}
	}
}

func TestPreparedStatementsThatVanishArePreparedAgain(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	s, err := connector(t, c.MonitorDSN()).Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 2 {
		if _, err := s.Query(t.Context(), "SELECT 1"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Query(t.Context(), "DEALLOCATE ALL"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Query(t.Context(), "SELECT 1"); postgres.ReasonOf(err) != postgres.Query {
		t.Fatalf("err = %v, want the statement to be unknown", err)
	}
	if _, err := s.Query(t.Context(), "SELECT 1"); err != nil {
		t.Error(err)
	}
}

// In transaction mode the server's process belongs to somebody else after each of our transactions: what
// we need must hold for our queries, and must not stay behind for others.
func TestPgBouncerInTransactionMode(t *testing.T) {
	t.Parallel()
	for name, ignore := range map[string]string{
		"turns our parameters down": "extra_float_digits",
		"swallows our parameters": "extra_float_digits,statement_timeout,lock_timeout,idle_in_transaction_session_timeout," +
			"search_path,default_transaction_read_only,jit",
	} {
		t.Run(name, func(t *testing.T) {
			c := pgtest.New(t, pgtest.Options{})
			dsn := startPgBouncer(t, c, ignore)
			conn := connector(t, dsn)
			for range 2 {
				s, err := conn.Connect(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				if !s.Pooled() {
					t.Error("the session takes PgBouncer for a server")
				}
				for range 3 {
					rows, err := s.Query(t.Context(), showSettings)
					if err != nil {
						t.Fatal(err)
					}
					if got := text(rows[0]); !slices.Equal(got, wantSettings) {
						t.Errorf("settings = %q, want %q", got, wantSettings)
					}
				}
				if _, err := s.Pipeline(t.Context(), []postgres.Statement{{SQL: "SELECT set_config('statement_timeout', '1h', false)", Undo: true}},
					func(int, []pgconn.FieldDescription, [][]byte) {}); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Query(t.Context(), "SELECT pg_sleep(9)"); postgres.ReasonOf(err) != postgres.Timeout {
					t.Errorf("statement_timeout does not hold: %v", err)
				}
			}
			// Another client gets the same server's process (the pool has one) with its own settings.
			app, err := postgres.NewConnector(postgres.ConnectorOptions{DSN: dsn})
			if err != nil {
				t.Fatal(err)
			}
			s, err := app.Writable().Connect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			rows, err := s.Query(t.Context(), "SELECT reset_val FROM pg_settings WHERE name = 'statement_timeout'")
			if err != nil || *rows[0][0] != "0" {
				t.Errorf("statement_timeout stayed behind: %v %v", rows, err)
			}
		})
	}
}

func startPgBouncer(t *testing.T, c *pgtest.Cluster, ignore string) string {
	t.Helper()
	bin := "/usr/sbin/pgbouncer"
	if _, err := os.Stat(bin); err != nil {
		if bin, err = exec.LookPath("pgbouncer"); err != nil {
			t.Fatal("PgBouncer is not installed. HINT: Run internal/pgtest/install.sh pgbouncer")
		}
	}
	port, err := pgtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	ini := filepath.Join(c.Dir, "pgbouncer.ini")
	conf := fmt.Sprintf(`[databases]
postgres = host=127.0.0.1 port=%d
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 1
ignore_startup_parameters = %s
`, c.Port, port, ignore)
	conf = strings.Replace(conf, "\n[pgbouncer]", fmt.Sprintf(" user=%s password=%s\n[pgbouncer]", pgtest.Monitor, pgtest.Password), 1)
	if err := os.WriteFile(ini, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := pgtest.Command(bin, ini)
	out, err := os.Create(filepath.Join(c.Dir, "pgbouncer.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	dsn := fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=postgres sslmode=disable", port, pgtest.Monitor)
	pgtest.Eventually(t, 10*time.Second, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), pgtest.Patience(time.Second))
		defer cancel()
		s, err := connector(t, dsn).Connect(ctx)
		if err == nil {
			s.Close()
		}
		return err
	})
	return dsn
}
