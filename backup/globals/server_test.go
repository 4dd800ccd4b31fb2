package globals_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/globals"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// odd are texts that a name, a value or a comment can be. As names they have at most 63 bytes.
var odd = []string{
	"plain", "Upper", "with space", `a"; --`, `"`, `""`, "a'b", "''", `back\slash`, `\`, `\'`, "line\nbreak", "\n", "carriage\rreturn",
	"tab\there",
	"$$", "$a$b$a$", "$user", "x\n; ALTER ROLE victim SUPERUSER; --", "x';\nALTER ROLE victim SUPERUSER; --", "\\connect victim\n\\! id",
	"select", "role", "default", "all", "current_user", "a,b", "a.b", "/*", "*/", "--", "x=y", "=", "%s %I", ":x :'x'", "{}", "[]", ";", "()",
	"ünï", "日本語", "🐘", "\u202e", "é\u0301", "\x01\x1f\x7f", "E'x'", "U&\"d\"", strings.Repeat("x", 63), strings.Repeat("ü", 31) + "y",
	"copy(select 1)to program 'id'", " lead", "trail ", "0", "0x1", "NULL",
}

// state is what the shared catalogues say of roles, as text that does not depend on oids. It is asked of the server
// in words of its own, so that it does not share a mistake with Read.
func state(t *testing.T, pg *pgtest.Cluster) map[string]string {
	t.Helper()
	major := pg.Install.Major
	members := "''"
	if major >= 16 {
		members = "concat(m.inherit_option, m.set_option)"
	}
	// One that is gone, as may be before PostgreSQL 16, can't come back: then it is the one who restores.
	grantor := "coalesce((SELECT rolname FROM pg_roles g WHERE g.oid = m.grantor), 'postgres')"
	all := map[string]string{}
	for what, sql := range map[string]string{
		"role": `SELECT rolname, (to_jsonb(a) - 'oid' - 'rolname')::text FROM pg_authid a WHERE oid >= 16384`,
		"membership": `SELECT concat_ws(' | ', m.roleid::regrole, m.member::regrole, ` + grantor + `), concat(m.admin_option, ` + members + `)
			FROM pg_auth_members m WHERE m.member >= 16384`,
		"setting": `SELECT concat_ws(' | ', coalesce(r.rolname, 'everybody'), d.datname), s.setconfig::text
			FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase WHERE s.setrole <> 10`,
		"comment": `SELECT pg_get_userbyid(objoid), description FROM pg_shdescription WHERE classoid = 'pg_authid'::regclass AND objoid <> 10`,
		"database": `SELECT datname, concat_ws(' | ', pg_get_userbyid(datdba), datconnlimit, datistemplate, datallowconn, shobj_description(d.oid, 'pg_database'),
			to_jsonb(d) - 'oid' - 'datdba' - 'datacl' - 'datfrozenxid' - 'datminmxid' - 'dattablespace' - 'datlastsysoid' - 'datcollversion',
			(SELECT array_agg(a::text ORDER BY a::text) FROM unnest(datacl) a)) FROM pg_database d`,
	} {
		for _, row := range queryAll(t, pg, "SELECT k::text, v::text FROM ("+sql+") AS x (k, v)") {
			all[what+" "+row[0]] = row[1]
		}
	}
	if major >= 15 {
		for _, row := range queryAll(t, pg,
			`SELECT parname, array(SELECT a::text FROM unnest(paracl) a ORDER BY 1)::text FROM pg_parameter_acl`) {
			all["parameter "+row[0]] = row[1]
		}
	}
	return all
}

func queryAll(t *testing.T, pg *pgtest.Cluster, sql string) [][2]string {
	t.Helper()
	conn := connect(t, pg, "postgres")
	if _, err := conn.Exec(t.Context(), "SET quote_all_identifiers = off; SET timezone = 'UTC'; SET datestyle = 'ISO, YMD'"); err != nil {
		t.Fatal(err)
	}
	rows, err := conn.Query(t.Context(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	var all [][2]string
	var k, v string
	if _, err := pgx.ForEachRow(rows, []any{&k, &v}, func() error { all = append(all, [2]string{k, v}); return nil }); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return all
}

func connect(t *testing.T, pg *pgtest.Cluster, database string) *pgx.Conn {
	t.Helper()
	conn, err := pg.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func connectAs(t *testing.T, pg *pgtest.Cluster, role string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), pg.DSN(role, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// do executes what the server's own format() makes of the arguments: %I quotes a name and %L a value.
func do(t *testing.T, conn *pgx.Conn, format string, args ...string) {
	t.Helper()
	var sql string
	if err := conn.QueryRow(t.Context(), `SELECT format($1, VARIADIC $2::text[])`, format, args).Scan(&sql); err != nil {
		t.Fatalf("%s %q: %v", format, args, err)
	}
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// differences lists what is not equal, for people.
func differences(want, got map[string]string) []string {
	var all []string
	for k, v := range want {
		if g, ok := got[k]; !ok {
			all = append(all, fmt.Sprintf("%q: lost %q", k, v))
		} else if g != v {
			all = append(all, fmt.Sprintf("%q: was %q, is %q", k, v, g))
		}
	}
	for k, v := range got {
		if _, ok := want[k]; !ok {
			all = append(all, fmt.Sprintf("%q: new: %q", k, v))
		}
	}
	slices.Sort(all)
	return all
}

// fill makes roles with everything a catalogue can hold.
func fill(t *testing.T, pg *pgtest.Cluster) {
	t.Helper()
	conn := connect(t, pg, "postgres")
	major := pg.Install.Major
	do(t, conn, `CREATE ROLE victim LOGIN`)
	for i, name := range odd {
		value := odd[(i*7+3)%len(odd)]
		do(t, conn, `CREATE ROLE %I`, name)
		do(t, conn, `COMMENT ON ROLE %I IS %L`, name, value)
		do(t, conn, `ALTER ROLE %I SET application_name TO %L`, name, value)
		do(t, conn, `ALTER ROLE %I SET app.value TO %L`, name, odd[(i*11+5)%len(odd)])
		do(t, conn, `ALTER ROLE %I SET search_path TO %L, %L`, name, value, odd[(i*5+1)%len(odd)])
		switch i % 6 {
		case 0:
			do(t, conn, `ALTER ROLE %I SUPERUSER CREATEDB CREATEROLE LOGIN REPLICATION BYPASSRLS NOINHERIT CONNECTION LIMIT 0`, name)
		case 1:
			do(t, conn, `ALTER ROLE %I LOGIN PASSWORD %L VALID UNTIL 'infinity'`, name, value)
		case 2:
			do(t, conn, `ALTER ROLE %I LOGIN PASSWORD 'md5ffffffffffffffffffffffffffffffff' VALID UNTIL '0044-03-15 BC'`, name)
		case 3:
			do(t, conn, `ALTER ROLE %I VALID UNTIL '294276-12-31 23:59:59.999999+00' CONNECTION LIMIT 7`, name)
		case 4:
			do(t, conn, `ALTER ROLE %I VALID UNTIL '-infinity' CONNECTION LIMIT -1`, name)
		case 5:
			do(t, conn, `ALTER ROLE %I SET app.empty TO ''`, name)
		}
		if i > 0 {
			do(t, conn, `GRANT %I TO %I`, odd[i-1], name)
		}
		if i > 2 && i%3 == 0 {
			do(t, conn, `GRANT %I TO %I WITH ADMIN OPTION`, odd[i-2], name)
		}
		if major >= 16 && i%5 == 0 {
			do(t, conn, `GRANT victim TO %I WITH INHERIT FALSE, SET FALSE`, name)
		}
	}
	do(t, conn, `GRANT pg_monitor TO victim`)
	do(t, conn, `GRANT victim TO plain WITH ADMIN OPTION`)
	// Grants in others' names, in an order of names that is not that of the grants.
	for _, r := range []string{"chain_c", "chain_a", "chain_b", "chain_target"} {
		do(t, conn, `CREATE ROLE %I`, r)
	}
	do(t, conn, `GRANT chain_target TO chain_c WITH ADMIN OPTION`)
	do(t, conn, `GRANT chain_target TO chain_a WITH ADMIN OPTION GRANTED BY chain_c`)
	do(t, conn, `GRANT chain_target TO chain_b GRANTED BY chain_a`)
	if major >= 16 { // the same membership, by two grantors
		do(t, conn, `GRANT chain_target TO chain_b WITH INHERIT FALSE`)
	}
	// A grantor that is gone, which PostgreSQL 16 does not allow any more.
	if major < 16 {
		do(t, conn, `CREATE ROLE gone SUPERUSER`)
		do(t, conn, `GRANT chain_b TO chain_c GRANTED BY gone`)
		do(t, conn, `DROP ROLE gone`)
	}
	do(t, conn, `ALTER ROLE ALL SET app.everybody TO %L`, "x\n'; DROP ROLE victim; --\\")
	do(t, conn, `ALTER ROLE postgres SET app.own TO 'stays'`)
	do(t, conn, `COMMENT ON ROLE postgres IS %L`, "first line\nsecond line")
	for _, s := range []string{
		`search_path TO ''`, `search_path TO "$user", public`, `search_path TO "A, b", "c""d", e`, `temp_tablespaces TO 'x y', "Z"`,
		`local_preload_libraries TO 'My Lib', "q""q", plain`, `session_preload_libraries TO '/a b/c', 'd,e'`, `datestyle TO german, dmy`,
		`timezone TO 'Europe/Vienna'`, `TIME ZONE 2`, `work_mem TO '5120kB'`, `statement_timeout TO 1`, `role TO chain_a`,
		`default_transaction_read_only TO on`, `client_encoding TO 'LATIN1'`, `standard_conforming_strings TO off`, `quote_all_identifiers TO on`,
		`app.deep.er_name$1 TO E'a\nb'`, `"App"."Mixed" TO 'x'`, `default_tablespace TO 'nowhere'`,
		`transform_null_equals TO on`, `extra_float_digits TO -3`, `backslash_quote TO on`, `escape_string_warning TO off`,
	} {
		do(t, conn, `ALTER ROLE victim SET `+strings.ReplaceAll(s, "%", "%%"))
	}
	if major < 14 { // later ones take no such names
		do(t, conn, `ALTER ROLE victim SET "od d;"."na""me" TO 'x'`)
		do(t, conn, `ALTER ROLE victim SET "a..b" TO 'x'`)
		do(t, conn, `ALTER ROLE victim SET "eq.u=al" TO 'x'`)
	}
	if major >= 15 {
		do(t, conn, `GRANT SET, ALTER SYSTEM ON PARAMETER work_mem TO victim WITH GRANT OPTION`)
		do(t, conn, `GRANT SET ON PARAMETER "app"."value" TO %I`, `a"; --`)
		do(t, conn, `GRANT SET ON PARAMETER zero_damaged_pages TO PUBLIC`)
	}
}

func TestRolesArriveAsTheyWereOnAFreshServerAndChangeNothingWhereTheyAre(t *testing.T) {
	pgtest.EachVersion(t, pgtest.Options{NoMonitorRole: true}, func(t *testing.T, a *pgtest.Cluster) {
		fill(t, a)
		before := state(t, a)
		g, err := globals.Read(t.Context(), connect(t, a, "postgres"), nil)
		if err != nil || len(g.Notes) > 0 {
			t.Fatalf("read: %v, notes %q", err, g.Notes)
		}
		b := pgtest.New(t, pgtest.Options{NoMonitorRole: true, Install: a.Install, Settings: map[string]string{
			"standard_conforming_strings": "off", "quote_all_identifiers": "on", "datestyle": "'German, DMY'", "timezone": "'Asia/Tokyo'",
		}})
		for _, step := range []struct {
			what string
			pg   *pgtest.Cluster
		}{{"a fresh server", b}, {"the same server again", b}, {"the server they are from", a}} {
			notes, err := g.Restore(t.Context(), connect(t, step.pg, "postgres"), globals.Options{WholeServer: true})
			if err != nil || len(notes) > 0 {
				t.Fatalf("restore on %s: %v, notes %q", step.what, err, notes)
			}
			if d := differences(before, state(t, step.pg)); len(d) > 0 {
				t.Errorf("%s has %d differences:\n%s", step.what, len(d), strings.Join(d, "\n"))
			}
		}
		if own := queryAll(t, b, `SELECT 'own', count(*)::text FROM pg_db_role_setting WHERE setrole = 10`); own[0][1] != "0" {
			t.Error("the bootstrap superuser, which exists on every server, got the backup's settings")
		}
	})
}
