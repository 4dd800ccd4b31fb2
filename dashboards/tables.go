package dashboards

// tables: which tables and indexes are large, grow, are read as a whole, hold empty space, or are there for nothing?
func tables(s *sources) board {
	return board{
		uid: "pgr-tables", title: "Tables and indexes", known: "pg_up",
		about: "Which tables and indexes are large, grow, wait for vacuum, hold empty space, or are there for nothing? Of all databases that " +
			"are visited, the largest tables of each. " +
			"Where a server's tables are not known, its part of a number is missing: see the panel Not seen here.",
		rows: []row{
			section("Does a table or an index need me?",
				across(4, deadRowsWorst(s), idsUsed(s, "xid", "Transaction"), invalidIndexes(s), bloatOfTables(), unusedIndexes(), notSeenHere()),
			),
			section("Which are large, and which grow?",
				across(9, tableSizes().wide(14), tablesGrowing()),
			),
			section("How are they read?",
				across(9, tablesRead().wide(14), tablesReadWhole()),
			),
			section("Does vacuum keep up?",
				across(9, deadRows(s).wide(14), deadRowsHistory()),
				across(8, oldestTables(), autovacuumWorkers(), vacuumHorizon(s)),
			),
			section("How much of them is empty space?",
				across(9, tableBloat(), indexBloat()),
				across(6, notEstimated()),
			),
			section("Which indexes could go?",
				across(9, unusedList(), redundantList()),
			),
			section("What would a review of the schema find?",
				across(4,
					finding("Without a primary key", "Tables without one: a row can't be named, and logical replication sends no updates of it.",
						"pg_reliability_tables_without_primary_key"),
					finding("Foreign keys without an index", "Each delete of a row they refer to reads their whole table.",
						"pg_reliability_foreign_keys_without_index"),
					finding("Constraints never validated", "Added as NOT VALID: they hold for new rows alone. VALIDATE CONSTRAINT reads the table "+
						"without locking anybody out.", "pg_reliability_unvalidated_constraints"),
					finding("Unlogged tables", "They are empty after a crash, and on every standby.", "pg_reliability_unlogged_tables"),
					finding("Redundant indexes", "Another index of the same table does their work: the list above names it.",
						"pg_reliability_redundant_indexes"),
					finding("Rows in default partitions", "An estimate. A partition is missing for them, and making it has to read them all.",
						"pg_reliability_default_partitions_rows"),
				),
				across(9, findings().wide(10), partitionedTables()),
			),
		},
	}
}

// remarkable is for what no alert is about, and somebody should have looked at: none of it is no praise, as a server of which
// nothing is known adds nothing to it.
func remarkable() steps { return steps{{nil, neutral}, {1, ticket}} }

func finding(title, about, metric string) *panel {
	return stat(title, about).query("sum("+metric+"{$here})", "").unit("short").decimals(0).thresholds(remarkable()).none("unknown")
}

func bloatOfTables() *panel {
	return stat("Empty space", "Estimated, in the largest tables and btree indexes together. Space that is reused by what comes next is no "+
		"harm; compare it with how large they are.").
		query(`sum(pg_reliability_table_bloat_size_bytes{$here}) or 0 * max(pg_reliability_table_bloat_unreadable{$here} == 0 and pg_reliability_table_bloat_unanalyzed{$here} == 0)`, "tables").
		query(`sum(pg_reliability_index_bloat_size_bytes{$here}) or 0 * max(pg_reliability_index_bloat_unreadable{$here} == 0 and pg_reliability_index_bloat_unanalyzed{$here} == 0)`, "indexes").
		unit("bytes").decimals(1).none("unknown")
}

func unusedIndexes() *panel {
	return stat("Unused indexes", "They guard nothing and were not scanned on this server since its statistics were reset. Look at the "+
		"standbys as well before one is dropped.").
		query(`sum(pg_reliability_unused_indexes{$here})`, "indexes").of("A", unit("short"), property{"decimals", 0}).
		query(`sum(pg_reliability_unused_indexes_size_bytes{$here})`, "size").unit("bytes").decimals(1).none("unknown")
}

func notSeenHere() *panel {
	return stat("Not seen here", "Servers of whose tables nothing is known, databases that are not visited or whose newest visit failed, "+
		"and smaller tables without metrics of their own.").
		query(`count(pgr:target:known{$here} unless on (job, cluster, instance) pg_reliability_user_tables{$here}) or 0 * count(pgr:target:known{$here})`, "servers").
		query(`sum(pg_reliability_databases_left_out{$here}) + (sum(pg_reliability_database_visit_success{$here} == bool 0) or 0 * sum(pg_reliability_databases_left_out{$here}))`, "databases").
		query(`sum(pg_reliability_user_tables_omitted{$here})`, "tables").of("C", judged(plain(neutral))).
		unit("short").decimals(0).thresholds(remarkable()).none("unknown")
}

// tableColumns name a table; the instance comes first.
func (p *panel) tableColumns() *panel {
	return p.label("instance", "Instance").label("datname", "Database").label("schemaname", "Schema").label("relname", "Table")
}

func (p *panel) indexColumns() *panel { return p.tableColumns().label("indexrelname", "Index") }

const (
	noTables  = "no tables known"
	tableName = "{{datname}} {{schemaname}}.{{relname}} {{instance}}"
)

func tableSizes() *panel {
	largest := `topk(20, pg_stat_user_tables_table_size_bytes{$here} + pg_stat_user_tables_index_size_bytes{$here})`
	return table("Largest tables", "With their indexes. Grew and Changed: in the time shown. Updates and deletes leave dead rows, which "+
		"vacuum makes room of.").
		tableColumns().
		column("Size", largest, unit("bytes")).
		column("Indexes", `pg_stat_user_tables_index_size_bytes{$here} and `+largest, unit("bytes")).
		column("Grew", `delta(pg_stat_user_tables_table_size_bytes{$here}[$__range]) + delta(pg_stat_user_tables_index_size_bytes{$here}[$__range]) and `+largest, unit("bytes")).
		column("Live rows", `pg_stat_user_tables_n_live_tup{$here} and `+largest, unit("short")).
		column("Changed", `increase(pg_stat_user_tables_n_tup_ins{$here}[$__range]) + increase(pg_stat_user_tables_n_tup_upd{$here}[$__range]) + increase(pg_stat_user_tables_n_tup_del{$here}[$__range]) and `+largest, unit("short")).
		sorted("Size").none(noTables)
}

func tablesGrowing() *panel {
	return series("Tables that grew most", "The eight that grew most in the time shown, without their indexes. A step is a load or a "+
		"rewrite; a steady line that never falls is a table nobody deletes from.").
		query(`pg_stat_user_tables_table_size_bytes{$here} and topk(8, delta(pg_stat_user_tables_table_size_bytes{$here}[$__range] @ end()))`,
			tableName).
		unit("bytes").none(noTables)
}

func tablesRead() *panel {
	read := `topk(20, increase(pg_stat_user_tables_seq_tup_read{$here}[$__range]))`
	of := func(metric string) string { return "increase(" + metric + "{$here}[$__range]) and " + read }
	return table("Tables that are read as a whole", "In the time shown. Many rows read by many sequential scans of a large table: an index "+
		"is missing. Blocks read: from the kernel or the disk, because shared buffers had them not.").
		tableColumns().
		column("Rows read", read, unit("short")).
		column("Whole scans", of("pg_stat_user_tables_seq_scan"), unit("short")).
		column("Index scans", of("pg_stat_user_tables_idx_scan"), unit("short")).
		column("Blocks read", of("pg_statio_user_tables_heap_blocks_read"), unit("short")).
		column("Live rows", `pg_stat_user_tables_n_live_tup{$here} and `+read, unit("short")).
		sorted("Rows read").none(noTables)
}

func tablesReadWhole() *panel {
	return series("Rows read by sequential scans", "Rows a second, of the eight tables with most. A step up without more traffic: a plan "+
		"has changed, or an index is gone.").
		query(`topk(8, rate(pg_stat_user_tables_seq_tup_read{$here}[$__rate_interval]))`, tableName).every("1m").unit("ops").none(noTables)
}

func deadRowsHistory() *panel {
	return series("Dead rows", "Of the eight tables with most now. A saw is a vacuum that comes by; what only rises is never vacuumed, or "+
		"something holds vacuum up.").
		query(`pg_stat_user_tables_n_dead_tup{$here} and topk(8, pg_stat_user_tables_n_dead_tup{$here} @ end())`, tableName).unit("short").
		none(noTables)
}

func oldestTables() *panel {
	return bars("Tables with the oldest ids", "Age of the oldest transaction id that is not frozen. At autovacuum_freeze_max_age a vacuum "+
		"is forced, whether autovacuum is on or not.").
		query(`topk(10, pg_reliability_table_xid_age{$here})`, "{{relname}} ({{instance}})").unit("short").none(noTables)
}

func autovacuumWorkers() *panel {
	return series("Workers of autovacuum",
		"All busy for long: other tables wait for their turn. Those against wraparound give way to nobody.").
		query(`pg_reliability_autovacuum_workers{$here}`, "busy {{instance}}").
		query(`pg_reliability_autovacuum_workers_max{$here}`, "at most {{instance}}").of("B", lineStyle(4, 4)).
		query(`pg_reliability_autovacuum_wraparound_workers{$here}`, "against wraparound {{instance}}").of("C", colored(ticket)).
		unit("short").none("unknown")
}

const noBloat = "none known: there is no large table, or the role may not read it"

func tableBloat() *panel {
	worst := `topk(20, pg_reliability_table_bloat_size_bytes{$here})`
	return table("Empty space in tables", "Estimated from the newest vacuum and analyze, each hour, without TOAST and indexes. Dead rows "+
		"that vacuum has not met yet are part of it. pg_repack or VACUUM FULL gives it back to the disk.").
		tableColumns().
		column("Empty", worst, unit("bytes")).
		column("Share", `pg_reliability_table_bloat_ratio{$here} and `+worst, unit("percentunit"), property{"decimals", 0}).
		sorted("Empty").none(noBloat)
}

func indexBloat() *panel {
	worst := `topk(20, pg_reliability_index_bloat_size_bytes{$here})`
	return table("Empty space in btree indexes", "Estimated from the newest vacuum, each hour. REINDEX CONCURRENTLY gives it back and "+
		"locks nobody out.").
		indexColumns().
		column("Empty", worst, unit("bytes")).
		column("Share", `pg_reliability_index_bloat_ratio{$here} and `+worst, unit("percentunit"), property{"decimals", 0}).
		sorted("Empty").none(noBloat)
}

func notEstimated() *panel {
	return table("Whose empty space is not known", "Tables and indexes of a megabyte and more. Unreadable: the exporter's role has no "+
		"SELECT on the table (pg_read_all_data gives it). Not analyzed: ANALYZE has not seen all columns. Left out: others are larger.").
		label("instance", "Instance").label("datname", "Database").
		column("Tables unreadable", `pg_reliability_table_bloat_unreadable{$here}`, unit("locale")).
		column("not analyzed", `pg_reliability_table_bloat_unanalyzed{$here}`, unit("locale")).
		column("left out", `pg_reliability_table_bloat_omitted{$here}`, unit("locale")).
		column("Indexes unreadable", `pg_reliability_index_bloat_unreadable{$here}`, unit("locale")).
		column("of tables not analyzed", `pg_reliability_index_bloat_unanalyzed{$here}`, unit("locale")).
		column("indexes left out", `pg_reliability_index_bloat_omitted{$here}`, unit("locale")).
		sorted("Tables unreadable").none("unknown")
}

func unusedList() *panel {
	return table("Unused indexes", "The largest that nobody scanned on this server since its statistics were reset. Each costs every "+
		"write. A standby may still use it: choose the standbys at the top and look whether it is on their list as well.").
		indexColumns().
		column("Size", `topk(20, pg_reliability_unused_index_size_bytes{$here})`, unit("bytes")).
		sorted("Size").none("no unused index known")
}

func redundantList() *panel {
	return table("Redundant indexes", "Copies of another index, and those whose columns another one begins with. Dropping one slows no "+
		"query down.").
		indexColumns().label("instead", "Does its work").
		column("Size", `topk(20, pg_reliability_redundant_index_size_bytes{$here})`, unit("bytes")).
		sorted("Size").none("no redundant index known")
}

func findings() *panel {
	called := func(words, metric string) string {
		return `label_replace(` + metric + `{$here}, "finding", "` + words + `", "", "")`
	}
	return table("Findings", "The largest tables first: there each costs most.").
		tableColumns().label("finding", "Finding").label("conname", "Constraint").
		column("Size of table", called("no primary key", "pg_reliability_table_without_primary_key_size_bytes")+"\n  or "+
			called("foreign key without an index", "pg_reliability_foreign_key_without_index_table_size_bytes")+"\n  or "+
			called("never validated", "pg_reliability_unvalidated_constraint_table_size_bytes")+"\n  or "+
			called("unlogged", "pg_reliability_unlogged_table_size_bytes"), unit("bytes")).
		sorted("Size of table").none("none known")
}

func partitionedTables() *panel {
	return table("Partitioned tables", "With all of their partitions, of all levels. Sizes are as of each one's newest vacuum or analyze. "+
		"Not analyzed: rows changed since then; autovacuum never analyzes the parent by itself.").
		tableColumns().
		column("Size", `topk(20, pg_reliability_partitioned_table_size_bytes{$here})`, unit("bytes")).
		column("Indexes", `pg_reliability_partitioned_table_index_size_bytes{$here}`, unit("bytes")).
		column("Partitions", `pg_reliability_partitioned_table_partitions{$here}`, unit("locale")).
		column("Live rows", `pg_reliability_partitioned_table_live_rows{$here}`, unit("short")).
		column("Dead rows", `pg_reliability_partitioned_table_dead_rows{$here}`, unit("short")).
		column("Not analyzed", `pg_reliability_partitioned_table_rows_modified_since_analyze{$here}`, unit("short")).
		column("Default holds", `pg_reliability_default_partition_rows{$here}`, unit("short")).
		sorted("Size").none("no partitioned table known")
}
