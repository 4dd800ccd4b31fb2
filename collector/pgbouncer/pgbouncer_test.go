package pgbouncer_test

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pg-reliability/pg_reliability_exporter/collector/pgbouncer"
	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/hostile"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

func watch(t *testing.T, dsn string) *pgbouncer.PgBouncer {
	t.Helper()
	c, err := postgres.NewConnector(postgres.ConnectorOptions{DSN: dsn, Settings: postgres.Settings{
		ApplicationName: "pg_reliability_exporter", StatementTimeout: time.Second, LockTimeout: time.Second,
	}})
	if err != nil {
		t.Fatal(err)
	}
	p := pgbouncer.New(c)
	t.Cleanup(p.Close)
	return p
}

// page is what one collection says, by name and labels.
func page(t *testing.T, p *pgbouncer.PgBouncer) (map[string]float64, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), pgtest.Patience(10*time.Second))
	defer cancel()
	var out metric.Sink
	err := p.Collect(ctx, &out)
	values := map[string]float64{}
	for _, s := range out.Samples {
		key := s.Desc.Name
		for i, l := range s.Desc.Labels {
			key += fmt.Sprintf(" %s=%s", l, s.Labels[i])
		}
		if _, twice := values[key]; twice {
			t.Errorf("%s is there twice", key)
		}
		values[key] = s.Value
	}
	return values, err
}

// database is the start of a series of the database that the tests have.
func database(values map[string]float64, name string) (float64, bool) {
	for key, v := range values {
		if strings.HasPrefix(key, "pgbouncer_databases_"+name+" name=postgres ") {
			return v, true
		}
	}
	return 0, false
}

func TestARealPgBouncerIsSeen(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	b := pg.PgBouncer(t, "pool_mode = transaction", "default_pool_size = 1", "max_client_conn = 77")
	p := watch(t, b.DSN("stats", "postgres")) // the database is the console's, whatever the string says
	hold := "postgres user=" + pgtest.Superuser
	ask := func(t *testing.T, want map[string]float64) {
		t.Helper()
		pgtest.Eventually(t, 20*time.Second, func() error {
			values, err := page(t, p)
			if err != nil {
				return err
			}
			for key, least := range want {
				if v, ok := values[key]; !ok || v < least || least == 0 && v != 0 {
					return fmt.Errorf("%s = %v (there: %v), want %v", key, v, ok, least)
				}
			}
			return nil
		})
	}

	t.Run("calm", func(t *testing.T) {
		through(t, b, "SELECT 1")
		ask(t, map[string]float64{
			"pgbouncer_up": 1, "pgbouncer_config_max_client_connections": 77, "pgbouncer_used_clients": 1, "pgbouncer_databases": 2,
			"pgbouncer_pools_client_waiting_connections database=" + hold: 0, "pgbouncer_pools_client_maxwait_seconds database=" + hold: 0,
			"pgbouncer_stats_queries_pooled_total database=postgres": 1, "pg_reliability_pgbouncer_left_out answer=pools": 0,
		})
		values, _ := page(t, p)
		if size, _ := database(values, "pool_size"); size != 1 {
			t.Errorf("pool_size = %v", size)
		}
		for _, absent := range []string{"max_client_connections"} { // of later versions
			if v, ok := database(values, absent); ok {
				t.Errorf("%s = %v, which PgBouncer did not tell", absent, v)
			}
		}
		version := false
		for key := range values {
			version = version || strings.HasPrefix(key, "pgbouncer_version_info version=PgBouncer 1.")
		}
		if !version {
			t.Error("no version")
		}
	})
	t.Run("saturated", func(t *testing.T) {
		conn := through(t, b, "BEGIN")
		waiting := make(chan struct{})
		go func() { defer close(waiting); through(t, b, "SELECT 1") }()
		ask(t, map[string]float64{
			"pgbouncer_pools_client_waiting_connections database=" + hold: 1, "pgbouncer_pools_client_maxwait_seconds database=" + hold: 1.1,
			"pgbouncer_pools_server_active_connections database=" + hold: 1,
		})
		if err := conn("ROLLBACK"); err != nil {
			t.Error(err)
		}
		<-waiting
		ask(t, map[string]float64{"pgbouncer_pools_client_waiting_connections database=" + hold: 0})
	})
	t.Run("paused and disabled", func(t *testing.T) {
		for _, command := range []string{"DISABLE postgres", "PAUSE postgres"} {
			if err := b.Admin(command); err != nil {
				t.Fatal(err)
			}
		}
		values, err := page(t, p)
		paused, _ := database(values, "paused")
		disabled, _ := database(values, "disabled")
		if paused != 1 || disabled != 1 || err != nil {
			t.Errorf("paused %v, disabled %v, %v", paused, disabled, err)
		}
	})
	t.Run("killed and back", func(t *testing.T) {
		b.Kill()
		values, err := page(t, p)
		if up, there := values["pgbouncer_up"]; up != 0 || !there || len(values) != 1 || postgres.ReasonOf(err) != postgres.Refused {
			t.Errorf("%v, %v", values, err)
		}
		b.Start()
		ask(t, map[string]float64{"pgbouncer_up": 1, "pgbouncer_databases": 2})
	})
}

// Who is asked again and again sees one login.
func TestTheConnectionIsKept(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	b := pg.PgBouncer(t)
	p := watch(t, b.DSN("stats", "pgbouncer"))
	for range 3 {
		if _, err := page(t, p); err != nil {
			t.Fatal(err)
		}
	}
	const starts = 1 // that of the test's own, which waits for it
	if n := strings.Count(b.Log(), "login attempt") - starts; n != 1 {
		t.Errorf("%d logins:\n%s", n, b.Log())
	}
}

// A server is not a console, and a user that the console does not let in is told so.
func TestWhatIsNoConsoleIsSaid(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	if err := pg.Exec(t.Context(), "CREATE DATABASE pgbouncer"); err != nil {
		t.Fatal(err)
	}
	if err := pg.WriteFile("users.txt", []byte(`"admin" ""`+"\n"+`"stranger" ""`+"\n")); err != nil {
		t.Fatal(err)
	}
	b := pg.PgBouncer(t, "auth_type = trust", "auth_file = "+filepath.Join(pg.DataDir(), "users.txt"))
	for dsn, want := range map[string]string{
		pg.SocketDSN(pgtest.Superuser, "postgres"): "unrecognized configuration parameter",
		b.DSN("stranger", "pgbouncer"):             "not allowed",
	} {
		values, err := page(t, watch(t, dsn))
		if up, there := values["pgbouncer_up"]; err == nil || !strings.Contains(err.Error(), want) || up != 0 || !there {
			t.Errorf("%v: %v", values, err)
		}
	}
}

// What a console that means ill sends costs a bounded time, bounded memory, and a few hundred samples.
func TestAHostileConsoleCostsNothing(t *testing.T) {
	t.Parallel()
	columns := map[string][]string{
		"SHOW POOLS":        {"database", "user", "cl_active", "cl_waiting", "maxwait"},
		"SHOW LISTS":        {"list", "items"},
		"SHOW CONFIG":       {"key", "value"},
		"SHOW DATABASES":    {"name", "host", "pool_size", "paused"},
		"SHOW STATS_TOTALS": {"database", "xact_count"},
	}
	server := hostile.New(t, func(sql string) []string { return columns[sql] })
	p := watch(t, fmt.Sprintf("host=127.0.0.1 port=%d user=u password=p sslmode=disable", server.Port()))
	for _, f := range hostile.Faults() {
		if f.First != nil || f.Probe != nil || strings.Contains(f.Name, "every 100 ms") || strings.HasSuffix(f.Name, "nothing more") ||
			strings.Contains(f.Name, "never") && f.Name != "query: a row of 1 GB, announced and never sent" {
			continue // no console has the first two; of those that take until we give up, one is enough
		}
		server.Be(f)
		started := time.Now()
		values, err := page(t, p)
		if server.Met() == 0 {
			t.Errorf("%s: was not met", f.Name)
		}
		if took := time.Since(started); took > pgtest.Patience(5*time.Second) {
			t.Errorf("%s: took %s", f.Name, took)
		}
		if most := 200 * 20; len(values) > most {
			t.Errorf("%s: %d samples", f.Name, len(values))
		}
		for key, v := range values {
			if len(key) > 2000 || !utf8.ValidString(key) || math.IsNaN(v) || math.IsInf(v, 0) {
				t.Errorf("%s: %.300q = %v", f.Name, key, v)
			}
		}
		if err != nil && (len(err.Error()) > 8000 || !utf8.ValidString(err.Error())) {
			t.Errorf("%s: an error of %d bytes", f.Name, len(err.Error()))
		}
		if err != nil && strings.Contains(err.Error(), "conn closed") {
			t.Errorf("%s: the error does not say why: %v", f.Name, err)
		}
		t.Logf("%s: %d samples, %.150v", f.Name, len(values), err)
	}
	server.Be(hostile.Fault{})
	if values, err := page(t, p); err != nil || values["pgbouncer_up"] != 1 {
		t.Errorf("afterwards: %v, %v", values, err)
	}
}

// One that falls silent amid an answer is given up in time, and asked anew.
func TestASilentConsoleIsGivenUp(t *testing.T) {
	t.Parallel()
	server := hostile.New(t, func(string) []string { return []string{"database", "cl_active"} })
	server.Be(hostile.Fault{Query: func(c *hostile.Conn, columns []string) error {
		if err := c.Send(hostile.Described(columns...)); err != nil {
			return err
		}
		return c.Silence()
	}})
	p := watch(t, fmt.Sprintf("host=127.0.0.1 port=%d user=u sslmode=disable", server.Port()))
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), pgtest.Patience(500*time.Millisecond))
		var out metric.Sink
		if err := p.Collect(ctx, &out); postgres.ReasonOf(err) != postgres.Timeout || len(out.Samples) == 0 || out.Samples[0].Value != 1 {
			t.Errorf("%v, %v", out.Samples, err)
		}
		cancel()
	}
	if server.Met() != 2 {
		t.Errorf("asked %d times", server.Met())
	}
}

// Of more pools than are shown, those where clients wait are shown, and it is said how many are not.
func TestTheBusiestPoolsAreShown(t *testing.T) {
	t.Parallel()
	server := hostile.New(t, func(sql string) []string { return []string{sql} })
	server.Be(hostile.Fault{Query: func(c *hostile.Conn, columns []string) error {
		if columns[0] != "SHOW POOLS" {
			return c.Send(hostile.Described("none"), &pgproto3.CommandComplete{CommandTag: []byte("SHOW")})
		}
		answer := []pgproto3.BackendMessage{hostile.Described("database", "user", "cl_active", "cl_waiting", "maxwait", "maxwait_us", "new")}
		for i := range 500 {
			wait := "0"
			if i == 499 {
				wait = "7"
			}
			answer = append(answer, hostile.Row(fmt.Sprintf("d%d", i), "u", "1", "0", wait, "500000", "x"))
		}
		return c.Send(append(answer, &pgproto3.CommandComplete{CommandTag: []byte("SHOW")})...)
	}})
	p := watch(t, fmt.Sprintf("host=127.0.0.1 port=%d user=u sslmode=disable", server.Port()))
	values, err := page(t, p)
	if got := values["pgbouncer_pools_client_maxwait_seconds database=d499 user=u"]; got != 7.5 {
		t.Errorf("the pool that waits: %v", got)
	}
	if got := values["pg_reliability_pgbouncer_left_out answer=pools"]; got != 300 {
		t.Errorf("left out: %v", got)
	}
	if err == nil || !strings.Contains(err.Error(), "SHOW STATS_TOTALS has no column database") {
		t.Errorf("err = %v", err)
	}
}

// through runs statements as a client of the pooler, and returns what goes on in the same session.
func through(t *testing.T, b *pgtest.PgBouncer, statement string) func(statement string) error {
	t.Helper()
	config, err := pgx.ParseConfig(b.DSN("anybody", "postgres"))
	if err != nil {
		t.Error(err)
		return nil
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Error(err)
		return nil
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	run := func(statement string) error { _, err := conn.Exec(context.Background(), statement); return err }
	if err := run(statement); err != nil {
		t.Error(err)
	}
	return run
}
