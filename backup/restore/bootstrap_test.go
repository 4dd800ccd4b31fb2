package restore_test

import (
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/restore"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// What was not looked into is full.
func TestBootstrapLeavesAServerAloneThatItCannotLookInto(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.run(t)
	fresh := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	r := b.restorer(t, fresh)
	for name, sql := range map[string][]string{
		"no connections": {"CREATE DATABASE shop", "ALTER DATABASE shop ALLOW_CONNECTIONS false"},
		"a template":     {"CREATE DATABASE shop IS_TEMPLATE true ALLOW_CONNECTIONS false"},
	} {
		for _, s := range sql {
			if err := fresh.Exec(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		before := query(t, fresh, "postgres", "SELECT string_agg(oid || datname, ' ' ORDER BY oid) FROM pg_database")
		out, err := r.Bootstrap(t.Context(), restore.BootstrapOptions{})
		if err != nil || out.Result != restore.HadData || !strings.HasPrefix(out.Found, "shop: ") {
			t.Errorf("%s: %+v, %v", name, out, err)
		}
		if after := query(t, fresh, "postgres", "SELECT string_agg(oid || datname, ' ' ORDER BY oid) FROM pg_database"); after != before {
			t.Errorf("%s: databases were %s and are %s", name, before, after)
		}
		if err := fresh.Exec(t.Context(), "ALTER DATABASE shop IS_TEMPLATE false", "DROP DATABASE shop"); err != nil {
			t.Fatal(err)
		}
	}
}

// An application that comes while its backup is being loaded finds an empty database, and makes something in it.
func TestBootstrapStopsAtWhatCameMeanwhile(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.run(t)
	for name, sql := range map[string]string{
		"a table": "CREATE TABLE of_the_application AS SELECT 1 AS one", "a large object": "SELECT lo_create(0)",
		"a domain": "CREATE DOMAIN d AS int",
	} {
		t.Run(name, func(t *testing.T) {
			fresh := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
			if err := fresh.Exec(t.Context(), "CREATE DATABASE shop"); err != nil {
				t.Fatal(err)
			}
			r := b.restorer(t, fresh)
			r.Progress = func(phase string, _, _ int64) {
				if phase == "swap" {
					if err := fresh.ExecIn(t.Context(), "shop", sql); err != nil {
						t.Error(err)
					}
				}
			}
			_, err := r.Bootstrap(t.Context(), restore.BootstrapOptions{})
			if failure.Of(err) != failure.Refused || !strings.Contains(err.Error(), "was empty and now holds") {
				t.Errorf("bootstrap: %v", err)
			}
			if got := query(t, fresh, "postgres",
				"SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database"); got != "postgres shop template0 template1" {
				t.Errorf("databases = %s", got)
			}
			if got := query(t, fresh, "shop", "SELECT count(*) FROM pg_class WHERE relname = 'customer'"); got != "0" {
				t.Error("the backup took the place all the same")
			}
		})
	}
}

// What users made in postgres, and what was said of postgres and template1, comes back.
func TestBootstrapBringsPostgresBackWithoutATable(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string][]string{
		"nothing": nil,
		"objects": {
			"CREATE SCHEMA tools", "CREATE DOMAIN tools.positive AS int CHECK (VALUE > 0)", "CREATE TYPE mood AS ENUM ('sad')",
			"CREATE EXTENSION pgcrypto SCHEMA tools", "CREATE PUBLICATION p", "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
			"CREATE FOREIGN DATA WRAPPER w", "CREATE SERVER s FOREIGN DATA WRAPPER w",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newServer(t, pgtest.Options{})
			b.exec(t, "postgres", sql...)
			b.exec(t, "postgres", "ALTER DATABASE postgres SET work_mem = '7MB'", "COMMENT ON DATABASE postgres IS 'ours'",
				"REVOKE TEMPORARY ON DATABASE postgres FROM PUBLIC", "CREATE ROLE app", "ALTER ROLE app IN DATABASE postgres SET jit = off",
				"ALTER DATABASE template1 OWNER TO app", "ALTER DATABASE template1 SET work_mem = '8MB'", "COMMENT ON DATABASE template1 IS 'of all'",
				"REVOKE CONNECT ON DATABASE template1 FROM PUBLIC", "GRANT CONNECT ON DATABASE template1 TO "+backupRole,
				"ALTER DATABASE template1 CONNECTION LIMIT 5")
			b.verified(t)
			fresh := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
			must := func(statement string) {
				t.Helper()
				if err := fresh.Exec(t.Context(), statement); err != nil {
					t.Fatal(err)
				}
			}
			must("ALTER DATABASE postgres SET jit = on") // it would be lost
			out, err := b.restorer(t, fresh).Bootstrap(t.Context(), restore.BootstrapOptions{})
			if err != nil || out.Result != restore.HadData || out.Found != "postgres: setting jit=on" {
				t.Fatalf("%+v, %v", out, err)
			}
			must("ALTER DATABASE postgres RESET jit")
			if len(sql) > 0 {
				must("CREATE EXTENSION hstore") // as an image may; it goes aside with its database
			}
			out, err = b.restorer(t, fresh).Bootstrap(t.Context(), restore.BootstrapOptions{})
			if err != nil || out.Result != restore.Restored {
				t.Fatalf("%+v, %v", out, err)
			}
			for _, question := range []string{
				"SELECT string_agg(shobj_description(oid, 'pg_database'), ' ' ORDER BY datname) FROM pg_database " +
					"WHERE datname IN ('postgres', 'template1')",
				"SELECT string_agg(concat_ws(' ', datacl, datdba::regrole, datconnlimit), ' ' ORDER BY datname) FROM pg_database " +
					"WHERE datname IN ('postgres', 'template1')",
				"SELECT string_agg(concat_ws(' ', datname, rolname, setconfig), ' ' ORDER BY datname, rolname) FROM pg_db_role_setting " +
					"LEFT JOIN pg_roles r ON r.oid = setrole JOIN pg_database d ON d.oid = setdatabase",
				"SELECT string_agg(nspname, ' ' ORDER BY nspname) FROM pg_namespace WHERE nspname !~ '^pg_'",
				"SELECT string_agg(typname, ' ' ORDER BY typname) FROM pg_type WHERE oid >= 16384",
				"SELECT string_agg(extname, ' ' ORDER BY extname) FROM pg_extension", "SELECT string_agg(srvname, ' ') FROM pg_foreign_server",
				"SELECT string_agg(pubname, ' ') FROM pg_publication", "SELECT string_agg(defaclacl::text, ' ') FROM pg_default_acl",
			} {
				was, is := query(t, b.pg, "postgres", "SELECT coalesce(("+question+"), '')"), query(t, fresh, "postgres", "SELECT coalesce(("+question+
					"), '')")
				if was != is {
					t.Errorf("%s: was %q, is %q", question, was, is)
				}
			}
			if len(sql) == 0 && len(out.Kept) > 0 {
				t.Errorf("kept %v for nothing", out.Kept)
			}
		})
	}
}
