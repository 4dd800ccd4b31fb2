package restore_test

import (
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/restore"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// rowsThatDepend are databases whose rows come back only under the settings that their own sessions have, each with what is
// set, by the server or the database, and the rows' text before and after.
var rowsThatDepend = map[string]struct {
	settings, sql []string
	read          string
}{
	"a day of the database's time zone": {
		[]string{"ALTER DATABASE shop SET TimeZone = 'Europe/Vienna'"},
		[]string{"CREATE TABLE t (at timestamptz, day date CHECK (at::date = day))",
			"INSERT INTO t VALUES ('2024-01-01 23:30+00', '2024-01-02')"},
		"SELECT at AT TIME ZONE 'UTC' || ' ' || day FROM t",
	},
	"a day of the server's time zone": {
		[]string{"ALTER SYSTEM SET TimeZone = 'Asia/Tokyo'", "SELECT pg_reload_conf()"},
		[]string{"CREATE TABLE t (at timestamptz, day date CHECK (at::date = day))",
			"INSERT INTO t VALUES ('2024-01-01 23:30+00', '2024-01-02')"},
		"SELECT at AT TIME ZONE 'UTC' || ' ' || day FROM t",
	},
	"the order of day and month": {
		[]string{"ALTER DATABASE shop SET DateStyle = 'SQL, DMY'"},
		[]string{"CREATE TABLE t (s text CHECK (s::date > '2000-01-01'), d date)", "INSERT INTO t VALUES ('31/12/2020', '2020-12-01')"},
		"SELECT s || ' ' || to_char(d, 'YYYY-MM-DD') FROM t",
	},
	"bytes as text": {
		[]string{"ALTER DATABASE shop SET bytea_output = 'escape'", "ALTER DATABASE shop SET IntervalStyle = 'iso_8601'"},
		[]string{"CREATE TABLE t (b bytea CHECK (b::text = 'ab'), i interval CHECK (i::text LIKE 'P%'))",
			"INSERT INTO t VALUES ('ab', '-1 year +3 days -2 hours')"},
		"SELECT encode(b, 'hex') || ' ' || extract(epoch FROM i) FROM t",
	},
	"a setting of the database's own": {
		[]string{"ALTER DATABASE shop SET app.most = '7'"},
		[]string{"CREATE TABLE t (i int CHECK (i <= current_setting('app.most')::int))", "INSERT INTO t VALUES (7)"},
		"SELECT i FROM t",
	},
	"amounts": {
		[]string{"ALTER DATABASE shop SET lc_monetary = 'C'"},
		[]string{"CREATE TABLE t (m money DEFAULT '1.50'::money, i int)", "INSERT INTO t (i) VALUES (1)"},
		"SELECT m::numeric || ' ' || pg_get_expr(adbin, adrelid) FROM t, pg_attrdef WHERE adrelid = 't'::regclass",
	},
}

// What a row depends on is the server's or the database's, and the same when it comes back: in a rehearsal, in a restore, on
// another server, and for one table.
func TestRowsThatDependOnSettings(t *testing.T) {
	t.Parallel()
	b := newServer(t, pgtest.Options{})
	fresh := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	for name, c := range rowsThatDepend {
		t.Run(name, func(t *testing.T) {
			b.exec(t, "postgres", append([]string{"DROP DATABASE IF EXISTS shop", "CREATE DATABASE shop"}, c.settings...)...)
			b.exec(t, "shop", c.sql...)
			want := query(t, b.pg, "shop", c.read)
			backup := b.verified(t)
			for _, pg := range []*pgtest.Cluster{b.pg, fresh} {
				if _, err := b.restorer(t, pg).Restore(t.Context(), restore.Options{Backup: backup, Database: "shop", DropOld: true}); err != nil {
					t.Fatal(err)
				}
				if got := query(t, pg, "shop", c.read); got != want {
					t.Errorf("row = %s, want %s", got, want)
				}
			}
			rep, err := b.restorer(t, b.pg).
				RestoreTable(t.Context(), restore.TableOptions{Backup: backup, Database: "shop", Schema: "public", Table: "t"})
			if err != nil || rep.Rows != 1 {
				t.Errorf("one table: %+v, %v", rep, err)
			}
		})
	}
}
