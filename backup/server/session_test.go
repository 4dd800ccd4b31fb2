package server_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/contents"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// hostile is what a database's owner can do about other people's sessions in it. Whoever calls one of these operators
// or functions by a bare name gets an error with a role's name in it.
func hostile() []string {
	sql := []string{
		`CREATE SCHEMA evil`,
		`CREATE FUNCTION evil.ran() RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN RAISE EXCEPTION 'evil ran as %', current_user; END $$`,
	}
	for _, pair := range []string{"integer, integer", "name, name", "text, text", `"char", "char"`, "oid, oid", "bigint, bigint",
		"boolean, boolean", "name, text", "oid, regclass"} {
		left, right, _ := strings.Cut(pair, ", ")
		for i, op := range []string{"<>", "=", ">=", "<", "||", "/", "~~", "!~", "~"} {
			f := fmt.Sprintf(`evil.op%d(%s)`, i, pair)
			sql = append(sql, `CREATE FUNCTION `+f+` RETURNS boolean LANGUAGE sql COST 0.0001 AS 'SELECT evil.ran()'`,
				fmt.Sprintf(`CREATE OPERATOR evil.%s (FUNCTION = evil.op%d, LEFTARG = %s, RIGHTARG = %s)`, op, i, left, right))
		}
	}
	for _, f := range []string{"count(integer)", "current_database()", "pg_get_userbyid(oid)", "split_part(text, text, integer)",
		"lower(text)", "now()", "unnest(text[])", "format_type(oid, integer)"} {
		sql = append(sql, `CREATE FUNCTION evil.`+f+` RETURNS boolean LANGUAGE sql AS 'SELECT evil.ran()'`)
	}
	return append(sql,
		`ALTER DATABASE app SET search_path = evil, pg_catalog`, `ALTER DATABASE app SET quote_all_identifiers = on`,
		`ALTER DATABASE app SET statement_timeout = '50ms'`, `ALTER DATABASE app SET lock_timeout = '1ms'`,
		`ALTER DATABASE app SET idle_in_transaction_session_timeout = '50ms'`,
		`ALTER DATABASE app SET default_transaction_read_only = on`, `ALTER DATABASE app SET default_transaction_isolation = 'serializable'`,
		`ALTER DATABASE app SET DateStyle = 'German'`,
		`ALTER DATABASE app SET row_security = on`, `ALTER DATABASE app SET client_encoding = 'LATIN1'`,
		`ALTER DATABASE app SET bytea_output = 'escape'`, `ALTER DATABASE app SET exit_on_error = on`, `ALTER DATABASE app SET tcp_user_timeout = 1`,
		`ALTER DATABASE app SET role = mallory`, `ALTER DATABASE app SET local_preload_libraries = 'no_such_library'`,
	)
}

func hostileCluster(t *testing.T, pg *pgtest.Cluster) {
	t.Helper()
	ctx := context.Background()
	if err := pg.Exec(ctx, `CREATE ROLE mallory LOGIN PASSWORD '`+pgtest.Password+`'`, `CREATE DATABASE app OWNER mallory`); err != nil {
		t.Fatal(err)
	}
	own := append([]string{`SET ROLE mallory`, `CREATE TABLE t (i int)`, `INSERT INTO t SELECT generate_series(1, 10)`}, hostile()...)
	if pg.Install.Major >= 14 {
		own = append(own, `ALTER DATABASE app SET idle_session_timeout = 1`)
	}
	if pg.Install.Major < 19 { // that has no other strings any more
		own = append(own, `ALTER DATABASE app SET standard_conforming_strings = off`)
	}
	if pg.Install.Major >= 17 {
		own = append(own, `ALTER DATABASE app SET transaction_timeout = '1ms'`)
	}
	if pg.Install.Major >= 15 {
		own = append([]string{`GRANT CREATE ON SCHEMA public TO mallory`}, own...)
	}
	if err := pg.ExecIn(ctx, "app", own...); err != nil {
		t.Fatal(err)
	}
}

// TestNothingOfADatabasesOwnerReachesOurSessions: the owner of a database chooses what other people's sessions in it start with.
// Every statement that reads facts and contents runs there.
func TestNothingOfADatabasesOwnerReachesOurSessions(t *testing.T) {
	pgtest.EachVersion(t, pgtest.Options{NoMonitorRole: true}, func(t *testing.T, pg *pgtest.Cluster) {
		hostileCluster(t, pg)
		ctx := t.Context()
		// PGDATABASE may well lead there.
		target, err := server.Parse(pg.DSN(pgtest.Superuser, "app"), nil)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := target.Connect(ctx, "")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(ctx)
		for name, want := range map[string]string{
			"role": "none", "session_authorization": pgtest.Superuser, "local_preload_libraries": "",
			"exit_on_error": "off", "tcp_user_timeout": "0",
			"search_path": "pg_catalog", "client_encoding": "UTF8", "statement_timeout": "0", "lock_timeout": "0", "DateStyle": "ISO, MDY",
			"idle_in_transaction_session_timeout": "0", "idle_session_timeout": "0", "transaction_timeout": "0", "quote_all_identifiers": "off",
			"default_transaction_read_only": "off", "default_transaction_isolation": "read committed", "standard_conforming_strings": "on",
			"row_security": "off", "bytea_output": "hex",
		} {
			var got *string
			if err := conn.QueryRow(ctx, "SELECT pg_catalog.current_setting($1, true)", name).Scan(&got); err != nil || got != nil && *got != want {
				t.Errorf("%s = %v, %v, want %s", name, got, err, want)
			}
		}
		if _, err := conn.Exec(ctx, "SELECT pg_catalog.pg_sleep(0.2)"); err != nil {
			t.Error(err)
		}
		if _, err := server.Facts(ctx, conn); err != nil {
			t.Error(err)
		}
		if _, _, err := server.Properties(ctx, conn, "app", nil); err != nil {
			t.Error(err)
		}
		if _, _, err := server.Databases(ctx, conn, server.Selection{}); err != nil {
			t.Error(err)
		}
		if c, err := contents.Read(ctx, conn); err != nil || c.Rows() != 10 {
			t.Errorf("%d rows, %v", c.Rows(), err)
		}
		if _, err := contents.Anything(ctx, conn); err != nil {
			t.Error(err)
		}
		lock, err := server.TakeLockIn(ctx, target, "app")
		if err != nil {
			t.Fatal(err)
		}
		// Who has it is said.
		_, err = server.TakeLockIn(ctx, target, "app")
		if failure.Of(err) != failure.Locked || !strings.Contains(fmt.Sprint(err), "role "+pgtest.Superuser+", process ") {
			t.Errorf("the second lock: %v", err)
		}
		lock.Release()
	})
}

func TestASessionMayWriteOrNot(t *testing.T) {
	pg := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	ctx := t.Context()
	// As deploy/sql/backup_role.sql does; the driver asks for a session that may write.
	if err := pg.Exec(ctx, `CREATE ROLE reader SUPERUSER LOGIN PASSWORD '`+pgtest.Password+`'`,
		`ALTER ROLE reader SET default_transaction_read_only = on`); err != nil {
		t.Fatal(err)
	}
	target, err := server.Parse(pg.DSN("reader", "postgres")+"&target_session_attrs=read-write", nil)
	if err != nil {
		t.Fatal(err)
	}
	for readOnly, target := range map[string]server.Target{"off": target, "on": target.ReadOnly()} {
		conn, err := target.Connect(ctx, "")
		if err != nil {
			t.Fatalf("read-only %s: %v", readOnly, err)
		}
		var got string
		if err := conn.QueryRow(ctx, "SHOW transaction_read_only").Scan(&got); err != nil || got != readOnly {
			t.Errorf("transaction_read_only = %s, %v, want %s", got, err, readOnly)
		}
		_ = conn.Close(ctx)
	}
}
