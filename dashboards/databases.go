package dashboards

// userDatabases leaves out the templates, and what belongs to no database.
const userDatabases = `{$here, datname!~"|template[01]"}`

// databases: which database does the work, and is any in trouble of its own?
func databases(s *sources) board {
	return board{
		uid: "pgr-databases", title: "Databases", known: "pg_up",
		about: "Which database does the work, which grows, and is any in trouble of its own?",
		rows: []row{
			section("Is any in trouble?",
				across(4, databasesSize(), deadlocksNow(s), rollbackShare(), conflictsNow(), tempNow(s), databasesUnvisited()),
				across(9, databaseList(s)),
			),
			section("Who does the work?",
				across(8, databaseTransactions(), databaseRows(), databaseBusy()),
				across(8, databaseSessions(), databaseLogins(), databaseIdle()),
			),
			section("What does it cost?",
				across(8, databaseReads(), databaseBlockTime(), databaseTempFiles()),
				across(8, databaseConflicts(), databaseVisits()),
			),
		},
	}
}

func rollbackShare() *panel {
	return stat("Rolled back", "Share of the transactions in the time shown that did not come through, in the database with most.").
		query(`max(increase(pg_stat_database_xact_rollback`+userDatabases+`[$__range]) / (increase(pg_stat_database_xact_commit`+userDatabases+
			`[$__range]) + increase(pg_stat_database_xact_rollback`+userDatabases+`[$__range])))`, "").
		unit("percentunit").decimals(1).thresholds(plain(neutral)).none("unknown")
}

func conflictsNow() *panel {
	return stat("Cancelled by replay", "Queries on standbys that were cancelled in the time shown, because replay needed what they held.").
		query(`round(sum(increase(pg_stat_database_conflicts{$here}[$__range])))`, "").unit("short").decimals(0).thresholds(from(1, ticket)).
		none("unknown")
}

func databasesUnvisited() *panel {
	return stat("Not looked into", "Databases whose tables, indexes and sequences could not be read at the last visit. The table says "+
		"which.").
		query(`count(pg_reliability_database_visit_success{$here} == 0) or 0 * max(pg_reliability_database_visit_success{$here})`, "").unit("short").
		decimals(0).thresholds(from(1, ticket)).none("only one database is looked into")
}

func databaseList(s *sources) *panel {
	return table("Databases", "Growth is of the time shown. A limit of -1 is none.").
		label("instance", "Instance").label("datname", "Database").
		column("Size", `pg_database_size_bytes`+userDatabases, unit("bytes")).
		column("Growth", `delta(pg_database_size_bytes`+userDatabases+`[$__range])`, unit("bytes")).
		column("Sessions", `pg_stat_database_numbackends`+userDatabases, unit("locale"), mapped(mapping(-1, "none", "transparent", 0))).
		column("Limit", `pg_database_connection_limit`+userDatabases, unit("locale")).
		column("Oldest xid", `pg_reliability_wraparound_xid_age`+userDatabases, unit("locale")).
		column("Oldest mxid", `pg_reliability_wraparound_mxid_age`+userDatabases, unit("locale")).
		column("To wraparound", `pg_reliability_wraparound_xid_ratio`+userDatabases, unit("percentunit"), property{"decimals", 1}, filled(),
			judged(s.above("wraparound_ticket_ratio", "wraparound_page_ratio"))).
		sorted("Size").none("unknown").runbooks(s, "PostgresWraparoundXID")
}

// top8 is a panel of the eight databases with most.
func top8(title, about, metric string) *panel {
	return series(title, about).
		query(`topk(8, sum by (job, cluster, instance, datname) (rate(`+metric+userDatabases+`[$__rate_interval])))`, "{{datname}} {{instance}}").
		none("unknown")
}

func databaseTransactions() *panel {
	return top8("Commits", "Each second.", "pg_stat_database_xact_commit").unit("ops")
}

func databaseRows() *panel {
	return series("Rows", "Each second, of all databases: fetched by index, and changed.").
		query(`sum(rate(pg_stat_database_tup_fetched`+userDatabases+`[$__rate_interval]))`, "fetched").
		query(`sum(rate(pg_stat_database_tup_inserted`+userDatabases+`[$__rate_interval]))`, "inserted").
		query(`sum(rate(pg_stat_database_tup_updated`+userDatabases+`[$__rate_interval]))`, "updated").
		query(`sum(rate(pg_stat_database_tup_deleted`+userDatabases+`[$__rate_interval]))`, "deleted").
		unit("ops").none("unknown")
}

func databaseBusy() *panel {
	return top8("Sessions at work", "That ran a query at a time, on average. PostgreSQL 14 and newer count it.",
		"pg_stat_database_active_time_seconds_total").unit("short")
}

func databaseSessions() *panel {
	return series("Sessions", "Of the eight databases with most.").
		query(`topk(8, pg_stat_database_numbackends`+userDatabases+`)`, "{{datname}} {{instance}}").unit("short").none("unknown")
}

func databaseLogins() *panel {
	return top8("New sessions", "Each second. Many and short ones: a pool makes them cheap.",
		"pg_reliability_database_sessions_total").unit("ops")
}

func databaseIdle() *panel {
	return series("What sessions do", "Sessions at a time, on average. Idle in a transaction, they keep locks, and rows from vacuum.").
		query(`sum(rate(pg_reliability_database_session_seconds_total`+userDatabases+`[$__rate_interval]))`, "all").
		query(`sum(rate(pg_stat_database_active_time_seconds_total`+userDatabases+`[$__rate_interval]))`, "at work").
		query(`sum(rate(pg_reliability_database_idle_in_transaction_seconds_total`+userDatabases+`[$__rate_interval]))`, "idle in a transaction").
		unit("short").none("PostgreSQL is older than 14")
}

func databaseBlockTime() *panel {
	return top8("Time in reads", "Sessions that waited for a read at a time, on average; 0 while track_io_timing is off.",
		"pg_reliability_database_read_seconds_total").unit("short")
}

func databaseTempFiles() *panel {
	return top8("Temporary files", "Made each second, by queries that don't fit into work_mem.", "pg_stat_database_temp_files").unit("ops")
}

func databaseConflicts() *panel {
	of := func(kind string) string {
		return `sum(rate(pg_stat_database_conflicts_confl_` + kind + userDatabases + `[$__rate_interval]))`
	}
	return series("Why replay cancelled queries", "On standbys, each second. snapshot: vacuum on the primary, against which "+
		"hot_standby_feedback "+
		"or max_standby_streaming_delay help; lock: DDL; deadlock and bufferpin: page locks.").
		query(of("snapshot"), "snapshot").query(of("lock"), "lock").query(of("deadlock"), "deadlock").query(of("bufferpin"), "bufferpin").
		query(of("tablespace"), "tablespace").
		unit("ops").none("unknown")
}

func databaseVisits() *panel {
	return table("When were they looked into?", "The visits for tables, indexes and sequences. One that refuses or hangs costs its own "+
		"rows alone.").
		label("instance", "Instance").label("datname", "Database").
		column("Success", `pg_reliability_database_visit_success{$here}`, mapped(wordFor("1", "yes", fine, 0), wordFor("0", "NO", ticket, 1)), filled()).
		column("Ago", `pg_reliability_database_visit_age_seconds{$here}`, unit("s")).
		sorted("Ago").none("only one database is looked into")
}
