package pgbouncer_test

import (
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// show asks the console by psql, and returns the rows by column.
func show(t *testing.T, c *pgtest.Cluster, b *pgtest.PgBouncer, what string) (rows []map[string]string) {
	t.Helper()
	out, err := pgtest.Command(c.Install.Bin("psql"), "-X", "--csv", "-c", "SHOW "+what, b.DSN("stats", "pgbouncer")).Output()
	if err != nil {
		t.Fatalf("SHOW %s: %v", what, err)
	}
	records, err := csv.NewReader(strings.NewReader(string(out))).ReadAll()
	if err != nil || len(records) == 0 {
		t.Fatalf("SHOW %s: %v in %q", what, err, out)
	}
	for _, record := range records[1:] {
		row := map[string]string{}
		for i, column := range records[0] {
			row[column] = record[i]
		}
		rows = append(rows, row)
	}
	return rows
}

// shown is what the page is to say of the console's answers, without what is different each time anybody asks: the console's own clients.
func shown(t *testing.T, c *pgtest.Cluster, b *pgtest.PgBouncer) map[string]float64 {
	t.Helper()
	want := map[string]float64{}
	add := func(series, value string, scale float64) {
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Errorf("%s: %v", series, err)
		}
		want[series] += v * scale
	}
	for _, r := range show(t, c, b, "POOLS") {
		if r["database"] == "pgbouncer" {
			continue
		}
		labels := fmt.Sprintf(" database=%s user=%s", r["database"], r["user"])
		for column, metric := range map[string]string{"cl_active": "client_active", "cl_waiting": "client_waiting", "sv_active": "server_active",
			"sv_idle": "server_idle", "sv_used": "server_used", "sv_tested": "server_testing", "sv_login": "server_login"} {
			add("pgbouncer_pools_"+metric+"_connections"+labels, r[column], 1)
		}
		add("pgbouncer_pools_client_maxwait_seconds"+labels, r["maxwait"], 1)
		add("pgbouncer_pools_client_maxwait_seconds"+labels, r["maxwait_us"], 1e-6)
	}
	for _, r := range show(t, c, b, "DATABASES") {
		labels := fmt.Sprintf(" name=%s host=%s port=%s database=%s force_user=%s pool_mode=%s", r["name"], r["host"], r["port"], r["database"],
			r["force_user"], r["pool_mode"])
		for _, column := range []string{"pool_size", "min_pool_size", "max_connections", "current_connections", "paused", "disabled"} {
			add("pgbouncer_databases_"+column+labels, r[column], 1)
		}
	}
	for _, r := range show(t, c, b, "STATS_TOTALS") {
		labels := " database=" + r["database"]
		if r["database"] == "pgbouncer" {
			continue
		}
		add("pgbouncer_stats_sql_transactions_pooled_total"+labels, r["xact_count"], 1)
		add("pgbouncer_stats_queries_pooled_total"+labels, r["query_count"], 1)
		add("pgbouncer_stats_received_bytes_total"+labels, r["bytes_received"], 1)
		add("pgbouncer_stats_sent_bytes_total"+labels, r["bytes_sent"], 1)
		add("pgbouncer_stats_server_in_transaction_seconds_total"+labels, r["xact_time"], 1e-6)
		add("pgbouncer_stats_queries_duration_seconds_total"+labels, r["query_time"], 1e-6)
		add("pgbouncer_stats_client_wait_seconds_total"+labels, r["wait_time"], 1e-6)
	}
	lists := map[string]string{"databases": "databases", "users": "users", "pools": "pools",
		"used_servers": "used_servers", "dns_names": "cached_dns_names"}
	for _, r := range show(t, c, b, "LISTS") {
		if name := lists[r["list"]]; name != "" {
			add("pgbouncer_"+name, r["items"], 1)
		}
	}
	return want
}

// What the page says is what the console tells psql.
func TestThePageAgreesWithTheConsole(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	b := pg.PgBouncer(t, "pool_mode = transaction", "default_pool_size = 2", "min_pool_size = 1", "max_db_connections = 9")
	p := watch(t, b.DSN("stats", "postgres"))
	through(t, b, "SELECT pg_sleep(0.1)")
	through(t, b, "BEGIN")
	end := through(t, b, "BEGIN")
	waiting := make(chan struct{})
	go func() { defer close(waiting); through(t, b, "SELECT 1") }()
	pgtest.Eventually(t, 20*time.Second, func() error {
		before := shown(t, pg, b)
		values, err := page(t, p)
		if err != nil {
			return err
		}
		after := shown(t, pg, b)
		if before["pgbouncer_pools_client_waiting_connections database=postgres user="+pgtest.Superuser] != 1 {
			return fmt.Errorf("nobody waits: %v", before)
		}
		for series, least := range before {
			v, there := values[series]
			if !there || v < least-1e-9 || v > after[series]+1e-9 {
				return fmt.Errorf("%s = %v on the page (there: %v), and psql says %v before and %v after it", series, v, there, least, after[series])
			}
		}
		return nil
	})
	if err := end("ROLLBACK"); err != nil {
		t.Error(err)
	}
	<-waiting
}
