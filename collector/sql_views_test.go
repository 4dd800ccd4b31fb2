package collector

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// view is one of the server's, of which a collector shows columns as they are: those of same under their own name after prefix, those
// of named under the name there. What the server's version does not have is not compared.
type view struct {
	collector, from, labels, prefix, same, suffix string
	named                                         map[string]string
}

// TestViewsAgreeWithTheServer compares each value of the collectors that show a view of the server, one column a metric, with that view.
func TestViewsAgreeWithTheServer(t *testing.T) {
	t.Parallel()
	settings := map[string]string{"track_io_timing": "on", "wal_level": "logical", "archive_mode": "on", "archive_command": "'false'",
		"work_mem": "'64kB'", "logical_decoding_work_mem": "'64kB'", "autovacuum": "off"}
	pgtest.EachVersion(t, pgtest.Options{Settings: settings}, func(t *testing.T, c *pgtest.Cluster) {
		if c.Install.Major >= 14 {
			must(t, c.Exec(t.Context(), "ALTER SYSTEM SET track_wal_io_timing = on", "SELECT pg_reload_conf()"))
		}
		must(t, c.Exec(t.Context(), "CREATE TABLE t AS SELECT g AS id, g AS v FROM generate_series(1, 20000) AS g", "CREATE INDEX i ON t (id)",
			"CREATE INDEX unused ON t (v)", "CREATE TABLE wide AS SELECT string_agg(md5(g::text), '') AS text FROM generate_series(1, 5000) AS g",
			"UPDATE t SET v = 3 WHERE id < 200", "UPDATE t SET v = 3 WHERE id < 50", "DELETE FROM t WHERE id > 19990",
			"INSERT INTO t VALUES (1, 1)", "VACUUM t", "ANALYZE t", "ANALYZE t", "INSERT INTO t SELECT generate_series(1, 30), 7",
			"SET enable_seqscan = off", "SELECT v FROM t WHERE id = 5", "SELECT text FROM wide", "RESET enable_seqscan",
			"SELECT count(*) FROM (SELECT * FROM t ORDER BY v DESC, id OFFSET 0) AS sorted", "CHECKPOINT",
			"SELECT pg_create_logical_replication_slot('decoded', 'test_decoding')",
			"INSERT INTO t SELECT generate_series(1, 5000), 8", "BEGIN", "ROLLBACK", "SELECT pg_logical_slot_get_changes('decoded', NULL, NULL)",
			"SELECT pg_switch_wal()"))
		conn := connectSuper(t, c, "postgres")
		views := viewsOf(c.Install.Major)
		if c.Install.Major >= 14 {
			views = append(views, viewOfSlots())
		}
		for _, v := range views {
			if v.collector != "stat_wal" || c.Install.Major >= 14 {
				agrees(t, c, v.collector, func() map[string]float64 { return v.values(rowsOf(t, conn, v.from)) })
			}
		}
		has(t, ask(t, c, "postgres", "stat_user_tables"), map[string]float64{ // not all is 0
			`pg_stat_user_tables_n_tup_upd|datname="postgres"|schemaname="public"|relname="t"`: 248,
			`pg_stat_user_tables_n_tup_del|datname="postgres"|schemaname="public"|relname="t"`: 10,
		})
		if c.Install.Major >= 14 && ask(t, c, "postgres", "stat_replication_slots")[`pg_reliability_slot_spilled_bytes_total|slot_name="decoded"`] == 0 {
			t.Error("nothing was spilled")
		}
	})
}

// values are the view's, by series.
func (v view) values(rows []row) map[string]float64 {
	names := map[string]string{}
	for _, column := range strings.Fields(v.same) {
		names[column] = v.prefix + column + v.suffix
	}
	maps.Copy(names, v.named)
	out := map[string]float64{}
	for _, r := range rows {
		labels := ""
		for _, l := range strings.Fields(v.labels) {
			text := r.text(l)
			if number, ok := r[l].(float64); ok {
				text = strconv.FormatFloat(number, 'f', -1, 64)
			}
			labels += fmt.Sprintf("|%s=%q", l, text)
		}
		for column, name := range names {
			if is, known := r.value(column, strings.HasSuffix(name, "_seconds_total")); known {
				out[name+labels] = is
			}
		}
	}
	return out
}

// value is a number, or the seconds since 1970 of a time. Of milliseconds it makes seconds where those are asked for.
func (r row) value(column string, seconds bool) (is float64, known bool) {
	switch v := r[column].(type) {
	case float64:
		if seconds {
			v /= 1000
		}
		return v, true
	case string:
		at, err := time.Parse(time.RFC3339, v)
		return float64(at.UnixMicro()) / 1e6, err == nil
	}
	return 0, false
}

func viewsOf(major int) []view {
	bgwriter := view{collector: "stat_bgwriter", from: "pg_stat_bgwriter", prefix: "pg_stat_bgwriter_", suffix: "_total",
		same: "checkpoints_timed checkpoints_req checkpoint_write_time checkpoint_sync_time buffers_checkpoint buffers_clean " +
			"maxwritten_clean buffers_backend buffers_backend_fsync buffers_alloc stats_reset"}
	checkpoints := view{collector: "stat_checkpointer", from: "pg_stat_bgwriter", named: map[string]string{
		"checkpoint_write_time": "pg_reliability_checkpoint_write_seconds_total",
		"checkpoint_sync_time":  "pg_reliability_checkpoint_sync_seconds_total"}}
	if major >= 17 {
		written := "sum(coalesce(writes, 0) + coalesce(extends, 0))"
		if major >= 18 {
			written = "sum(coalesce(write_bytes, 0) + coalesce(extend_bytes, 0)) / 8192"
		}
		bgwriter.from = "(SELECT b.*, c.num_timed AS checkpoints_timed, c.num_requested AS checkpoints_req, c.write_time AS " +
			"checkpoint_write_time, c.sync_time AS checkpoint_sync_time, c.buffers_written AS buffers_checkpoint, " +
			"(SELECT " + written + " FROM pg_stat_io WHERE object = 'relation' AND backend_type !~ '^(checkpointer|background writer)$') " +
			"AS buffers_backend, (SELECT sum(fsyncs) FROM pg_stat_io WHERE object = 'relation' AND backend_type !~ " +
			"'^(checkpointer|background writer)$') AS buffers_backend_fsync FROM pg_stat_bgwriter AS b, pg_stat_checkpointer AS c)"
		checkpoints = view{collector: "stat_checkpointer", prefix: "pg_stat_checkpointer_", suffix: "_total",
			from: "(SELECT *, write_time AS write_ms, sync_time AS sync_ms FROM pg_stat_checkpointer)",
			same: "num_timed num_requested restartpoints_timed restartpoints_req restartpoints_done write_time sync_time buffers_written " +
				"stats_reset",
			named: map[string]string{"write_ms": "pg_reliability_checkpoint_write_seconds_total",
				"sync_ms":  "pg_reliability_checkpoint_sync_seconds_total",
				"num_done": "pg_reliability_checkpoint_done_total", "slru_written": "pg_reliability_checkpoint_slru_buffers_written_total"}}
	}
	return append(viewsOfTables(), bgwriter, checkpoints, viewOfWAL(major),
		view{collector: "stat_archiver", from: "(SELECT *, extract(epoch FROM now() - last_archived_time) AS age, (last_failed_time IS NOT NULL" +
			" AND last_failed_time > coalesce(last_archived_time, '-infinity'))::int AS failing, 1 AS enabled FROM pg_stat_archiver)",
			prefix: "pg_stat_archiver_", same: "archived_count failed_count", named: map[string]string{
				"age": "pg_stat_archiver_last_archive_age", "failing": "pg_reliability_archiver_failing",
				"last_archived_time": "pg_reliability_archiver_last_archived_timestamp_seconds",
				"last_failed_time":   "pg_reliability_archiver_last_failed_timestamp_seconds",
				"stats_reset":        "pg_reliability_archiver_stats_reset_timestamp_seconds", "enabled": "pg_reliability_archiver_enabled"}},
		view{collector: "stat_database", from: "(SELECT *, blk_read_time AS read_ms, blk_write_time AS write_ms FROM pg_stat_database WHERE " +
			"datname <> '')", labels: "datid datname", prefix: "pg_stat_database_",
			same: "numbackends xact_commit xact_rollback blks_read blks_hit tup_returned tup_fetched tup_inserted tup_updated tup_deleted " +
				"conflicts temp_files temp_bytes deadlocks blk_read_time blk_write_time stats_reset",
			named: map[string]string{"read_ms": "pg_reliability_database_read_seconds_total",
				"write_ms": "pg_reliability_database_write_seconds_total", "active_time": "pg_stat_database_active_time_seconds_total",
				"session_time":               "pg_reliability_database_session_seconds_total",
				"idle_in_transaction_time":   "pg_reliability_database_idle_in_transaction_seconds_total",
				"sessions":                   "pg_reliability_database_sessions_total",
				"sessions_abandoned":         "pg_reliability_database_sessions_abandoned_total",
				"sessions_fatal":             "pg_reliability_database_sessions_fatal_total",
				"sessions_killed":            "pg_reliability_database_sessions_killed_total",
				"parallel_workers_to_launch": "pg_reliability_database_parallel_workers_planned_total",
				"parallel_workers_launched":  "pg_reliability_database_parallel_workers_launched_total"}},
		view{collector: "stat_database_conflicts", from: "pg_stat_database_conflicts", labels: "datid datname",
			prefix: "pg_stat_database_conflicts_",
			same:   "confl_tablespace confl_lock confl_snapshot confl_bufferpin confl_deadlock confl_active_logicalslot"},
		view{collector: "database_wraparound", labels: "datname", from: "(SELECT datname, age(datfrozenxid) AS x, age(datfrozenxid) AS " +
			"xid_age, mxid_age(datminmxid) AS m, mxid_age(datminmxid) AS mxid_age, age(datfrozenxid) / 2144483648.0 AS xid_ratio, " +
			"mxid_age(datminmxid) / 2144483648.0 AS mxid_ratio, age(datfrozenxid) / 200e6 AS xid_autovacuum_ratio, " +
			"mxid_age(datminmxid) / 400e6 AS mxid_autovacuum_ratio FROM pg_database)",
			prefix: "pg_reliability_wraparound_", same: "xid_age mxid_age xid_ratio mxid_ratio xid_autovacuum_ratio mxid_autovacuum_ratio",
			named: map[string]string{"x": "pg_database_wraparound_age_datfrozenxid_seconds",
				"m": "pg_database_wraparound_age_datminmxid_seconds"}},
	)
}

func viewOfWAL(major int) view {
	v := view{collector: "stat_wal", from: "pg_stat_wal", named: map[string]string{"wal_records": "pg_reliability_wal_records_total",
		"wal_fpi": "pg_reliability_wal_full_page_images_total", "wal_fpi_bytes": "pg_reliability_wal_full_page_image_bytes_total",
		"wal_bytes": "pg_reliability_wal_generated_bytes_total", "wal_buffers_full": "pg_reliability_wal_buffers_full_total",
		"wal_write": "pg_reliability_wal_writes_total", "wal_sync": "pg_reliability_wal_syncs_total",
		"wal_write_time": "pg_reliability_wal_write_seconds_total", "wal_sync_time": "pg_reliability_wal_sync_seconds_total"}}
	if major >= 18 {
		v.from = "(SELECT w.*, i.* FROM pg_stat_wal AS w, (SELECT sum(writes) AS wal_write, sum(fsyncs) AS wal_sync, sum(write_time) AS " +
			"wal_write_time, sum(fsync_time) AS wal_sync_time FROM pg_stat_io WHERE object = 'wal' AND context = 'normal') AS i)"
	}
	return v
}

func viewsOfTables() []view {
	in := func(name string) string { return "(SELECT *, current_database() AS datname FROM " + name + ")" }
	const tables, indexes = "datname schemaname relname", "datname schemaname relname indexrelname"
	return []view{
		{collector: "stat_user_tables", labels: tables, prefix: "pg_stat_user_tables_",
			from: "(SELECT *, current_database() AS datname, pg_indexes_size(relid) AS index_size_bytes, pg_table_size(relid) AS table_size_bytes " +
				"FROM pg_stat_user_tables)",
			same: "seq_scan seq_tup_read idx_scan idx_tup_fetch n_tup_ins n_tup_upd n_tup_del n_tup_hot_upd n_live_tup n_dead_tup " +
				"n_mod_since_analyze last_vacuum last_autovacuum last_analyze last_autoanalyze vacuum_count autovacuum_count analyze_count " +
				"autoanalyze_count index_size_bytes table_size_bytes"},
		{collector: "user_tables_detail", labels: tables, prefix: "pg_reliability_table_",
			from: "(SELECT s.*, current_database() AS datname, age(c.relfrozenxid) AS xid_age FROM pg_stat_user_tables AS s JOIN pg_class AS c ON " +
				"c.oid = s.relid)",
			named: map[string]string{"n_ins_since_vacuum": "pg_reliability_table_rows_inserted_since_vacuum",
				"n_tup_newpage_upd":      "pg_reliability_table_rows_moved_total",
				"last_seq_scan":          "pg_reliability_table_last_sequential_scan_timestamp_seconds",
				"last_idx_scan":          "pg_reliability_table_last_index_scan_timestamp_seconds",
				"total_vacuum_time":      "pg_reliability_table_vacuum_seconds_total",
				"total_autovacuum_time":  "pg_reliability_table_autovacuum_seconds_total",
				"total_analyze_time":     "pg_reliability_table_analyze_seconds_total",
				"total_autoanalyze_time": "pg_reliability_table_autoanalyze_seconds_total"}, same: "xid_age"},
		{collector: "statio_user_tables", labels: tables, from: in("pg_statio_user_tables"), named: map[string]string{
			"heap_blks_read": "pg_statio_user_tables_heap_blocks_read", "heap_blks_hit": "pg_statio_user_tables_heap_blocks_hit",
			"idx_blks_read": "pg_statio_user_tables_idx_blocks_read", "idx_blks_hit": "pg_statio_user_tables_idx_blocks_hit",
			"toast_blks_read": "pg_statio_user_tables_toast_blocks_read", "toast_blks_hit": "pg_statio_user_tables_toast_blocks_hit",
			"tidx_blks_read": "pg_statio_user_tables_tidx_blocks_read", "tidx_blks_hit": "pg_statio_user_tables_tidx_blocks_hit"}},
		{collector: "stat_user_indexes", labels: indexes, prefix: "pg_stat_user_indexes_",
			from:  "(SELECT *, current_database() AS datname, pg_relation_size(indexrelid) AS size_bytes FROM pg_stat_user_indexes)",
			same:  "idx_scan idx_tup_read idx_tup_fetch size_bytes",
			named: map[string]string{"last_idx_scan": "pg_reliability_index_last_scan_timestamp_seconds"}},
		{collector: "statio_user_indexes", labels: indexes, prefix: "pg_statio_user_indexes_", suffix: "_total",
			from: in("pg_statio_user_indexes"), same: "idx_blks_read idx_blks_hit"},
	}
}

func viewOfSlots() view {
	return view{collector: "stat_replication_slots", from: "pg_stat_replication_slots", labels: "slot_name", named: map[string]string{
		"total_txns": "pg_reliability_slot_transactions_total", "total_bytes": "pg_reliability_slot_decoded_bytes_total",
		"spill_txns": "pg_reliability_slot_spilled_transactions_total", "spill_count": "pg_reliability_slot_spills_total",
		"spill_bytes": "pg_reliability_slot_spilled_bytes_total", "stream_txns": "pg_reliability_slot_streamed_transactions_total",
		"stream_count": "pg_reliability_slot_streams_total", "stream_bytes": "pg_reliability_slot_streamed_bytes_total",
		"mem_exceeded_count":  "pg_reliability_slot_memory_exceeded_total",
		"slotsync_skip_count": "pg_reliability_slot_sync_skips_total",
		"slotsync_last_skip":  "pg_reliability_slot_sync_last_skip_timestamp_seconds"}}
}
