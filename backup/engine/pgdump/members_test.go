package pgdump_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/contents"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// TestRowsOfExtensionsAreNamed: pg_dump takes nothing of a table that is a member of an extension, and says nothing. Such a backup was
// verified, and the table was gone after a restore.
func TestRowsOfExtensionsAreNamed(t *testing.T) {
	pg := newServer(t, `CREATE DATABASE shop`)
	exec(t, pg, "shop", `CREATE EXTENSION hstore`, `CREATE TABLE usr AS SELECT generate_series(1, 500) AS id`, `CREATE TABLE hollow (i int)`,
		`CREATE TABLE "its ""own" (i int)`, `INSERT INTO "its ""own" VALUES (1)`, `CREATE TABLE busy (i int)`,
		`CREATE SEQUENCE ticket`, `SELECT nextval('ticket')`, `CREATE SEQUENCE unused`, `CREATE TABLE plain (i int)`,
		`ALTER EXTENSION hstore ADD TABLE usr`, `ALTER EXTENSION hstore ADD TABLE hollow`, `ALTER EXTENSION hstore ADD TABLE "its ""own"`,
		`ALTER EXTENSION hstore ADD SEQUENCE ticket`, `ALTER EXTENSION hstore ADD SEQUENCE unused`, `ALTER EXTENSION hstore ADD TABLE busy`)
	b := newBench(t, pg, backupRole)
	const all = `shop/sequence public.ticket shop/table public.its "own shop/table public.usr`
	got := b.run("")
	if said := lacks(got, catalog.ExtensionData); said != strings.ReplaceAll(all, "shop/sequence public.ticket shop/table public.its \"own",
		"shop/table public.its \"own shop/sequence public.ticket") {
		t.Errorf("it names %q", said)
	}

	// Somebody has one of them locked: then it is not known which hold rows, and nobody waits.
	conn, err := pg.Connect(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	if _, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE busy"); err != nil {
		t.Fatal(err)
	}
	if said := lacks(b.run(""), catalog.ExtensionData); strings.Count(said, "shop/") != 6 {
		t.Errorf("with a lock it names %q", said)
	}
	if _, err := conn.Exec(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}

	// The remedy is right.
	for _, o := range got.Manifest.Omitted {
		if o.Kind == catalog.ExtensionData {
			sql, _, _ := strings.Cut(strings.TrimPrefix(o.Remedy, "If it is a table of yours: "), ". If")
			exec(t, pg, "shop", sql)
		}
	}
	whole := b.run("")
	if db, _ := whole.Manifest.Database("shop"); lacks(whole, catalog.ExtensionData) != "" || db.Contents.Rows() != 501 {
		t.Errorf("after the remedy it lacks %v and has %d rows", whole.Manifest.Omitted, db.Contents.Rows())
	}
}

// TestWhatAnExtensionKeepsForItselfIsNoNews: rows that came with the extension come with it again, and one that has some of its tables
// dumped has said of its others that they need not be. What a user added to it is named all the same. An extension's script is a
// transaction that makes the extension and its members, and so is this.
func TestWhatAnExtensionKeepsForItselfIsNoNews(t *testing.T) {
	pg := newServer(t, `CREATE DATABASE shop`)
	conn, err := pg.Connect(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	for _, script := range []string{
		// As spatial reference systems that nobody may change, and a cache that is filled later.
		`CREATE EXTENSION hstore; CREATE TABLE systems AS SELECT 1 AS id; CREATE TABLE cache (id int);
		 ALTER EXTENSION hstore ADD TABLE systems; ALTER EXTENSION hstore ADD TABLE cache`,
		// As a scheduler, whose jobs are dumped and whose log of runs is not.
		`CREATE EXTENSION citext; CREATE TABLE job AS SELECT 1 AS id; CREATE TABLE run (id int); CREATE SEQUENCE run_id;
		 ALTER EXTENSION citext ADD TABLE job; ALTER EXTENSION citext ADD TABLE run; ALTER EXTENSION citext ADD SEQUENCE run_id;
		 UPDATE pg_extension SET extconfig = ARRAY['job'::regclass], extcondition = ARRAY[''] WHERE extname = 'citext'`,
	} {
		if _, err := conn.Exec(t.Context(), "BEGIN; "+script+"; COMMIT"); err != nil {
			t.Fatal(err)
		}
	}
	exec(t, pg, "shop", `INSERT INTO run VALUES (1), (2)`, `SELECT nextval('run_id')`, `VACUUM FREEZE systems`)
	b := newBench(t, pg, backupRole)
	if said := lacks(b.run(""), catalog.ExtensionData); said != "" {
		t.Errorf("it names %q", said)
	}
	exec(t, pg, "shop", `INSERT INTO cache VALUES (1)`, `INSERT INTO systems VALUES (2)`, `CREATE TABLE mine AS SELECT 1 AS id`,
		`ALTER EXTENSION citext ADD TABLE mine`)
	if said := lacks(b.run(""), catalog.ExtensionData); said != "shop/table public.cache shop/table public.mine shop/table public.systems" {
		t.Errorf("after users wrote into them it names %q", said)
	}
}

// TestASequenceThatMovesCondemnsNothing: one that is set back between our reading and pg_dump's made a good backup damaged.
func TestASequenceThatMovesCondemnsNothing(t *testing.T) {
	pg := newServer(t, `CREATE DATABASE shop`)
	exec(t, pg, "shop", `CREATE TABLE t (i int)`, `CREATE SEQUENCE resets`, `CREATE SEQUENCE stays`,
		`SELECT setval('resets', 151), setval('stays', 7)`)
	b := newBench(t, pg, backupRole)
	b.job.Verify = true
	conn, err := pg.Connect(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	if _, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE t"); err != nil {
		t.Fatal(err)
	}
	released := make(chan error, 1)
	go func() { // pg_dump waits for the table: our reading of the sequences is behind it
		pgtest.Eventually(t, 20*time.Second, func() error {
			_, err := pg.Query(context.WithoutCancel(t.Context()), "shop",
				`SELECT 1 / count(*) FROM pg_locks WHERE NOT granted AND relation = 't'::regclass`)
			return err
		})
		_, err := conn.Exec(context.WithoutCancel(t.Context()), "SELECT setval('resets', 102); COMMIT")
		released <- err
	}()
	got := b.run("")
	if err := <-released; err != nil {
		t.Fatal(err)
	}
	if got.Health != catalog.Verified {
		t.Errorf("it is %s: %s", got.Health, got.Problem)
	}
	db, _ := got.Manifest.Database("shop")
	if s := db.Contents.Sequences; len(s) != 2 || !s[0].Moved || s[1].Moved {
		t.Errorf("sequences %+v", s)
	}
}

// TestWhatSomebodyAddedToAnExtensionIsNamed: of an extension's members a dump has nothing. What was made before it became one is
// somebody's own. An index, a comment and a grant make an extension's own members no less its own, and neither does an update.
func TestWhatSomebodyAddedToAnExtensionIsNamed(t *testing.T) {
	pg := newServer(t, `CREATE DATABASE shop`)
	exec(t, pg, "shop", `CREATE EXTENSION hstore`, `CREATE EXTENSION pg_trgm VERSION '1.3'`, `ALTER EXTENSION pg_trgm UPDATE TO '1.4'`,
		`ALTER EXTENSION pg_trgm UPDATE`, `GRANT EXECUTE ON FUNCTION akeys(hstore) TO pg_monitor`, `CREATE SCHEMA "a b"`,
		`ALTER EXTENSION pg_trgm SET SCHEMA "a b"`, `COMMENT ON TYPE hstore IS 'x'`)
	b := newBench(t, pg, pgtest.Superuser)
	if said := lacks(b.run(""), catalog.ExtensionData); said != "" {
		t.Errorf("it names %q", said)
	}
	own := map[string]string{
		`FUNCTION "a b"."f'"(int)`:      `CREATE FUNCTION "a b"."f'"(int) RETURNS int LANGUAGE sql AS 'SELECT 1'`,
		`PROCEDURE p()`:                 `CREATE PROCEDURE p() LANGUAGE sql AS 'SELECT 1'`,
		`AGGREGATE total(int)`:          `CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int)`,
		`VIEW v`:                        `CREATE VIEW v AS SELECT 1 AS i`,
		`MATERIALIZED VIEW m`:           `CREATE MATERIALIZED VIEW m AS SELECT 1 AS i`,
		`TYPE e`:                        `CREATE TYPE e AS ENUM ('a')`,
		`DOMAIN d`:                      `CREATE DOMAIN d AS int`,
		`OPERATOR ===(int, int)`:        `CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)`,
		`TEXT SEARCH CONFIGURATION c`:   `CREATE TEXT SEARCH CONFIGURATION c (COPY = simple)`,
		`COLLATION k`:                   `CREATE COLLATION k FROM "C"`,
		`EVENT TRIGGER w`:               `CREATE EVENT TRIGGER w ON ddl_command_end WHEN TAG IN ('CREATE RULE') EXECUTE FUNCTION t()`,
		`CAST (e AS int)`:               `CREATE CAST (e AS int) WITH INOUT`,
		`SCHEMA hers`:                   `CREATE SCHEMA hers`,
		`FOREIGN DATA WRAPPER nowhere`:  `CREATE FOREIGN DATA WRAPPER nowhere`,
		`OPERATOR CLASS oc USING btree`: `CREATE OPERATOR CLASS oc FOR TYPE int USING btree AS OPERATOR 3 =, FUNCTION 1 btint4cmp(int, int)`,
	}
	exec(t, pg, "shop", `CREATE FUNCTION t() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'`, own[`TYPE e`])
	for name, sql := range own {
		if name != `TYPE e` {
			exec(t, pg, "shop", sql)
		}
	}
	for name := range own {
		exec(t, pg, "shop", "ALTER EXTENSION hstore ADD "+name)
	}
	got := b.run("")
	var named []catalog.Omission
	for _, o := range got.Manifest.Omitted {
		if o.Kind == catalog.ExtensionData {
			named = append(named, o)
		}
	}
	if len(named) != len(own) {
		t.Errorf("of %d objects it names %d: %v", len(own), len(named), named)
	}
	for _, o := range named { // the remedy is right
		sql, _, _ := strings.Cut(o.Remedy, ". If nobody")
		exec(t, pg, "shop", sql)
	}
	if said := lacks(b.run(""), catalog.ExtensionData); said != "" {
		t.Errorf("after the remedy it names %q", said)
	}
}

// TestRowsThatExtensionsHaveDumpedAreCompared: a trigger of an extension can take them away while they are loaded, and such a backup was
// verified. A database without plpgsql, which each new one has, is no worse for it.
func TestRowsThatExtensionsHaveDumpedAreCompared(t *testing.T) {
	pg := newServer(t, `CREATE DATABASE shop`, `CREATE DATABASE hardened`)
	exec(t, pg, "hardened", `DROP EXTENSION plpgsql`)
	exec(t, pg, "shop", `CREATE EXTENSION hstore`, `CREATE TABLE job (id int, what text)`,
		`INSERT INTO job SELECT i, 'x' FROM generate_series(1, 1100) i`,
		`ALTER EXTENSION hstore ADD TABLE job`)
	// What pg_extension_config_dump does, which only an extension's own script may call.
	exec(t, pg, "shop", `UPDATE pg_extension SET extconfig = ARRAY['job'::regclass], extcondition = ARRAY['WHERE id > 1000']
		WHERE extname = 'hstore'`)
	b := newBench(t, pg, pgtest.Superuser)
	got := b.run("")
	db, _ := got.Manifest.Database("shop")
	if k := db.Contents.Kept; len(k) != 1 || k[0].Rows != 100 || k[0].Uncounted {
		t.Errorf("of the extension's table it counted %+v", k)
	}
	for what, change := range map[string]func(*catalog.Table){
		"": func(*catalog.Table) {}, "fewer before": func(t *catalog.Table) { t.Rows = 99 },
		"uncounted": func(t *catalog.Table) { t.Rows, t.Uncounted = 1e6, true },
		"table public.job of an extension has 100 rows that are dumped, the backup's server had 101": func(t *catalog.Table) { t.Rows = 101 },
	} {
		want := db.Contents
		want.Kept = []catalog.Table{want.Kept[0]}
		change(&want.Kept[0])
		d := contents.Compare(want, db.Contents)
		if said := strings.Join(d, "; "); (said != "") != strings.HasPrefix(what, "table") || said != "" && said != what {
			t.Errorf("%s: it differs by %q", what, said)
		}
	}
}
