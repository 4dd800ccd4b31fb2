package dashboards

import "fmt"

// activity: who is in whose way?
func activity(s *sources) board {
	return board{
		uid: "pgr-activity", title: "Activity", known: "pg_up", more: []object{ownStatements()},
		about: "Who is in whose way, and what is the server busy with? With several instances chosen, each number of the first row is the " +
			"worst of theirs.",
		rows: []row{
			section("Who is in the way?",
				across(4, blockedNow(s), blockersNow(), oldestTransaction(s), oldestIdle(s), connectionsUsed(s), deadlocksNow(s)),
				across(9, blockedHistory(s), whoBlocksWhom()),
				across(8, locksWaiting(), blockersHistory()),
			),
			section("Transactions",
				across(8, oldestHistory(s), snapshotAge()),
				across(8, deadlocks(s), prepared()),
			),
			section("Sessions",
				across(8, connections(s), sessionsByState()),
				across(8, waits(), sessionsEnded()),
			),
			section("What does the server's log say?",
				across(8, logMessages(), logEvents(), logTempFiles()),
			),
			section("Statements",
				across(10, statementList()),
				across(9, statementTime().legendRight()),
			),
			section("Work",
				across(8, probeLatency(s), stalls(), transactions()),
				across(8, cacheHits(), rowsChanged(), tempFiles(s)),
			),
		},
	}
}

func blockedNow(s *sources) *panel {
	return stat("Blocked", "Sessions that wait for a lock, and for how long the first of them. Find who blocks them with the query below.").
		query(`sum(pg_reliability_blocked_sessions{$here})`, "sessions").of("A", judged(plain(neutral)), unit("short"), property{"decimals", 0}).
		query(`max(pg_reliability_blocked_oldest_wait_seconds{$here})`, "longest wait").
		unit("s").decimals(0).thresholds(s.above("blocked_ticket_seconds", "blocked_page_seconds")).none("unknown").
		runbooks(s, "PostgresBlockedSessions")
}

func blockersNow() *panel {
	return stat("Blocking", "Sessions at the head of the queues, and those of them that do nothing: idle inside their transaction, an "+
		"application's error.").
		query(`sum(pg_reliability_blocking_sessions{$here})`, "sessions").
		query(`sum(pg_reliability_blocking_idle_sessions{$here})`, "of them idle").
		unit("short").decimals(0).thresholds(plain(neutral)).of("B", judged(from(1, ticket))).none("unknown")
}

func oldestTransaction(s *sources) *panel {
	return stat("Oldest transaction", "Of the server with the oldest one. It keeps vacuum from removing what was deleted since.").
		query(`max(pg_reliability_oldest_transaction_age_seconds{$here})`, "").unit("s").decimals(0).
		thresholds(s.above("long_transaction_seconds", "")).
		none("unknown").runbooks(s, "PostgresLongTransaction")
}

func oldestIdle(s *sources) *panel {
	return stat("Idle in transaction", "For how long a session has done nothing inside its transaction. It holds its locks: end it, and "+
		"set idle_in_transaction_session_timeout.").
		query(`max(pg_reliability_oldest_idle_in_transaction_age_seconds{$here})`, "").unit("s").decimals(0).
		thresholds(s.above("idle_in_transaction_seconds", "")).
		none("unknown").runbooks(s, "PostgresIdleInTransaction")
}

func deadlocksNow(s *sources) *panel {
	return stat("Deadlocks", "In the time shown. Each is a transaction that was cancelled: the server's log shows both queries.").
		query(`round(sum(increase(pg_stat_database_deadlocks{$here}[$__range])))`, "").unit("short").decimals(0).thresholds(from(1, ticket)).
		none("unknown").runbooks(s, "PostgresDeadlocks")
}

func blockedHistory(s *sources) *panel {
	return series("How long the first waiter has waited", fmt.Sprintf("Lines: a ticket at %s, a page at %s.", s.say("blocked_ticket_seconds"),
		s.say("blocked_page_seconds"))).
		query(`pg_reliability_blocked_oldest_wait_seconds{$here}`, "{{instance}}").unit("s").
		thresholds(s.above("blocked_ticket_seconds", "blocked_page_seconds")).none("unknown").runbooks(s, "PostgresBlockedSessions")
}

func whoBlocksWhom() *panel {
	return text("Who blocks whom?", "Process ids and queries are no metrics: there are too many, and they may hold secrets. Ask the server.",
		"Metrics don't hold process ids and queries. Ask the server:\n\n"+
			"```sql\nSELECT w.pid AS waits, now() - w.query_start AS waiting, left(w.query, 60) AS query,\n"+
			"       b.pid AS blocked_by, b.state, now() - b.xact_start AS transaction,\n       left(b.query, 60) AS last\n"+
			"  FROM pg_stat_activity AS w\n"+
			" CROSS JOIN LATERAL unnest(pg_blocking_pids(w.pid)) AS h (pid)\n"+
			"  JOIN pg_stat_activity AS b ON b.pid = h.pid\n"+
			" WHERE w.wait_event_type = 'Lock' ORDER BY w.query_start;\n```\n\n"+
			"End the one that blocks and does not wait itself: `pg_cancel_backend(pid)` if it is active, `pg_terminate_backend(pid)` if it is "+
			"idle in transaction.")
}

func stalls() *panel {
	return series("The server stood still", "Seconds of each minute in which a read or a sign of life was late, and came: no "+
		"outage, and users felt it. Look for a disk that hangs, a paused machine, or a checkpoint.").
		query(`rate(pg_reliability_stall_seconds_total{$here}[$__rate_interval]) * 60`, "{{instance}}").unit("s").none("no probes")
}

func locksWaiting() *panel {
	return series("Locks waited for", "By mode. AccessExclusiveLock: DDL waits, and everybody who comes later queues behind it; set "+
		"lock_timeout for it.").
		query(`sum by (job, cluster, instance, mode) (pg_reliability_locks_waiting{$here})`, "{{instance}} {{mode}}").
		query(`sum by (job, cluster, instance) (pg_reliability_access_exclusive_relations_held{$here})`,
			"{{instance}}: relations under ACCESS EXCLUSIVE").of("B", lineStyle(4, 4)).
		query(`sum by (job, cluster, instance) (pg_reliability_access_exclusive_relations_awaited{$here})`,
			"{{instance}}: awaited under ACCESS EXCLUSIVE").of("C", lineStyle(4, 4)).
		unit("short").none("unknown")
}

func blockersHistory() *panel {
	return series("Sessions blocked and blocking",
		"One blocker and many blocked: end that one. As many of both: a queue of many small locks.").
		query(`pg_reliability_blocked_sessions{$here}`, "blocked {{instance}}").
		query(`pg_reliability_blocking_sessions{$here}`, "blocking {{instance}}").of("B", lineStyle(4, 4)).
		unit("short").none("unknown")
}

func oldestHistory(s *sources) *panel {
	return series("Oldest transaction, query and idle transaction",
		fmt.Sprintf("The line is the alert's for transactions, %s; idle ones are a ticket at %s.", s.say("long_transaction_seconds"),
			s.say("idle_in_transaction_seconds"))).
		query(`pg_reliability_oldest_transaction_age_seconds{$here}`, "transaction {{instance}}").
		query(`pg_reliability_oldest_query_age_seconds{$here}`, "query {{instance}}").
		query(`pg_reliability_oldest_idle_in_transaction_age_seconds{$here}`, "idle in transaction {{instance}}").of("C", lineStyle(4, 4)).
		query(`pg_reliability_blocking_oldest_transaction_age_seconds{$here} > 0`, "in others' way {{instance}}").of("D", lineStyle(1, 3)).
		unit("s").thresholds(s.above("long_transaction_seconds", "")).none("unknown").
		runbooks(s, "PostgresLongTransaction", "PostgresIdleInTransaction")
}

func snapshotAge() *panel {
	return series("What holds vacuum up", "Transactions begun since the oldest snapshot of a session, a prepared transaction, or a slot: "+
		"vacuum keeps every row deleted since.").
		query(`pg_reliability_oldest_snapshot_age_transactions{$here}`, "session {{instance}}").
		query(`pg_reliability_prepared_transactions_oldest_age_transactions{$here}`, "prepared transaction {{instance}}").
		query(`max by (job, cluster, instance, slot_name) (pg_reliability_slot_xmin_age_transactions{$here})`, "slot {{slot_name}} {{instance}}").
		unit("short").none("nothing")
}

func deadlocks(s *sources) *panel {
	return series("Deadlocks", "More than "+s.say("deadlocks_count")+" in 5 minutes in a database are a ticket.").
		// the alert's time
		query(`sum by (job, cluster, instance, datname) (increase(pg_stat_database_deadlocks{$here, datname!~"|template[01]"}[$__rate_interval]))`, "{{instance}} {{datname}}").every("5m").
		unit("short").thresholds(s.above("deadlocks_count", "")).none("unknown").runbooks(s, "PostgresDeadlocks")
}

func prepared() *panel {
	return series("Prepared transactions", "How many wait for COMMIT PREPARED, and the oldest one's age. A forgotten one holds its locks "+
		"for ever.").
		query(`pg_reliability_prepared_transactions{$here}`, "number {{instance}}").
		of("A", unit("short"), property{"custom.axisPlacement", "right"}).
		query(`pg_reliability_prepared_transactions_oldest_age_seconds{$here}`, "oldest {{instance}}").
		unit("s").none("unknown")
}

func connections(s *sources) *panel {
	return series("Connection slots", "Used, against those an ordinary role can take. "+s.say("connections_high_ratio")+
		" of them are a ticket; none left is a page.").
		query(`pg_reliability_connections_used{$here}`, "used {{instance}}").
		query(`pg_reliability_connections_used{$here} + pg_reliability_connections_free{$here}`, "for ordinary roles {{instance}}").
		of("B", lineStyle(4, 4)).
		query(`pg_reliability_connections_max{$here}`, "max_connections {{instance}}").of("C", lineStyle(2, 6)).inOrder().
		unit("short").none("unknown").runbooks(s, "PostgresConnectionsHigh", "PostgresConnectionsExhausted")
}

func waits() *panel {
	return series("What clients wait for", "none runs on a CPU, Client waits for the application, Lock for another session, IO for the "+
		"disk, LWLock for each other inside the server.").
		query(`sum by (wait_event_type) (pg_reliability_backends{$here, backend_type="client backend"})`, "{{wait_event_type}}").stacked().
		unit("short").none("unknown")
}

func sessionsEnded() *panel {
	return series("Sessions that ended badly", "abandoned: the client vanished. fatal: an error ended it. killed: an operator did. "+
		"PostgreSQL 14 and newer count them.").
		query(`sum by (job, cluster, instance) (increase(pg_reliability_database_sessions_abandoned_total{$here}[$__rate_interval]))`,
			"abandoned {{instance}}").
		query(`sum by (job, cluster, instance) (increase(pg_reliability_database_sessions_fatal_total{$here}[$__rate_interval]))`,
			"fatal {{instance}}").
		query(`sum by (job, cluster, instance) (increase(pg_reliability_database_sessions_killed_total{$here}[$__rate_interval]))`,
			"killed {{instance}}").
		unit("short").none("not counted")
}

func transactions() *panel {
	return series("Transactions", "Committed and rolled back. A drop to zero while the server is up means that nobody reaches it; many "+
		"rollbacks are an application's errors.").
		query(`sum by (job, cluster, instance) (rate(pg_stat_database_xact_commit{$here}[$__rate_interval]))`, "commits {{instance}}").
		query(`sum by (job, cluster, instance) (rate(pg_stat_database_xact_rollback{$here}[$__rate_interval]))`, "rollbacks {{instance}}").
		of("B", colored(ticket)).
		unit("ops").none("unknown")
}

func cacheHits() *panel {
	return series("Cache hits", "Blocks found in shared buffers, of all that were asked for. A drop: something reads what is not usually "+
		"read, or shared_buffers is too small.").
		query(`sum by (job, cluster, instance) (rate(pg_stat_database_blks_hit{$here}[$__rate_interval]))
  / (sum by (job, cluster, instance) (rate(pg_stat_database_blks_hit{$here}[$__rate_interval])) + sum by (job, cluster, instance) (rate(pg_stat_database_blks_read{$here}[$__rate_interval])))`, "{{instance}}").
		unit("percentunit").max(1).noMin().none("unknown")
}

func rowsChanged() *panel {
	return series("Rows", "Returned, and changed.").
		query(`sum by (job, cluster, instance) (rate(pg_stat_database_tup_returned{$here}[$__rate_interval]))`, "read {{instance}}").
		query(`sum by (job, cluster, instance) (rate(pg_stat_database_tup_inserted{$here}[$__rate_interval]) + rate(pg_stat_database_tup_updated{$here}[$__rate_interval]) + rate(pg_stat_database_tup_deleted{$here}[$__rate_interval]))`, "changed {{instance}}").
		of("B", property{"custom.axisPlacement", "right"}).unit("ops").none("unknown")
}
