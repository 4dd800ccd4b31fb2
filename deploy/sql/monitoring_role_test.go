package sql_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/deploy/sql"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// run runs the script as a role, all of it in one go as psql does.
func run(t *testing.T, c *pgtest.Cluster, role string) error {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), c.SocketDSN(role, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), sql.MonitoringRole, pgx.QueryExecModeSimpleProtocol)
	return err
}

func query(t *testing.T, c *pgtest.Cluster, statement string) string {
	t.Helper()
	got, err := c.Query(t.Context(), "postgres", statement)
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return got
}

// checkRole looks at all the script promises.
func checkRole(t *testing.T, c *pgtest.Cluster) {
	t.Helper()
	for _, check := range []struct{ what, sql, want string }{
		{"attributes", `SELECT string_agg(a, ' ' ORDER BY a) FROM pg_roles, LATERAL (VALUES
			(CASE WHEN rolcanlogin THEN 'login' END), (CASE WHEN rolinherit THEN 'inherit' END),
			(CASE WHEN rolsuper THEN 'super' END), (CASE WHEN rolcreaterole THEN 'createrole' END),
			(CASE WHEN rolcreatedb THEN 'createdb' END), (CASE WHEN rolreplication THEN 'replication' END),
			(CASE WHEN rolbypassrls THEN 'bypassrls' END), ('limit=' || rolconnlimit)) v(a)
			WHERE rolname = 'reliability_exporter'`, "inherit limit=20 login"},
		{"memberships", `SELECT string_agg(roleid::regrole::text, ' ') FROM pg_auth_members
			WHERE member = 'reliability_exporter'::regrole`, "pg_monitor"},
		{"settings", `SELECT string_agg(s, ' ' ORDER BY s) FROM pg_db_role_setting, unnest(setconfig) s
			WHERE setrole = 'reliability_exporter'::regrole`,
			"idle_in_transaction_session_timeout=30s lock_timeout=1s search_path=pg_catalog statement_timeout=30s"},
		{"objects it owns", `SELECT count(*) FROM pg_shdepend WHERE refobjid = 'reliability_exporter'::regrole AND deptype = 'o'`, "0"},
	} {
		if got := query(t, c, check.sql); got != check.want {
			t.Errorf("%s: %q, want %q", check.what, got, check.want)
		}
	}
}

func TestMonitoringRoleReadsStatisticsAndNothingElse(t *testing.T) {
	pgtest.EachVersion(t, pgtest.Options{NoMonitorRole: true}, func(t *testing.T, c *pgtest.Cluster) {
		err := c.Exec(t.Context(), "CREATE TABLE orders (id int)", "CREATE ROLE app LOGIN", "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // it may be run again
			if err := run(t, c, pgtest.Superuser); err != nil {
				t.Fatal(err)
			}
			checkRole(t, c)
		}
		app, err := pgx.Connect(t.Context(), c.SocketDSN("app", "postgres"))
		if err != nil {
			t.Fatal(err)
		}
		defer app.Close(t.Context())
		if _, err := app.Exec(t.Context(), "SELECT 'a query of others'"); err != nil {
			t.Fatal(err)
		}

		conn, err := pgx.Connect(t.Context(), c.SocketDSN("reliability_exporter", "postgres"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		for what, statement := range map[string]string{
			"queries of others":   "SELECT count(*) = 1 FROM pg_stat_activity WHERE query = 'SELECT ''a query of others'''",
			"superuser settings":  "SELECT current_setting('data_directory') <> ''",
			"WAL files":           "SELECT count(*) > 0 FROM pg_ls_waldir()",
			"sizes of databases":  "SELECT bool_and(pg_database_size(oid) > 0) FROM pg_database WHERE datallowconn",
			"limits of its own":   "SELECT current_setting('statement_timeout') = '30s' AND current_setting('lock_timeout') = '1s'",
			"replication's state": "SELECT count(*) = 0 FROM pg_stat_replication",
		} {
			var ok bool
			if err := conn.QueryRow(t.Context(), statement).Scan(&ok); err != nil || !ok {
				t.Errorf("can't read %s: %v %v", what, ok, err)
			}
		}
		for what, statement := range map[string]string{
			"read a table":   "SELECT * FROM public.orders",
			"make a table":   "CREATE TABLE public.mine (id int)",
			"end a session":  "SELECT pg_terminate_backend(" + query(t, c, "SELECT pid FROM pg_stat_activity WHERE usename = 'app'") + ")",
			"make a role":    "CREATE ROLE another",
			"read passwords": "SELECT * FROM pg_authid",
		} {
			if _, err := conn.Exec(t.Context(), statement); err == nil || !strings.Contains(err.Error(), "SQLSTATE 42501") {
				t.Errorf("may %s: %v", what, err)
			}
		}
	})
}

// On a managed service nobody is superuser: the administrator may create roles, and hand out pg_monitor.
func TestMonitoringRoleIsMadeByAnAdministratorWithoutSuperuser(t *testing.T) {
	pgtest.EachVersion(t, pgtest.Options{NoMonitorRole: true}, func(t *testing.T, c *pgtest.Cluster) {
		if err := c.Exec(t.Context(), "CREATE ROLE admin LOGIN CREATEROLE", "GRANT pg_monitor TO admin WITH ADMIN OPTION"); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := run(t, c, "admin"); err != nil {
				t.Fatal(err)
			}
			checkRole(t, c)
		}
	})
}

func TestMonitoringRoleThatMayDoMoreIsLeftAlone(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	if err := c.Exec(t.Context(), "CREATE ROLE reliability_exporter SUPERUSER"); err != nil {
		t.Fatal(err)
	}
	err := run(t, c, pgtest.Superuser)
	if err == nil || !strings.Contains(err.Error(), "nothing was changed") {
		t.Errorf("error %v, want it to say that nothing was changed", err)
	}
	if got := query(t, c, "SELECT rolconnlimit FROM pg_roles WHERE rolname = 'reliability_exporter'"); got != "-1" {
		t.Errorf("the role's connection limit became %s", got)
	}
}

// As the script's first lines say it is run.
func TestMonitoringRoleWithPsql(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	if !c.Install.HasClients {
		t.Fatal("no psql on this machine. HINT: Run internal/pgtest/install.sh server")
	}
	for range 2 {
		cmd := exec.Command(c.Install.Bin("psql"), c.DSN(pgtest.Superuser, "postgres"),
			"--no-psqlrc", "--set=ON_ERROR_STOP=1", "--file=monitoring_role.sql")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("psql: %v: %s", err, out)
		}
		checkRole(t, c)
	}
}
