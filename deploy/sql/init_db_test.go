package sql_test

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// fill runs the scripts as their first lines say, with psql, in a database of their own.
func fill(t *testing.T, c *pgtest.Cluster, scripts ...string) {
	t.Helper()
	if err := c.Exec(t.Context(), "CREATE DATABASE app"); err != nil {
		t.Fatal(err)
	}
	for _, script := range scripts {
		if out, err := psql(t, c, script); err != nil {
			t.Fatalf("%s: %v: %s", script, err, out)
		}
	}
}

// psql is that of the newest server with clients: the npm packages of other versions come without.
func psql(t *testing.T, c *pgtest.Cluster, script string) (string, error) {
	t.Helper()
	for _, install := range append([]pgtest.Install{c.Install}, pgtest.Installed()...) {
		if install.HasClients {
			cmd := exec.CommandContext(t.Context(), install.Bin("psql"), c.DSN(pgtest.Superuser, "app"), "--no-psqlrc",
				"--quiet", "--set=ON_ERROR_STOP=1", "--file="+script)
			out, err := cmd.CombinedOutput()
			return string(out), err
		}
	}
	t.Fatal("no psql on this machine. HINT: Run internal/pgtest/install.sh server")
	return "", nil
}

func as(t *testing.T, c *pgtest.Cluster, role string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), c.SocketDSN(role, "app"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

type sampleQuery struct{ name, index, sql string }

func sampleQueries(t *testing.T) []sampleQuery {
	t.Helper()
	text, err := os.ReadFile("sample_queries.sql")
	if err != nil {
		t.Fatal(err)
	}
	heading := regexp.MustCompile(`(?m)^-- (.+): uses (\w+)$`)
	found := heading.FindAllStringSubmatchIndex(string(text), -1)
	var queries []sampleQuery
	for i, at := range found {
		end := len(text)
		if i+1 < len(found) {
			end = found[i+1][0]
		}
		queries = append(queries, sampleQuery{
			name: string(text[at[2]:at[3]]), index: string(text[at[4]:at[5]]), sql: strings.TrimSpace(string(text[at[1]:end])),
		})
	}
	return queries
}

// The promise to those who copy the schema: each index earns its place, and each query of an application has one.
func TestSampleQueriesUseTheirIndexes(t *testing.T) {
	pgtest.EachVersion(t, pgtest.Options{}, func(t *testing.T, c *pgtest.Cluster) {
		fill(t, c, "init_db.sql", "sample_data.sql")
		app := as(t, c, "shop_app")
		used := map[string]bool{}
		for _, q := range sampleQueries(t) {
			rows, _ := app.Query(t.Context(), "EXPLAIN (COSTS OFF) "+q.sql, pgx.QueryExecModeSimpleProtocol)
			plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				t.Fatalf("%s: %v", q.name, err)
			}
			if !regexp.MustCompile(`\b` + q.index + `\b`).MatchString(strings.Join(plan, "\n")) {
				t.Errorf("%s: the plan is without %s:\n%s", q.name, q.index, strings.Join(plan, "\n"))
			}
			used[q.index] = true
			// With an index and without a row it would prove little.
			result, _ := app.Query(t.Context(), q.sql, pgx.QueryExecModeSimpleProtocol)
			found, err := pgx.CollectRows(result, func(row pgx.CollectableRow) (int, error) { return len(row.RawValues()), nil })
			if err != nil || len(found) == 0 {
				t.Errorf("%s: %d rows, %v", q.name, len(found), err)
			}
		}
		rows, _ := app.Query(t.Context(), `
			SELECT c.relname::text
			  FROM pg_index AS i
			  JOIN pg_class AS c ON c.oid = i.indexrelid
			  LEFT JOIN pg_constraint AS con ON con.conindid = i.indexrelid AND con.contype IN ('p', 'u', 'x')
			 WHERE c.relnamespace = 'shop'::regnamespace
			   AND con.oid IS NULL
			   AND NOT (i.indisunique AND i.indpred IS NOT NULL) -- a constraint in all but its name`)
		indexes, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil || len(indexes) < 10 {
			t.Fatalf("%d indexes besides those of constraints, %v", len(indexes), err)
		}
		for _, index := range indexes {
			if !used[index] {
				t.Errorf("no sample query uses %s: add one, or drop the index", index)
			}
		}
	})
}

// A foreign key whose columns no index begins with makes each delete of a parent read the whole child.
func TestForeignKeysHaveAnIndex(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	fill(t, c, "init_db.sql")
	// Categories are few, and are never deleted by the dozen.
	got, err := c.Query(t.Context(), "app", `
		SELECT coalesce(string_agg(con.conrelid::regclass || '(' || con.conname || ')', ', '), '')
		  FROM pg_constraint AS con
		 WHERE con.contype = 'f' AND con.confrelid <> 'shop.categories'::regclass
		   AND NOT EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = con.conrelid AND i.indkey[0] = con.conkey[1])`)
	if err != nil || got != "" {
		t.Errorf("without an index: %s %v", got, err)
	}
}

func TestSchemaRefusesWhatMustNotBe(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	fill(t, c, "init_db.sql")
	app := as(t, c, "shop_app")
	for _, good := range []string{
		"INSERT INTO customers (email, name, country) VALUES ('Ann@example.com', 'Ann', 'DE')",
		"INSERT INTO categories (name) VALUES ('Lamps')",
		"INSERT INTO products (category_id, sku, name, price_cents) VALUES (1, 'LAMP-1', 'Desk lamp', 1999)",
		"INSERT INTO discounts (product_id, percent, valid_during) VALUES (1, 10, '[2026-01-01, 2026-02-01)')",
		"INSERT INTO orders (customer_id, request_id) VALUES (1, '00000000-0000-0000-0000-000000000001')",
		"INSERT INTO order_items (order_id, line, product_id, quantity, price_cents) VALUES (1, 1, 1, 2, 1999)",
		"INSERT INTO payments (order_id, provider, reference, amount_cents) VALUES (1, 'card', 'a', 3998)",
	} {
		if _, err := app.Exec(t.Context(), good); err != nil {
			t.Fatalf("%s: %v", good, err)
		}
	}
	for what, bad := range map[string]struct{ sql, state string }{
		"an address twice":              {"INSERT INTO customers (email, name, country) VALUES ('ann@EXAMPLE.com', 'Ann', 'DE')", "23505"},
		"a category at the top twice":   {"INSERT INTO categories (name) VALUES ('Lamps')", "23505"},
		"history forgotten with orders": {"DELETE FROM orders", "42501"},
		"an address that is none":       {"INSERT INTO customers (email, name, country) VALUES ('ann', 'Ann', 'DE')", "23514"},
		"overlapping discounts": {"INSERT INTO discounts (product_id, percent, valid_during) VALUES (1, 20, '[2026-01-31, 2026-03-01)')",
			"23P01"},
		"a negative stock": {"UPDATE products SET stock = -1", "23514"},
		"a request twice": {"INSERT INTO orders (customer_id, request_id) VALUES (1, '00000000-0000-0000-0000-000000000001')",
			"23505"},
		"shipped, nobody knows when": {"UPDATE orders SET status = 'shipped'", "23514"},
		"a status that is none":      {"UPDATE orders SET status = 'lost'", "23514"},
		"a payment twice": {"INSERT INTO payments (order_id, provider, reference, amount_cents) VALUES (1, 'card', 'a', 1)",
			"23505"},
		"a payment changed":             {"UPDATE payments SET amount_cents = 1", "42501"},
		"history written by hand":       {"INSERT INTO order_events (order_id, new_status, changed_by) VALUES (1, 'paid', 'me')", "42501"},
		"history forgotten":             {"DELETE FROM order_events", "42501"},
		"a table dropped":               {"DROP TABLE payments", "42501"},
		"a table made":                  {"CREATE TABLE shop.mine (id int)", "42501"},
		"a product that was sold":       {"DELETE FROM products", "23503"},
		"a total other than the line's": {"UPDATE order_items SET total_cents = 1", "428C9"},
	} {
		if _, err := app.Exec(t.Context(), bad.sql); err == nil || !strings.Contains(err.Error(), "SQLSTATE "+bad.state) {
			t.Errorf("%s: %v, want SQLSTATE %s", what, err, bad.state)
		}
	}
	report := as(t, c, "shop_report")
	for _, is := range []struct {
		conn    *pgx.Conn
		setting string
		want    string
	}{
		{app, "statement_timeout", "5s"}, {app, "lock_timeout", "2s"}, {app, "idle_in_transaction_session_timeout", "15s"},
		{report, "statement_timeout", "1min"}, {report, "default_transaction_read_only", "on"},
	} {
		var got string
		if err := is.conn.QueryRow(t.Context(), "SELECT current_setting($1)", is.setting).Scan(&got); err != nil || got != is.want {
			t.Errorf("%s is %s, want %s (%v)", is.setting, got, is.want, err)
		}
	}
	if _, err := report.Exec(t.Context(), "SELECT * FROM orders JOIN payments ON order_id = orders.id"); err != nil {
		t.Errorf("shop_report can't read: %v", err)
	}
	if _, err := report.Exec(t.Context(), "SET default_transaction_read_only = off"); err != nil {
		t.Fatal(err)
	}
	if _, err := report.Exec(t.Context(), "DELETE FROM orders"); err == nil || !strings.Contains(err.Error(), "42501") {
		t.Errorf("shop_report may delete: %v", err)
	}
}

func TestTriggersKeepTimesAndHistory(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	fill(t, c, "init_db.sql")
	app := as(t, c, "shop_app")
	value := func(sql string) string {
		t.Helper()
		var v string
		if err := app.QueryRow(t.Context(), sql, pgx.QueryExecModeSimpleProtocol).Scan(&v); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		return v
	}
	value("INSERT INTO customers (email, name, country) VALUES ('ann@example.com', 'Ann', 'DE') RETURNING id::text")
	value("INSERT INTO orders (customer_id, request_id) VALUES (1, '00000000-0000-0000-0000-000000000001') RETURNING id::text")
	if got := value("UPDATE customers SET name = name RETURNING (updated_at = created_at)::text"); got != "true" {
		t.Error("an update that changes nothing moved updated_at")
	}
	if got := value("UPDATE customers SET name = 'Anna', updated_at = '2000-01-01' RETURNING (updated_at > created_at)::text"); got != "true" {
		t.Error("updated_at is not the database's")
	}
	value("UPDATE orders SET status = 'paid' RETURNING id::text")
	value("UPDATE orders SET status = 'paid' RETURNING id::text")
	got := value("SELECT string_agg(coalesce(old_status, '-') || '>' || new_status || ' by ' || changed_by, ', ' ORDER BY id) FROM " +
		"order_events")
	if want := "->new by shop_app, new>paid by shop_app"; got != want {
		t.Errorf("history %q, want %q", got, want)
	}
}

func TestSearchFindsAndIsBounded(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	fill(t, c, "init_db.sql")
	app := as(t, c, "shop_app")
	for _, statement := range []string{
		"INSERT INTO categories (name) VALUES ('Lamps')",
		`INSERT INTO products (category_id, sku, name, price_cents)
		 SELECT 1, format('LAMP-%s', n), format('Red lamp %s', n), 100 FROM generate_series(1, 300) AS n`,
	} {
		if _, err := app.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	count := func(terms string, rows any) int {
		t.Helper()
		var n int
		if err := app.QueryRow(t.Context(), "SELECT count(*) FROM search_products($1, $2)", terms, rows).Scan(&n); err != nil {
			t.Fatalf("search for %q: %v", terms, err)
		}
		return n
	}
	for _, is := range []struct {
		terms string
		rows  any
		want  int
	}{
		{"lamp", 10, 10}, {"LAMPS", 10, 10}, {"lamp", 1000000, 100}, {"lamp", -1, 0}, {"lamp", nil, 20},
		{"lamp -lamp", 10, 0}, {"zebra", 10, 0}, {`"red" & ) ' OR`, 10, 10}, {"red zebra", 10, 0}, {"", 10, 0},
	} {
		if got := count(is.terms, is.rows); got != is.want {
			t.Errorf("%q, %v rows asked for: %d, want %d", is.terms, is.rows, got, is.want)
		}
	}
}

// A second run changes nothing, and says so.
func TestSchemaIsMadeOnceOrNotAtAll(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	fill(t, c, "init_db.sql")
	out, err := psql(t, c, "init_db.sql")
	if err == nil || !strings.Contains(out, `schema "shop" already exists`) {
		t.Errorf("%v: %s", err, out)
	}
	tables, err := c.Query(t.Context(), "app", "SELECT string_agg(tablename, ' ' ORDER BY tablename) FROM pg_tables WHERE schemaname = 'shop'")
	want := []string{"categories", "customers", "discounts", "order_events", "order_items", "orders", "payments", "products"}
	if err != nil || !slices.Equal(strings.Fields(tables), want) {
		t.Errorf("tables %s %v", tables, err)
	}
}
