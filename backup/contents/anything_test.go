package contents_test

import (
	"context"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/contents"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// What is not seen here is taken for nothing, and a bootstrap puts a backup in its place.
func TestAnythingSeesEveryKindOfObject(t *testing.T) {
	pgtest.EachVersion(t, pgtest.Options{NoMonitorRole: true, Settings: map[string]string{"wal_level": "logical"}},
		func(t *testing.T, pg *pgtest.Cluster) {
			ctx := context.Background()
			for sql, want := range map[string]string{
				"CREATE TABLE t ()":                                          "relation public.t",
				"CREATE VIEW v AS SELECT 1":                                  "relation public.v",
				"CREATE SEQUENCE s":                                          "relation public.s",
				"CREATE SCHEMA s":                                            "schema s",
				"CREATE DOMAIN d AS int":                                     "type public.",
				"CREATE TYPE e AS ENUM ('a')":                                "type public.",
				"CREATE TYPE c AS (i int)":                                   "relation public.c",
				"CREATE TYPE r AS RANGE (SUBTYPE = float4)":                  "function public.",
				"CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'": "function public.f",
				"CREATE AGGREGATE a (int) (SFUNC = int4pl, STYPE = int)":     "function public.a",
				"CREATE EXTENSION pgcrypto":                                  "extension pgcrypto",
				"CREATE FOREIGN DATA WRAPPER w":                              "foreign-data wrapper w",
				"CREATE PUBLICATION p":                                       "publication p",
				"CREATE SUBSCRIPTION u CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p WITH (connect = false)": "subscription u",
				"CREATE COLLATION k FROM \"C\"":                                          "collation public.k",
				"CREATE TEXT SEARCH CONFIGURATION g (COPY = simple)":                     "text search configuration public.g",
				"CREATE TEXT SEARCH DICTIONARY x (TEMPLATE = simple)":                    "text search dictionary public.x",
				"CREATE CAST (point AS text) WITH INOUT":                                 "cast ",
				"CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)": "operator public.===",
				"CREATE OPERATOR FAMILY y USING btree":                                   "operator family public.y",
				"CREATE ACCESS METHOD m TYPE INDEX HANDLER bthandler":                    "access method m",
				"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC":              "default privileges ",
				"SELECT lo_create(17)":                                                   "large object 17",
				"COMMENT ON SCHEMA public IS 'mine'":                                     "the comment of schema public",
				"COMMENT ON SCHEMA public IS NULL":                                       "the comment of schema public",
				"GRANT USAGE ON SCHEMA public TO pg_monitor":                             "the privileges of schema public",
				"REVOKE ALL ON SCHEMA public FROM PUBLIC":                                "the privileges of schema public",
				"ALTER SCHEMA public OWNER TO pg_monitor":                                "the ",
				"DROP SCHEMA public":                                                     "no schema public",
				"CREATE CONVERSION n FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8":      "conversion public.n",
			} {
				if err := pg.ExecIn(ctx, "postgres", "CREATE DATABASE looked_into"); err != nil {
					t.Fatal(err)
				}
				if err := pg.ExecIn(ctx, "looked_into", "CREATE TEMPORARY TABLE passing (i int, t text)"); err != nil {
					t.Fatal(err)
				}
				if got := anything(t, pg, "looked_into"); got != "" {
					t.Errorf("an empty database holds %q", got)
				}
				if err := pg.ExecIn(ctx, "looked_into", sql); err != nil {
					t.Fatalf("%s: %v", sql, err)
				}
				if got := anything(t, pg, "looked_into"); !strings.HasPrefix(got, want) {
					t.Errorf("after %s it holds %q, want %q", sql, got, want)
				}
				if strings.Contains(sql, "SUBSCRIPTION") {
					if got := anything(t, pg, "postgres"); got != "" {
						t.Errorf("another database holds %q", got)
					}
					if err := pg.ExecIn(ctx, "looked_into", "ALTER SUBSCRIPTION u SET (slot_name = NONE)", "DROP SUBSCRIPTION u"); err != nil {
						t.Fatal(err)
					}
				}
				if err := pg.ExecIn(ctx, "postgres", "DROP DATABASE looked_into WITH (FORCE)"); err != nil {
					t.Fatal(err)
				}
			}
		})
}

// An image makes extensions at its first start: they are none of a user's. What users put into their tables is.
func TestExtensionsOfAnImageAreNoData(t *testing.T) {
	pg := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	ctx := t.Context()
	look := func() string {
		t.Helper()
		conn, err := pg.Connect(ctx, "postgres")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(ctx)
		what, err := contents.AnythingOfUsers(ctx, conn)
		if err != nil {
			t.Fatal(err)
		}
		return what
	}
	for _, step := range []struct{ sql, want string }{
		{"CREATE EXTENSION hstore; CREATE EXTENSION pg_trgm SCHEMA public", ""},
		{`CREATE SCHEMA "its own"; CREATE TABLE "its own"."job's" (id int); INSERT INTO "its own"."job's" VALUES (1), (2); CREATE INDEX ON "its own"."job's" (id)`, "schema its own"},
		{`ALTER EXTENSION hstore ADD SCHEMA "its own"; ALTER EXTENSION hstore ADD TABLE "its own"."job's"`, ""},
		// What pg_extension_config_dump does, which only an extension's own script may call.
		{`UPDATE pg_extension SET extconfig = ARRAY['"its own"."job''s"'::regclass::oid], extcondition = ARRAY['WHERE id >= 1000'] WHERE extname = 'hstore'`, ""},
		{`INSERT INTO "its own"."job's" VALUES (1000)`, `rows in "its own"."job's"`},
		{`DELETE FROM "its own"."job's" WHERE id = 1000; CREATE TABLE t ()`, "relation public.t"},
	} {
		if err := pg.ExecIn(ctx, "postgres", step.sql); err != nil {
			t.Fatalf("%s: %v", step.sql, err)
		}
		if got := look(); got != step.want {
			t.Errorf("after %s users made %q, want %q", step.sql, got, step.want)
		}
	}
}

func anything(t *testing.T, pg *pgtest.Cluster, database string) string {
	t.Helper()
	ctx := context.Background()
	conn, err := pg.Connect(ctx, database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	what, err := contents.Anything(ctx, conn)
	if err != nil {
		t.Fatal(err)
	}
	return what
}
