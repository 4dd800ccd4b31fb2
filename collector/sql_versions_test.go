package collector

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"github.com/pg-reliability/pg_reliability_exporter/collector/definition"
	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// Whatever the definitions say is run as the role users give the exporter, on a primary and on a
// standby, on a server that is empty and then on one where every view has rows.
func TestEveryCollectorOnEveryVersion(t *testing.T) {
	t.Parallel()
	settings := map[string]string{
		"wal_level":                 "logical",
		"max_prepared_transactions": "10",
		"track_io_timing":           "on",
		"max_slot_wal_keep_size":    "'1GB'",
		"hot_standby_feedback":      "on",
		"archive_mode":              "on",
		"archive_command":           "'true'",
		"log_rotation_age":          "'1d'",
		"shared_preload_libraries":  "'pg_stat_statements'",
	}
	pgtest.EachVersion(t, pgtest.Options{Settings: settings, InitArgs: []string{"--data-checksums"}}, func(t *testing.T, c *pgtest.Cluster) {
		defs := embeddedDefinitions(t)
		seen := map[string]bool{}
		t.Run("empty", func(t *testing.T) { runAll(t, c, "postgres", defs, definition.RolePrimary, seen) })

		standby := inhabit(t, c)
		t.Run("primary", func(t *testing.T) {
			got := runAll(t, c, "postgres", defs, definition.RolePrimary, seen)
			checkPrimary(t, got)
			checkNames(t, got, defs)
		})
		t.Run("oddly named database", func(t *testing.T) { runAll(t, c, oddDatabase, defs, definition.RolePrimary, seen) })
		t.Run("standby", func(t *testing.T) {
			checkStandby(t, runAll(t, standby, "postgres", defs, definition.RoleStandby, seen))
			pgtest.Eventually(t, 10*time.Second, func() error { // until the last of it is replayed
				got := runAll(t, standby, "postgres", only(defs, "replication"), definition.RoleStandby, seen)
				if lag, ok := got["pg_replication_lag_seconds"]; !ok || lag != 0 {
					return fmt.Errorf("lag %v, %v of a standby that has everything", lag, ok)
				}
				return nil
			})
		})
		t.Run("every metric has a value somewhere", func(t *testing.T) { checkSeen(t, connectMonitor(t, c, "postgres"), defs, seen) })
		t.Run("without pg_monitor", func(t *testing.T) { checkWithoutPrivileges(t, c, defs) })
		t.Run("standby without its primary", func(t *testing.T) { checkCutOff(t, c, standby, defs) })
		t.Run("standby of an archive", func(t *testing.T) { checkWithoutLink(t, standby, defs) })
		t.Run("promoted standby", func(t *testing.T) { checkPromoted(t, standby, defs) })
	})
}

// checkPrimary compares values with what inhabit made.
func checkPrimary(t *testing.T, got map[string]float64) {
	odd := fmt.Sprintf("%q", oddDatabase)
	for series, want := range map[string]float64{
		`pg_replication_is_replica`:                                                   0,
		`pg_replication_lag_seconds`:                                                  0,
		`pg_reliability_replication_sync_required`:                                    0,
		`pg_reliability_replication_clients`:                                          1,
		`pg_reliability_prepared_transactions`:                                        1,
		`pg_reliability_blocked_sessions`:                                             2,
		`pg_reliability_blocking_sessions`:                                            2,
		`pg_reliability_blocking_idle_sessions`:                                       2,
		`pg_locks_count|datname="closed"|mode="sharelock"`:                            0,
		`pg_reliability_locks_waiting|datname="postgres"|mode="accessexclusivelock"`:  1,
		`pg_reliability_access_exclusive_relations_awaited|datname=` + odd:            1,
		`pg_reliability_access_exclusive_relations_held|datname=` + odd:               2,
		`pg_database_connection_limit|datname="denied"`:                               3,
		`pg_stat_activity_count|datname=` + odd + `|state="idle in transaction"`:      1,
		`pg_replication_slots_slot_is_active|slot_name="unused"|slot_type="physical"`: 0,
		`pg_replication_slots_active|slot_name="(temporary)"|database=""`:             1,
		`pg_reliability_timeline`:                                                     1,
		`pg_reliability_archiver_failing`:                                             1,
		`pg_reliability_archiver_enabled`:                                             1,
		`pg_reliability_user_tables|datname="postgres"`:                               12,
		`pg_settings_shared_buffers_bytes`:                                            16 << 20,
		`pg_settings_wal_segment_size_bytes`:                                          16 << 20,
		`pg_settings_checkpoint_timeout_seconds`:                                      300,
		`pg_settings_deadlock_timeout_seconds`:                                        1,
		`pg_settings_log_rotation_age_seconds`:                                        86400,
		`pg_settings_log_min_duration_statement_seconds`:                              -1,
		`pg_settings_max_connections`:                                                 50,
		`pg_settings_fsync`:                                                           0,
		`pg_settings_autovacuum_vacuum_scale_factor`:                                  0.2,
		`pg_reliability_settings_pending_restart`:                                     1,
		`pg_reliability_invalid_indexes|datname="postgres"`:                           1,
		`pg_reliability_sequences|datname="postgres"`:                                 1,
		`pg_reliability_roles_password_expired`:                                       0,
	} {
		if v, ok := got[series]; !ok || v != want {
			t.Errorf("%s = %v (there: %v), want %v", series, v, ok, want)
		}
	}
	table := `|datname="postgres"|schemaname="public"|relname=`
	for series, there := range map[string]bool{
		`pg_settings_statement_timeout_seconds`:                                                 false, // our session's hides the server's
		`pg_settings_default_transaction_read_only`:                                             false,
		`pg_settings_transaction_read_only`:                                                     false,
		`pg_settings_default_transaction_deferrable`:                                            true,
		`pg_replication_last_replay_seconds`:                                                    false,
		`pg_reliability_replication_streaming`:                                                  false,
		`pg_stat_user_tables_n_live_tup` + table + `"held"`:                                     true,
		`pg_stat_user_tables_table_size_bytes` + table + `"held"`:                               false,
		`pg_stat_user_tables_table_size_bytes` + table + `"indexed"`:                            false,
		`pg_stat_user_tables_table_size_bytes` + table + `"unlogged"`:                           true,
		`pg_stat_user_tables_last_vacuum` + table + `"unlogged"`:                                false,
		`pg_database_size_bytes|datname="denied"`:                                               true,
		`pg_database_size_bytes|datname="closed"`:                                               true,
		`pg_reliability_wraparound_xid_ratio|datname="template0"`:                               true,
		`pg_stat_database_checksum_failures|datid="0"|datname=""`:                               true,
		`pg_stat_database_xact_commit|datid="0"|datname=""`:                                     false,
		`pg_roles_connection_limit|rolname="role with \"quotes\""`:                              true,
		`pg_replication_slots_slot_confirmed_flush_lsn|slot_name="unused"|slot_type="physical"`: false,
	} {
		if _, ok := got[series]; ok != there {
			t.Errorf("%s is there: %v, want %v", series, ok, there)
		}
	}
}

// checkNames asks the linter behind `promtool check metrics`, in which a metric's help and type count too.
func checkNames(t *testing.T, got map[string]float64, defs []definition.Definition) {
	described := map[string]definition.Metric{}
	var prefixed []definition.Metric
	for _, d := range defs {
		for _, m := range d.Metrics {
			if m.Name == "" {
				prefixed = append(prefixed, m)
			}
			described[m.Name] = m
		}
	}
	families := map[string]*dto.MetricFamily{}
	for series := range got {
		name, _, _ := strings.Cut(series, "|")
		m, ok := described[name]
		if !ok {
			i := slices.IndexFunc(prefixed, func(m definition.Metric) bool { return strings.HasPrefix(name, m.NamePrefix) })
			m = prefixed[i]
		}
		families[name] = &dto.MetricFamily{Name: &name, Help: &m.Help, Type: (&metric.Desc{Name: name, Type: m.Type}).Exposed().Enum()}
	}
	problems, err := promlint.NewWithMetricFamilies(slices.Collect(maps.Values(families))).Lint()
	must(t, err)
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func checkStandby(t *testing.T, got map[string]float64) {
	for series, want := range map[string]float64{
		`pg_replication_is_replica`:                1,
		`pg_reliability_replication_streaming`:     1,
		`pg_reliability_replication_replay_paused`: 0,
		`pg_reliability_archiver_enabled`:          0,
		`pg_reliability_timeline`:                  1,
		`pg_stat_wal_receiver_upstream_node|upstream_host="127.0.0.1"|slot_name="repmgr_slot_7"|status="streaming"`: 7,
	} {
		if v, ok := got[series]; !ok || v != want {
			t.Errorf("%s = %v (there: %v), want %v", series, v, ok, want)
		}
	}
}

// A metric that never has a value is a mistake in its definition.
func checkSeen(t *testing.T, conn *pgx.Conn, defs []definition.Definition, seen map[string]bool) {
	causeCannotBeMade := []string{
		"pg_reliability_database_checksum_last_failure_timestamp_seconds",             // corrupted data
		"pg_stat_user_tables_last_autovacuum", "pg_stat_user_tables_last_autoanalyze", // minutes
		"pg_reliability_slot_sync_skipped", "pg_reliability_slot_sync_last_skip_timestamp_seconds", // a failover slot that can't be synced
		// of 19
		"pg_reliability_minor_releases_behind", "pg_reliability_minor_releases_known_timestamp_seconds", "pg_reliability_major_version_ended",
		"pg_reliability_md5_passwords", // needs more than pg_monitor
	}
	// in tests of their own
	apart := []string{"settings_files", "progress", "stat_progress_vacuum", "subscriptions", "subscription_conflicts", "subscription_tables"}
	version := serverVersion(t, conn)
	installed := installedExtensions(t, conn)
	for _, d := range defs {
		sql, ok := d.SQLFor(version)
		if _, usable := d.Requires.WithExtension(sql, installed); !ok || !usable || slices.Contains(apart, d.Name) {
			continue
		}
		for _, m := range d.MetricsFor(version) {
			if m.NamePrefix == "" && !seen[m.Name] && !slices.Contains(causeCannotBeMade, m.Name) {
				t.Errorf("%s: %s has no value anywhere", d.Name, m.Name)
			}
		}
	}
}

// Without pg_monitor nothing fails, and what the server hides is absent, not 0.
func checkWithoutPrivileges(t *testing.T, c *pgtest.Cluster, defs []definition.Definition) {
	must(t, c.Exec(context.Background(), "REVOKE pg_monitor FROM "+pgtest.Monitor))
	defer func() { must(t, c.Exec(context.Background(), "GRANT pg_monitor TO "+pgtest.Monitor)) }()
	needs := []string{"wal"} // lists directories: an error with reason permission
	var some []definition.Definition
	for _, d := range defs {
		if !slices.Contains(needs, d.Name) {
			some = append(some, d)
		}
	}
	got := runAll(t, c, "postgres", some, definition.RolePrimary, map[string]bool{})
	for series := range got {
		for _, hidden := range []string{"pg_stat_activity_", "pg_reliability_blocked_", "pg_reliability_connections_",
			"pg_reliability_backends", "pg_stat_replication_", "pg_reliability_oldest_", "pg_database_size_bytes|datname=\"denied\""} {
			if strings.HasPrefix(series, hidden) {
				t.Errorf("%s is there, though the server hides what it is made of", series)
			}
		}
	}
}

// A standby that has replayed all it has, and hears no more, is not up to date.
func checkCutOff(t *testing.T, primary, standby *pgtest.Cluster, defs []definition.Definition) {
	must(t, primary.Stop())
	var before float64
	pgtest.Eventually(t, 20*time.Second, func() error {
		got := runAll(t, standby, "postgres", only(defs, "replication"), definition.RoleStandby, map[string]bool{})
		lag, known := got["pg_replication_lag_seconds"]
		switch {
		case got["pg_reliability_replication_streaming"] != 0:
			return fmt.Errorf("still streaming")
		case !known || lag <= 0:
			return fmt.Errorf("lag %v, %v", lag, known)
		case before == 0:
			before = lag
			return fmt.Errorf("does the lag grow?")
		case lag <= before:
			return fmt.Errorf("the lag does not grow: %v, %v", before, lag)
		}
		return nil
	})
}

// A standby that is told of no primary has no link that could be cut; how old it is, it says.
func checkWithoutLink(t *testing.T, standby *pgtest.Cluster, defs []definition.Definition) {
	must(t, standby.Configure(map[string]string{"primary_conninfo": "''"}))
	must(t, standby.Reload())
	pgtest.Eventually(t, 20*time.Second, func() error {
		got := runAll(t, standby, "postgres", only(defs, "replication"), definition.RoleStandby, map[string]bool{})
		if v, ok := got["pg_reliability_replication_streaming"]; ok {
			return fmt.Errorf("streaming is %v", v)
		}
		if lag := got["pg_replication_lag_seconds"]; lag <= 0 {
			return fmt.Errorf("lag %v", lag)
		}
		return nil
	})
}

func checkPromoted(t *testing.T, standby *pgtest.Cluster, defs []definition.Definition) {
	must(t, standby.Exec(context.Background(), "SELECT pg_promote(true, 30)"))
	got := runAll(t, standby, "postgres", defs, definition.RolePrimary, map[string]bool{})
	for series, want := range map[string]float64{
		`pg_replication_is_replica`: 0, `pg_replication_lag_seconds`: 0, `pg_reliability_timeline`: 2, `pg_reliability_replication_clients`: 0,
	} {
		if v, ok := got[series]; !ok || v != want {
			t.Errorf("%s = %v (there: %v), want %v", series, v, ok, want)
		}
	}
	for _, series := range []string{"pg_replication_last_replay_seconds", "pg_reliability_replication_streaming"} {
		if _, ok := got[series]; ok {
			t.Errorf("%s is there on a primary", series)
		}
	}
}

func installedExtensions(t testing.TB, conn *pgx.Conn) map[string]definition.Extension {
	t.Helper()
	rows, err := query(conn, definition.InstalledSQL)
	must(t, err)
	found := map[string]definition.Extension{}
	for _, r := range rows.rows {
		found[*r[0]] = definition.Extension{Schema: *r[1], Version: *r[2]}
	}
	return found
}

func only(defs []definition.Definition, name string) []definition.Definition {
	i := slices.IndexFunc(defs, func(d definition.Definition) bool { return d.Name == name })
	return defs[i : i+1]
}

func embeddedDefinitions(t testing.TB) []definition.Definition {
	t.Helper()
	defs, err := Embedded()
	if err != nil {
		t.Fatal(err)
	}
	return defs
}

// runAll runs each collector that fits the server, checks what comes back, returns all series and
// notes the names of their metrics.
func runAll(t *testing.T, c *pgtest.Cluster, database string, defs []definition.Definition, role string,
	seen map[string]bool) map[string]float64 {
	t.Helper()
	conn := connectMonitor(t, c, database)
	defer func() { _ = conn.Close(context.Background()) }()
	version := serverVersion(t, conn)
	installed := installedExtensions(t, conn)
	all := map[string]float64{}
	for i := range defs {
		d := &defs[i]
		sql, ok := d.SQLFor(version)
		if !ok || d.Requires.Role != "" && d.Requires.Role != role {
			continue
		}
		if sql, ok = d.Requires.WithExtension(sql, installed); !ok {
			continue
		}
		sql, _ = d.OptionalFor(version).Without(sql, deniedFunctions(t, conn, d.OptionalFor(version)))
		rows, err := query(conn, sql)
		if err != nil {
			t.Errorf("%s: %v", d.Name, err)
			continue
		}
		series, problems := samples(d, version, rows)
		for _, problem := range problems {
			t.Errorf("%s: %s", d.Name, problem)
		}
		for key, v := range series {
			if _, twice := all[key]; twice {
				t.Errorf("%s: %s is another collector's", d.Name, key)
			}
			all[key] = v
			name, _, _ := strings.Cut(key, "|")
			seen[name] = true
		}
	}
	return all
}

// deniedFunctions are those of a query that the session's role may not call.
func deniedFunctions(t testing.TB, conn *pgx.Conn, optional definition.Optionals) map[string]bool {
	t.Helper()
	denied := map[string]bool{}
	if len(optional) == 0 {
		return denied
	}
	var functions []string
	for _, o := range optional {
		functions = append(functions, o.Function)
	}
	rows, err := query(conn, definition.DeniedSQL(functions))
	must(t, err)
	for _, r := range rows.rows {
		denied[*r[0]] = true
	}
	return denied
}

// A VACUUM of hours holds back nothing, and is no transaction to end; what holds back vacuum is, beside it.
func TestVacuumIsNoLongTransaction(t *testing.T) {
	t.Parallel()
	pgtest.EachVersion(t, pgtest.Options{}, func(t *testing.T, c *pgtest.Cluster) {
		must(t, c.Exec(context.Background(), "CREATE TABLE big AS SELECT generate_series(1, 200000) AS id"))
		vacuum := hold(t, c, "postgres", "SET vacuum_cost_delay = '100ms'", "SET vacuum_cost_limit = 1")
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = vacuum.Exec(ctx, "VACUUM big")
		}()
		defer func() { cancel(); <-done }()
		defs := only(embeddedDefinitions(t), "long_running_transactions")
		ages := func() (ours, all float64) {
			got := runAll(t, c, "postgres", defs, definition.RolePrimary, map[string]bool{})
			return got["pg_reliability_oldest_transaction_age_seconds"], got["pg_long_running_transactions_oldest_timestamp_seconds"]
		}
		pgtest.Eventually(t, 20*time.Second, func() error {
			if ours, all := ages(); all == 0 || ours != 0 {
				return fmt.Errorf("the oldest of all is %v, the oldest that holds back vacuum %v", all, ours)
			}
			return nil
		})
		hold(t, c, "postgres", "BEGIN", "SELECT 1")
		if ours, _ := ages(); ours == 0 {
			t.Error("a transaction beside the VACUUM is not seen")
		}
	})
}
