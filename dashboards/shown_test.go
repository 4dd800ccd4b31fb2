package dashboards_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/declared"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/pages"
)

// onNoBoard are the metrics without a panel, by why they have none. A name stands for itself and for all that begin with it.
var onNoBoard = map[string][]string{
	"postgres_exporter's name: kept for boards and rules that ask for it; ours show the same under a name or unit of our own": {
		"pg_database_wraparound_age_", "pg_exporter_", "pg_locks_count", "pg_long_running_transactions", "pg_replication_last_replay_seconds",
		"pg_replication_slots_", "pg_stat_activity_max_tx_duration", "pg_stat_archiver_", "pg_stat_bgwriter_", "pg_stat_checkpointer_",
		"pg_stat_database_blk_", "pg_stat_progress_vacuum_", "pg_stat_replication_pg_current_wal_lsn_bytes", "pg_stat_wal_receiver_",
		"pg_wal_segments",
	},
	"of one table or index: a line for each of hundreds says nothing, who has a question about one asks for it by name": {
		"pg_reliability_index_last_scan_timestamp_seconds", "pg_reliability_table_", "pg_stat_user_indexes_", "pg_stat_user_tables_",
		"pg_statio_user_",
	},
	"how many objects have no series of their own, for whoever reads those by name": {
		"pg_reliability_partitioned_tables", "pg_reliability_sequences", "pg_reliability_user_indexes",
	},
	"absent until somebody resets the statistics, since PostgreSQL 15": {"pg_stat_database_stats_reset"},
	"an alert says it, with its words; a panel would be a flat line until then": {
		"pg_reliability_backup_age_limit_seconds", "pg_reliability_backup_auto_restore_", "pg_reliability_backup_catalog_",
		"pg_reliability_backup_previous_size_bytes", "pg_reliability_backup_schedule_interval_seconds",
		"pg_reliability_collector_denied", "pg_reliability_objective_rpo_seconds", "pg_reliability_objective_rto_seconds",
		"pg_reliability_status_page_info", "pg_reliability_watchdog_",
		"pg_reliability_tls_certificate_expiry_timestamp_seconds",
	},
	"the status page and the terminal show it, for one server at a time": {
		"pg_reliability_backup_info", "pg_reliability_backup_last_attempt_timestamp_seconds", "pg_reliability_container_",
		"pg_reliability_longest_outage_seconds", "pg_reliability_probe_reason",
		"pg_reliability_probe_timestamp_seconds", "pg_reliability_restart_kind_observable", "pg_reliability_up_reason",
	},
	"shown by its parts, its age, its rate, or as a share": {
		"pg_reliability_archiver_", "pg_reliability_backup_bytes", "pg_reliability_backup_last_rows",
		"pg_reliability_backup_last_verified_timestamp_seconds", "pg_reliability_backup_offsite_last_success_timestamp_seconds",
		"pg_reliability_checkpoint_", "pg_reliability_connections_", "pg_reliability_database_checksum_last_failure_timestamp_seconds",
		"pg_reliability_invalid_index_size_bytes", "pg_reliability_redundant_indexes_size_bytes", "pg_reliability_replication_client",
		"pg_reliability_server_version_number", "pg_reliability_slot_catalog_xmin_age_transactions", "pg_reliability_timeline",
		"pg_reliability_volume_", "pg_reliability_wal_", "pg_stat_database_conflicts_confl_active_logicalslot",
	},
	"of the exporter itself: for whoever looks for a fault in it, and for tests": {
		"pg_reliability_collections_", "pg_reliability_config_last_reload_success_timestamp_seconds",
		"pg_reliability_database_visit_errors_total",
		"pg_reliability_fleet_", "pg_reliability_pool_connections", "pg_reliability_probe_lateness_seconds",
		"pg_reliability_state_",
	},
	"absent while no worker runs, which the board shows; how far a subscriber is behind is shown by its heartbeats and by the slot": {
		"pg_reliability_subscription_last_message_timestamp_seconds",
	},
	"off unless a flag or an extension asks for it": {
		"pg_buffercache_summary_", "pg_reliability_hba_", "pg_reliability_settings_file_errors",
	},
	"detail of pg_stat_io, pg_stat_slru and the locks' fast path, off or of interest when IO is tuned: the board shows the bytes and " +
		"times": {
		"pg_reliability_io_", "pg_reliability_lock_fastpath_exceeded_total", "pg_reliability_slru_",
	},
	"of PostgreSQL 17, 18 or 19 alone, which few have: a panel would be empty for nearly all": {
		"pg_reliability_autovacuum_", "pg_reliability_data_checksums_switching", "pg_reliability_database_parallel_workers_",
		"pg_reliability_lock_wait", "pg_reliability_recovery_", "pg_reliability_slot_memory_exceeded_total", "pg_reliability_slot_sync_",
		"pg_reliability_slot_inactive_since_timestamp_seconds", "pg_reliability_statements_custom_plan_calls_total",
		"pg_reliability_statements_generic_plan_calls_total",
		"pg_reliability_subscription_conflicts_total",
	},
	"of PgBouncer 1.24 and newer, which the tests do not have": {
		"pgbouncer_databases_current_client_connections", "pgbouncer_databases_max_client_connections",
	},
}

// Every metric of ours is on a board, or it is said why not. What came to a board is taken off the list.
func TestEveryMetricIsOnABoardOrHasAReason(t *testing.T) {
	all, err := declared.All()
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, b := range shipped(t) {
		for _, p := range b.Panels {
			for _, q := range p.Targets {
				for _, s := range pages.Selectors(q.Expr) {
					for _, suffix := range []string{"", "_bucket", "_count", "_sum"} { // of histograms
						shown[strings.TrimSuffix(s.Metric, suffix)] = true
					}
				}
			}
		}
	}
	var hidden []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !shown[name] {
			hidden = append(hidden, name)
		}
	}
	for _, complaint := range unexplained(hidden, onNoBoard) {
		t.Error(complaint)
	}
	t.Logf("%d of %d metrics are on boards", len(all)-len(hidden), len(all))
}

// unexplained are hidden metrics without a reason, and reasons that are nobody's.
func unexplained(hidden []string, reasons map[string][]string) []string {
	var all []string
	explained := map[string]bool{}
	for _, why := range slices.Sorted(maps.Keys(reasons)) {
		for _, prefix := range reasons[why] {
			used := false
			for _, name := range hidden {
				if strings.HasPrefix(name, prefix) {
					explained[name], used = true, true
				}
			}
			if !used {
				all = append(all, fmt.Sprintf("%s is on a board, or is no metric: take it off onNoBoard", prefix))
			}
		}
	}
	for _, name := range hidden {
		if !explained[name] {
			all = append(all, name+" is on no board. HINT: Show it in a panel, or say in onNoBoard why not")
		}
	}
	return all
}

func TestAMetricWithoutAReasonIsNoticed(t *testing.T) {
	reasons := map[string][]string{"it rains": {"a_", "c"}}
	for name, tc := range map[string]struct {
		hidden []string
		want   string
	}{
		"all is explained":      {[]string{"a_1", "a_2", "c"}, ""},
		"one is not":            {[]string{"a_1", "b", "c"}, "b is on no board."},
		"one is shown by now":   {[]string{"a_1"}, "c is on a board, or is no metric"},
		"a word in the middle ": {[]string{"x_a_1", "a_1", "c"}, "x_a_1 is on no board."},
	} {
		if got := strings.Join(unexplained(tc.hidden, reasons), "\n"); !strings.HasPrefix(got, tc.want) || (got == "") != (tc.want == "") {
			t.Errorf("%s: %q", name, got)
		}
	}
}
