package dashboards

import (
	"fmt"
	"strings"
)

// capacity: what runs out, and when?
func capacity(s *sources) board {
	return board{
		uid: "pgr-capacity", title: "Capacity", known: "pg_up",
		about: "What runs out, and when? With several instances chosen, each number of the first row is the worst of theirs.",
		rows: []row{
			section("What runs out first?",
				across(4, diskUsed(s), diskFullIn(s), inodesFree(s), idsUsed(s, "xid", "Transaction"), idsUsed(s, "mxid", "Multixact"), volumeState(s)),
				across(4, deadRowsWorst(s), walOnDisk(), databasesSize(), checksumFailures(s), pendingRestart(s), checkpointsHourly(s)),
				across(4, idsLast(), sequencesUsed(s), invalidIndexes(s), unsafeSettings(s), recoveryWork().wide(8)),
			),
			section("Disk",
				across(8, diskUsedHistory(s), diskFree()),
				across(8, databaseSizes(), largestTables()),
			),
			section("Ids and vacuum",
				across(8, idsHistory(s), freezeDue(s), vacuumHorizon(s)),
				across(9, deadRows(s).wide(16), sequenceList(s)),
			),
			section("WAL, checkpoints and temporary files",
				across(8, walFiles(), walRate()),
				across(8, checkpointsHistory(s), checkpointTime()),
				across(8, tempFiles(s), buffersWritten()),
			),
			containerRow(s),
		},
	}
}

func diskUsed(s *sources) *panel {
	return stat("Disk used", "Of the fullest volume. Free space outside of pg_wal, never inside it.").
		query(`max(pgr:disk:used_ratio{$here})`, "").unit("percentunit").decimals(0).
		thresholds(s.above("disk_used_ticket_ratio", "disk_used_page_ratio")).none("no volume known").runbooks(s, "PostgresDiskFull")
}

func inodesFree(s *sources) *panel {
	return stat("Inodes free", "Of the volume with the fewest. Without one no file can be created, whatever space there is.").
		query(`min(pg_reliability_volume_inodes_free{$here} / pg_reliability_volume_inodes{$here})`, "").unit("percentunit").decimals(0).
		thresholds(s.below("inodes_free_ratio", "")).none("no limit known").runbooks(s, "PostgresInodesLow")
}

func idsUsed(s *sources, kind, name string) *panel {
	return stat(name+" ids used", "Of the database nearest to the end; at 100 % the server refuses to write. Vacuum gives them back: find "+
		"what holds it up.").
		query(fmt.Sprintf(`max(pg_reliability_wraparound_%s_ratio{$here})`, kind), "").unit("percentunit").decimals(1).
		thresholds(s.above("wraparound_ticket_ratio", "wraparound_page_ratio")).none("unknown").
		runbooks(s, map[string]string{"xid": "PostgresWraparoundXID", "mxid": "PostgresWraparoundMXID"}[kind], "PostgresFreezeOverdue")
}

func idsLast() *panel {
	return stat("Ids last for", "At the pace of the time shown, of the database that runs out first: then it refuses to write. Look at a "+
		"day or more, as each vacuum sets it back.").
		query(fmt.Sprintf(`min((1 - pg_reliability_wraparound_xid_ratio{$here}) / (deriv(pg_reliability_wraparound_xid_ratio{$here}[$__range]) > 0) < %d)
  or 0 * max(pg_reliability_wraparound_xid_ratio{$here}) - 1`, farAway), "").
		unit("s").decimals(0).word(-1, "not soon", neutral).thresholds(plain(neutral)).none("unknown")
}

func volumeState(s *sources) *panel {
	return stat("Volumes", "WRITABLE: all of them. READ-ONLY: the kernel switches a file system so after an error. NO ANSWER: missing, or "+
		"it hangs.").
		query(`max(2 * (pg_reliability_volume_success{$here} == bool 0) or pg_reliability_volume_read_only{$here})`, "").
		word(0, "WRITABLE", fine).word(1, "READ-ONLY", page).word(2, "NO ANSWER", page).none("no volume known").
		runbooks(s, "PostgresVolumeReadOnly", "PostgresVolumeUnreadable")
}

// deadRatio is of tables with so many dead rows that an alert would look at them.
func deadRatio(s *sources) string {
	return fmt.Sprintf(`pg_stat_user_tables_n_dead_tup{$here} / (pg_stat_user_tables_n_dead_tup{$here} + pg_stat_user_tables_n_live_tup{$here}) and pg_stat_user_tables_n_dead_tup{$here} > %.0f`,
		s.value("dead_rows_count"))
}

func deadRowsWorst(s *sources) *panel {
	return stat("Dead rows", "Share of the worst table with more than "+s.say("dead_rows_count")+
		" of them, in all databases that are visited. Autovacuum is behind, or a long transaction or a slot holds it up.").
		query("max("+deadRatio(s)+") or -1 * max((pg_reliability_user_tables{$here} > 0) > bool 0)", "").unit("percentunit").decimals(0).
		word(-1, "few", fine).thresholds(s.above("dead_rows_ratio", "")).none("unknown").runbooks(s, "PostgresAutovacuumBehind")
}

func walOnDisk() *panel {
	return stat("WAL on disk", "Of the server with the most. Much more than max_wal_size: a slot or a failing archive keeps it, see the "+
		"board Replication.").
		query(`max(pg_wal_size_bytes{$here})`, "").unit("bytes").decimals(1).none("unknown").leads("Replication", "pgr-replication")
}

func databasesSize() *panel {
	return stat("Databases", "All databases together.").query(`sum(pg_database_size_bytes{$here})`, "").unit("bytes").decimals(1).
		none("unknown")
}

func checksumFailures(s *sources) *panel {
	return stat("Checksum failures", "Blocks that were read and were not what was written, since statistics were reset. Any: the disk or "+
		"memory lies; save what can be read.").
		query(`sum(pg_stat_database_checksum_failures{$here}) or 0 * max(pg_reliability_data_checksums{$here} == 0) - 1`, "").unit("short").
		decimals(0).
		word(-1, "checksums are off", unknown).thresholds(from(1, page)).none("unknown").runbooks(s, "PostgresChecksumFailure")
}

func pendingRestart(s *sources) *panel {
	return stat("Settings pending a restart", "Changed in the files, in force at the next restart only, whoever causes it.").
		query(`sum(pg_reliability_settings_pending_restart{$here})`, "").unit("short").decimals(0).thresholds(from(1, ticket)).
		none("unknown").runbooks(s, "PostgresPendingRestart")
}

func unsafeSettings(s *sources) *panel {
	return stat("Unsafe settings", "fsync, full_page_writes, autovacuum or track_counts is off: a crash can destroy the server, or ids "+
		"run out.").
		query(`sum(pg_reliability_setting_unsafe{$here})`, "").unit("short").decimals(0).thresholds(from(1, ticket)).
		none("unknown").runbooks(s, "PostgresUnsafeSetting")
}

func vacuumHorizon(s *sources) *panel {
	return series("Vacuum held back by", "Age of the oldest transaction whose rows somebody may still need, against "+
		"autovacuum_freeze_max_age. A slot_catalog holds back the catalogues alone.").
		query(`max by (job, cluster, instance, holder) (pg_reliability_vacuum_horizon_autovacuum_ratio{$here})`, "{{instance}} {{holder}}").
		unit("percentunit").thresholds(s.above("horizon_ratio", "")).none("unknown").runbooks(s, "PostgresVacuumHeldBack")
}

func checkpointsHourly(s *sources) *panel {
	return stat("Requested checkpoints/h", "Over the time shown. More than "+s.say("checkpoints_requested_count")+
		": max_wal_size is too small for the load.").
		query(`max(3600 / $__range_s * increase(pg_stat_bgwriter_checkpoints_req_total{$here}[$__range]))`, "").unit("short").decimals(1).
		thresholds(s.above("checkpoints_requested_count", "")).none("unknown").runbooks(s, "PostgresCheckpointsFrequent")
}

func diskUsedHistory(s *sources) *panel {
	return series("Disk used", fmt.Sprintf("Lines: a ticket at %s, a page at %s. A trend to full within %s or %s alerts as well, once less "+
		"than %s is free.", s.say("disk_used_ticket_ratio"),
		s.say("disk_used_page_ratio"), s.say("disk_fills_ticket_seconds"), s.say("disk_fills_page_seconds"), s.say("disk_fills_below_ratio"))).
		query(`pgr:disk:used_ratio{$here}`, "{{instance}} {{volume}}").unit("percentunit").max(1).
		thresholds(s.above("disk_used_ticket_ratio", "disk_used_page_ratio")).none("no volume known").
		runbooks(s, "PostgresDiskFull", "PostgresDiskFillsSoon")
}

func diskFree() *panel {
	return series("Disk free", "What PostgreSQL, not being root, can still use; and what a day later would be left of it at the pace of "+
		"the time shown.").
		query(`pg_reliability_volume_available_bytes{$here}`, "{{instance}} {{volume}}").
		// The pace is calculated once: at each step of a month's graph it would take minutes.
		query(fmt.Sprintf(`clamp_min(pg_reliability_volume_available_bytes{$here} + %d * deriv(pg_reliability_volume_available_bytes{$here}[$__range] @ end()), 0)`, day), "a day later {{instance}} {{volume}}").of("B", lineStyle(4, 4)).
		unit("bytes").none("no volume known")
}

func databaseSizes() *panel {
	return series("Size of databases", "Find which one grows: the ten largest.").
		query(`pg_database_size_bytes{$here, datname!~"template[01]"} and topk(10, pg_database_size_bytes{$here, datname!~"template[01]"} @ end())`, "{{instance}} {{datname}}").unit("bytes").none("unknown")
}

func largestTables() *panel {
	return bars("Largest tables", "With their indexes, in all databases that are visited.").
		query(`topk(10, sum by (job, cluster, instance, datname, schemaname, relname) (pg_stat_user_tables_table_size_bytes{$here} + pg_stat_user_tables_index_size_bytes{$here}))`, "{{relname}} ({{instance}})").
		unit("bytes").none("no tables known")
}

func idsHistory(s *sources) *panel {
	return series("Ids used", "Transaction and multixact ids of the worst database. It falls when vacuum has frozen old rows.").
		query(`max by (job, cluster, instance) (pg_reliability_wraparound_xid_ratio{$here})`, "transactions {{instance}}").
		query(`max by (job, cluster, instance) (pg_reliability_wraparound_mxid_ratio{$here})`, "multixacts {{instance}}").
		of("B", lineStyle(4, 4)).
		unit("percentunit").max(1).thresholds(s.above("wraparound_ticket_ratio", "wraparound_page_ratio")).none("unknown").
		runbooks(s, "PostgresWraparoundXID", "PostgresWraparoundMXID")
}

func freezeDue(s *sources) *panel {
	return series("Freezing overdue", "The eight databases that are nearest to it. Age of the oldest id against what autovacuum lets it "+
		"become. Above 1 a forced vacuum is due; above "+s.say("freeze_overdue_factor")+" something holds it up.").
		query(`topk(8, max by (job, cluster, instance, datname) (pg_reliability_wraparound_xid_autovacuum_ratio{$here}))`,
			"{{instance}} {{datname}}").
		query(`topk(8, max by (job, cluster, instance, datname) (pg_reliability_wraparound_mxid_autovacuum_ratio{$here}))`,
			"multixacts {{instance}} {{datname}}").of("B", lineStyle(4, 4)).
		unit("percentunit").thresholds(s.above("freeze_overdue_factor", "")).none("unknown").runbooks(s, "PostgresFreezeOverdue")
}

func deadRows(s *sources) *panel {
	worst := `topk(15, pg_stat_user_tables_n_dead_tup{$here})`
	latest := func(what string) string { // by hand or by autovacuum
		return strings.ReplaceAll(
			`((pg_stat_user_tables_last_WHAT{$here} >= pg_stat_user_tables_last_autoWHAT{$here}) or pg_stat_user_tables_last_autoWHAT{$here} or pg_stat_user_tables_last_WHAT{$here})`, "WHAT", what)
	}
	return table("Tables with the most dead rows", "In all databases that are visited. Share: of all rows, red above "+
		s.say("dead_rows_ratio")+" (an alert with more than "+s.say("dead_rows_count")+" of them). Not vacuumed in spite of many: look for a "+
		"long transaction, "+
		"a slot or a prepared transaction that holds vacuum up.").
		label("instance", "Instance").label("datname", "Database").label("schemaname", "Schema").label("relname", "Table").
		column("Dead rows", worst, unit("locale")).
		column("Share", `pg_stat_user_tables_n_dead_tup{$here} / (pg_stat_user_tables_n_dead_tup{$here} + pg_stat_user_tables_n_live_tup{$here} > 0) and `+worst,
			unit("percentunit"), property{"decimals", 0}, filled(), judged(s.above("dead_rows_ratio", ""))).
		column("Vacuumed", "1000 * ("+latest("vacuum")+" and "+worst+")", unit("dateTimeFromNow")).
		column("Analyzed", "1000 * ("+latest("analyze")+" and "+worst+")", unit("dateTimeFromNow")).
		column("Size", `pg_stat_user_tables_table_size_bytes{$here} and `+worst, unit("bytes")).
		sorted("Dead rows").none("no dead rows known").runbooks(s, "PostgresAutovacuumBehind")
}

func walFiles() *panel {
	return series("WAL on disk", "It grows to max_wal_size and stays there. Beyond: a slot, wal_keep_size or a failing archive keeps it.").
		query(`pg_wal_size_bytes{$here}`, "{{instance}}").query(`pg_settings_max_wal_size_bytes{$here}`, "max_wal_size {{instance}}").inOrder().
		of("B", lineStyle(4, 4)).
		unit("bytes").none("unknown")
}

// Checkpoints are minutes apart, and all of one's time is counted at its end: over one minute a single one would be 60
// an hour, and busy for several times that minute.
const (
	checkpointEvery = "5m" // by default; one that is requested in so much time stays below the line
	checkpointTimes = "15m"
)

func checkpointsHistory(s *sources) *panel {
	return series("Checkpoints per hour", "requested ones come early because max_wal_size is reached: above the line, "+
		s.say("checkpoints_requested_count")+", raise it.").
		query(`3600 * rate(pg_stat_bgwriter_checkpoints_req_total{$here}[$__rate_interval])`, "requested {{instance}}").every(checkpointEvery).
		query(`3600 * rate(pg_stat_bgwriter_checkpoints_timed_total{$here}[$__rate_interval])`, "timed {{instance}}").every(checkpointEvery).
		of("B", lineStyle(4, 4)).
		unit("short").thresholds(s.above("checkpoints_requested_count", "")).none("unknown").runbooks(s, "PostgresCheckpointsFrequent")
}

func checkpointTime() *panel {
	return series("Time in checkpoints", "Share of time spent writing and syncing. Writing is spread on purpose; much syncing means that "+
		"the disk can't keep up.").
		query(`rate(pg_reliability_checkpoint_write_seconds_total{$here}[$__rate_interval])`, "write {{instance}}").every(checkpointTimes).
		query(`rate(pg_reliability_checkpoint_sync_seconds_total{$here}[$__rate_interval])`, "sync {{instance}}").every(checkpointTimes).
		unit("percentunit").softMax(0.1).none("unknown")
}

func tempFiles(s *sources) *panel {
	return series("Temporary files", "Queries that don't fit work_mem write them: the eight databases with most. The line is the alert's, "+
		s.say("temp_bytes_per_second")+".").
		query(`topk(8, rate(pg_stat_database_temp_bytes{$here, datname!~"template[01]"}[$__rate_interval]))`, "{{instance}} {{datname}}").
		unit("binBps").
		thresholds(s.above("temp_bytes_per_second", "")).none("unknown").runbooks(s, "PostgresTempFiles")
}

func buffersWritten() *panel {
	return series("Buffers written by", "backends should be few: they write when nobody else made room, and queries wait for it.").
		query(`rate(pg_stat_bgwriter_buffers_checkpoint_total{$here}[$__rate_interval])`, "checkpoints {{instance}}").
		query(`rate(pg_stat_bgwriter_buffers_clean_total{$here}[$__rate_interval])`, "background writer {{instance}}").
		query(`rate(pg_stat_bgwriter_buffers_backend_total{$here}[$__rate_interval])`, "backends {{instance}}").
		unit("wps").none("unknown")
}
