package collector

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// These tests ask the server for whole views, do the sums that a page shows by other means, and compare them with the page.

// row is one row of a view, by column.
type row map[string]any // whose numbers are float64: identifiers are to be read as text

func (r row) text(column string) string    { s, _ := r[column].(string); return s }
func (r row) number(column string) float64 { v, _ := r[column].(float64); return v }

// rowsOf reads a whole view.
func rowsOf(t *testing.T, conn *pgx.Conn, view string) []row {
	t.Helper()
	rows, err := conn.Query(t.Context(), "SELECT row_to_json(v)::text FROM "+view+" AS v", pgx.QueryExecModeSimpleProtocol)
	must(t, err)
	texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(t, err)
	out := make([]row, len(texts))
	for i, text := range texts {
		decoder := json.NewDecoder(strings.NewReader(text))
		must(t, decoder.Decode(&out[i]))
	}
	return out
}

// between fails unless both answers of the server have the page's series, and the page's values lie between theirs.
func between(before, page, after map[string]float64) error {
	for series := range after {
		if _, ok := page[series]; !ok {
			return fmt.Errorf("%s is not on the page; the server says %v", series, after[series])
		}
	}
	for series, v := range page {
		least, known := before[series]
		most, still := after[series]
		if !known || !still {
			return fmt.Errorf("%s = %v on the page; the server has no such thing", series, v)
		}
		if slack := 1e-6 * math.Abs(most); v < least-slack || v > most+slack {
			return fmt.Errorf("%s = %v on the page; the server said %v before and %v after it", series, v, least, most)
		}
	}
	return nil
}

// agrees compares what a collector has on the page with what the server says. Values may grow meanwhile, and rows may come and go for a
// while.
func agrees(t *testing.T, c *pgtest.Cluster, name string, server func() map[string]float64) {
	t.Helper()
	pgtest.Eventually(t, 20*time.Second, func() error {
		before := server()
		page := ask(t, c, "postgres", name)
		if len(page) == 0 {
			return fmt.Errorf("%s has nothing on the page", name)
		}
		return between(before, page, server())
	})
}

func TestStatementsAgreeWithTheServer(t *testing.T) {
	t.Parallel()
	settings := map[string]string{"shared_preload_libraries": "'pg_stat_statements'", "pg_stat_statements.track": "all",
		"pg_stat_statements.track_planning": "on", "track_io_timing": "on", "work_mem": "'64kB'"}
	pgtest.EachVersion(t, pgtest.Options{Settings: settings}, func(t *testing.T, c *pgtest.Cluster) {
		ctx := t.Context()
		must(t, c.Exec(ctx, "CREATE EXTENSION pg_stat_statements", "CREATE ROLE app LOGIN SUPERUSER"))
		app, err := pgx.Connect(ctx, c.SocketDSN("app", "postgres"))
		must(t, err)
		for _, sql := range []string{"CREATE TABLE t AS SELECT g AS id, repeat('x', 100) AS v FROM generate_series(1, 20000) AS g",
			"CREATE FUNCTION nested() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT count(*) FROM t WHERE id > 5); END $$",
			"SELECT nested()", "SELECT nested()", "SELECT count(*) FROM t WHERE id > 7", "SELECT v FROM t ORDER BY v DESC, id",
			"SELECT pg_sleep(0)", "SELECT pg_sleep(0.05)", "UPDATE t SET v = 'y' WHERE id < 100", "SELECT id FROM t WHERE id < 12"} {
			_, err := app.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol)
			must(t, err)
		}
		must(t, app.Close(ctx))
		conn := connectSuper(t, c, "postgres")
		want := statementsOf(rowsOf(t, conn,
			"(SELECT s.*, s.queryid::text AS id FROM pg_stat_statements AS s JOIN pg_roles AS r ON r.oid = s.userid WHERE r.rolname = 'app')"))
		page := ask(t, c, "postgres", "statements")
		maps.DeleteFunc(page, func(series string, _ float64) bool { return !strings.Contains(series, `|user="app"`) })
		if err := between(want, page, want); err != nil {
			t.Error(err)
		}
		if len(want) < 100 {
			t.Errorf("%d values were compared", len(want))
		}
	})
}

// statementsOf is what a page says of statements, whose calls at the top and within functions are rows of their own.
func statementsOf(rows []row) map[string]float64 {
	sums := map[string]float64{}
	byQuery := map[string][]row{}
	for _, r := range rows {
		id := r.text("id")
		byQuery[id] = append(byQuery[id], r)
	}
	for id, entries := range byQuery {
		labels := fmt.Sprintf(`|user="app"|datname="postgres"|queryid=%q`, id)
		var calls, total, squares, longest float64
		for _, r := range entries {
			for column, metric := range map[string]string{"calls": "pg_stat_statements_calls_total", "rows": "pg_stat_statements_rows_total",
				"shared_blks_read": "blocks_read_total", "shared_blks_hit": "blocks_hit_total", "shared_blks_dirtied": "blocks_dirtied_total",
				"shared_blks_written": "blocks_written_total", "wal_bytes": "wal_bytes_total", "plans": "plans_total",
				"jit_functions": "jit_functions_total", "generic_plan_calls": "generic_plan_calls_total",
				"custom_plan_calls": "custom_plan_calls_total", "temp_blks_read": "temp_read_bytes_total",
				"temp_blks_written": "temp_written_bytes_total", "total_plan_time": "plan_seconds_total",
				"blk_read_time": "pg_stat_statements_block_read_seconds_total", "shared_blk_read_time": "pg_stat_statements_block_read_seconds_total",
				"blk_write_time":        "pg_stat_statements_block_write_seconds_total",
				"shared_blk_write_time": "pg_stat_statements_block_write_seconds_total"} {
				if _, there := r[column]; !there {
					continue
				}
				scale := 1.0
				switch {
				case strings.HasPrefix(column, "temp_blks"):
					scale = 8192
				case strings.HasSuffix(column, "_time"):
					scale = 1e-3
				}
				if !strings.HasPrefix(metric, "pg_") {
					metric = "pg_reliability_statements_" + metric
				}
				sums[metric+labels] += scale * r.number(column)
			}
			if _, there := r["jit_functions"]; there {
				sums["pg_reliability_statements_jit_seconds_total"+labels] += 1e-3 * (r.number("jit_generation_time") + r.number("jit_inlining_time") +
					r.number("jit_optimization_time") + r.number("jit_emission_time"))
			}
			n, mean, deviation := r.number("calls"), r.number("mean_exec_time")/1000, r.number("stddev_exec_time")/1000
			calls, total, squares = calls+n, total+n*mean, squares+n*(deviation*deviation+mean*mean)
			longest = max(longest, r.number("max_exec_time")/1000)
		}
		sums["pg_stat_statements_seconds_total"+labels] = total
		mean := total / calls
		sums["pg_reliability_statements_mean_seconds"+labels] = mean
		sums["pg_reliability_statements_max_seconds"+labels] = longest
		sums["pg_reliability_statements_stddev_seconds"+labels] = math.Sqrt(max(0, squares/calls-mean*mean))
	}
	return sums
}

func TestIOAgreesWithTheServer(t *testing.T) {
	t.Parallel()
	for _, timing := range []string{"on", "off"} {
		t.Run("timing "+timing, func(t *testing.T) {
			settings := map[string]string{"track_io_timing": timing}
			pgtest.EachVersion(t, pgtest.Options{Settings: settings}, func(t *testing.T, c *pgtest.Cluster) {
				conn := connectSuper(t, c, "postgres")
				if c.Install.Major < 16 {
					if got := ask(t, c, "postgres", "stat_io"); len(got) != 0 {
						t.Errorf("there is no pg_stat_io, and %v", got)
					}
					return
				}
				must(t, c.Exec(t.Context(), "CREATE TABLE t AS SELECT generate_series(1, 100000) AS id", "VACUUM t", "CHECKPOINT"))
				agrees(t, c, "stat_io", func() map[string]float64 { return ioOf(rowsOf(t, conn, "pg_stat_io"), timing == "on") })
			})
		})
	}
}

// ioOf is what a page says of pg_stat_io. WAL is timed where a setting of its own says so, which the test leaves off.
func ioOf(rows []row, timed bool) map[string]float64 {
	out := map[string]float64{}
	for _, r := range rows {
		labels := fmt.Sprintf("|backend_type=%q|object=%q|context=%q", r.text("backend_type"), r.text("object"), r.text("context"))
		for column, value := range r {
			v, ok := value.(float64)
			name, _, _ := strings.Cut(column, "_")
			switch {
			case !ok || column == "op_bytes" || column == "writebacks" || column == "writeback_time":
			case strings.HasSuffix(column, "_time"):
				if timed && r.text("object") != "wal" {
					out["pg_reliability_io_"+name+"_seconds_total"+labels] = v / 1000
				}
			case strings.HasSuffix(column, "_bytes"):
				out["pg_reliability_io_"+column+"_total"+labels] = v
			default:
				out["pg_reliability_io_"+column+"_total"+labels] = v
				if block, before18 := r["op_bytes"].(float64); before18 && (column == "reads" || column == "writes" || column == "extends") {
					out["pg_reliability_io_"+strings.TrimSuffix(column, "s")+"_bytes_total"+labels] = v * block
				}
			}
		}
	}
	return out
}

func TestSLRUsAgreeWithTheServer(t *testing.T) {
	t.Parallel()
	pgtest.EachVersion(t, pgtest.Options{}, func(t *testing.T, c *pgtest.Cluster) {
		conn := connectSuper(t, c, "postgres")
		must(t, c.Exec(t.Context(), "CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)", "NOTIFY somebody, 'x'", "CHECKPOINT"))
		since17 := map[string]string{"CommitTs": "commit_timestamp", "MultiXactMember": "multixact_member",
			"MultiXactOffset": "multixact_offset", "Notify": "notify", "Serial": "serializable", "Subtrans": "subtransaction", "Xact": "transaction"}
		agrees(t, c, "slru", func() map[string]float64 {
			out := map[string]float64{}
			for _, r := range rowsOf(t, conn, "pg_stat_slru") {
				for column, metric := range map[string]string{"blks_hit": "hits", "blks_read": "reads", "blks_written": "writes",
					"blks_zeroed": "zeroed", "flushes": "flushes", "truncates": "truncates"} {
					out[fmt.Sprintf("pg_reliability_slru_%s_total|slru=%q", metric, cmp.Or(since17[r.text("name")], r.text("name")))] = r.number(column)
				}
			}
			return out
		})
	})
}

// Of several vacuums in one phase the page counts all, and shows the share of the one that is least far and the age of the oldest.
func TestProgressAgreesWithTheServer(t *testing.T) {
	t.Parallel()
	pgtest.EachVersion(t, pgtest.Options{}, func(t *testing.T, c *pgtest.Cluster) {
		must(t, c.Exec(t.Context(), "CREATE DATABASE other", "CREATE TABLE small AS SELECT generate_series(1, 50000) AS id",
			"CREATE TABLE large AS SELECT generate_series(1, 200000) AS id"))
		must(t, c.ExecIn(t.Context(), "other", "CREATE TABLE apart AS SELECT generate_series(1, 100000) AS id"))
		for table, database := range map[string]string{"small": "postgres", "large": "postgres", "apart": "other"} {
			meanwhile(t, hold(t, c, database, "SET vacuum_cost_delay = '100ms'", "SET vacuum_cost_limit = 1"), statement("VACUUM "+table))
		}
		conn := connectSuper(t, c, "postgres")
		pgtest.Eventually(t, 20*time.Second, func() error {
			if n := len(rowsOf(t, conn, "(SELECT FROM pg_stat_progress_vacuum WHERE heap_blks_scanned > 0)")); n != 3 {
				return fmt.Errorf("%d vacuums are under way", n)
			}
			return nil
		})
		agrees(t, c, "progress", func() map[string]float64 { return vacuumsOf(t, conn) })
	})
}

func vacuumsOf(t *testing.T, conn *pgx.Conn) map[string]float64 {
	t.Helper()
	ages := map[float64]float64{}
	for _, r := range rowsOf(t, conn, "(SELECT pid, extract(epoch FROM clock_timestamp() - query_start) AS age FROM pg_stat_activity)") {
		ages[r.number("pid")] = r.number("age")
	}
	out := map[string]float64{}
	for _, r := range rowsOf(t, conn, "pg_stat_progress_vacuum") {
		labels := fmt.Sprintf(`|operation="vacuum"|datname=%q|phase=%q`, r.text("datname"), r.text("phase"))
		share, oldest := "pg_reliability_progress_done_ratio"+labels, "pg_reliability_progress_oldest_seconds"+labels
		out["pg_reliability_progress_running"+labels]++
		out[oldest] = max(out[oldest], ages[r.number("pid")])
		done := r.number("heap_blks_scanned") / r.number("heap_blks_total")
		if least, ok := out[share]; !ok || done < least {
			out[share] = done
		}
	}
	return out
}

func TestWaitEventsAgreeWithTheServer(t *testing.T) {
	t.Parallel()
	pgtest.EachVersion(t, pgtest.Options{}, func(t *testing.T, c *pgtest.Cluster) {
		must(t, c.Exec(t.Context(), "CREATE TABLE locked ()"))
		hold(t, c, "postgres", "SELECT 1") // idle
		hold(t, c, "postgres", "BEGIN")
		hold(t, c, "postgres", "BEGIN", "LOCK TABLE locked")
		for range 2 {
			meanwhile(t, connectSuper(t, c, "postgres"), statement("SELECT pg_sleep(600)"))
			meanwhile(t, connectSuper(t, c, "postgres"), statement("SELECT FROM locked"))
		}
		conn := connectSuper(t, c, "postgres")
		t.Cleanup(func() { // behind those who wait, whose sessions end with the test
			_ = c.Exec(context.Background(),
				"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()")
		})
		count := func() map[string]float64 {
			out := map[string]float64{}
			for _, r := range rowsOf(t, conn, "pg_stat_activity") {
				kind, event := r.text("wait_event_type"), r.text("wait_event")
				if kind == "" || kind == "Activity" || event == "ClientRead" && r.text("state") == "idle" {
					continue
				}
				out[fmt.Sprintf("pg_reliability_wait_event_processes|wait_event_type=%q|wait_event=%q", kind, event)]++
			}
			return out
		}
		pgtest.Eventually(t, 20*time.Second, func() error {
			got := count()
			for _, event := range []string{"Timeout\"|wait_event=\"PgSleep", "Lock\"|wait_event=\"relation", "Client\"|wait_event=\"ClientRead"} {
				if n := got[`pg_reliability_wait_event_processes|wait_event_type="`+event+`"`]; n != 2 {
					return fmt.Errorf("%v processes wait for %s: %v", n, event, got)
				}
			}
			return nil
		})
		agrees(t, c, "wait_events", count)
	})
}
