package dashboards

// pgbouncer: does anybody wait in the pooler, and what for?
func pgbouncer(s *sources) board {
	return board{
		uid: "pgr-pgbouncer", title: "PgBouncer", known: "pgbouncer_up",
		about: "Does anybody wait in PgBouncer, and what for? Clients that wait there never reach the server, whose own boards look calm. " +
			"Filled by --pgbouncer.dsn, or by pgbouncer_exporter.",
		rows: []row{
			section("Does anybody wait?",
				across(4, pgbouncerUp(s), clientsWaiting(s), longestWait(s), clientPlaces(s), pausedDatabases(), disabledDatabases()),
			),
			section("Since when, and in which pool?",
				across(8, waitHistory(s), waitingHistory()),
				across(8, pools(s)),
			),
			section("What is the pool used for?",
				across(8, serverConnections(), poolSizes()),
				across(8, pooledTransactions(), transactionTimes(), pooledBytes()),
			),
			section("How does it look inside?",
				across(8, clientsInside(), pooledStatements(), lookups()),
				across(8, bouncers(), bouncerCounts()),
			),
		},
	}
}

func pgbouncerUp(s *sources) *panel {
	return stat("PgBouncer", "Whether the admin console answers. It answers while every pool is full.").
		query(`min(pgbouncer_up{$here})`, "").word(0, "DOWN", page).word(1, "UP", fine).none("none is watched").
		runbooks(s, "PgBouncerDown")
}

func clientsWaiting(s *sources) *panel {
	return stat("Clients that wait", "For a server connection, in all pools.").
		query(`sum(pgbouncer_pools_client_waiting_connections{$here})`, "").unit("short").none("unknown").
		runbooks(s, "PgBouncerSaturated")
}

func longestWait(s *sources) *panel {
	return stat("Longest wait", "Of the client that has waited longest. It grows as long as nobody gets through.").
		query(`max(pgbouncer_pools_client_maxwait_seconds{$here})`, "").unit("s").
		thresholds(s.above("pgbouncer_wait_ticket_seconds", "pgbouncer_wait_page_seconds")).none("unknown").
		runbooks(s, "PgBouncerSaturated")
}

func clientPlaces(s *sources) *panel {
	return stat("Places taken", "Clients that are connected, of max_client_conn. Beyond it they are turned away.").
		query(`max(pgbouncer_used_clients{$here} / pgbouncer_config_max_client_connections{$here})`, "").unit("percentunit").decimals(0).
		thresholds(s.above("pgbouncer_clients_ratio", "")).none("unknown").runbooks(s, "PgBouncerFull")
}

func pausedDatabases() *panel {
	return stat("Paused databases", "Their clients wait until somebody says RESUME.").
		query(`sum(pgbouncer_databases_paused{$here})`, "").unit("short").none("unknown")
}

func disabledDatabases() *panel {
	return stat("Disabled databases", "No new client is let in until somebody says ENABLE.").
		query(`sum(pgbouncer_databases_disabled{$here})`, "").unit("short").none("unknown")
}

func waitHistory(s *sources) *panel {
	return series("Longest wait by pool", "How long the client that has waited longest had waited, in the eight pools with the longest "+
		"waits.").
		query(`topk(8, pgbouncer_pools_client_maxwait_seconds{$here})`, "{{database}} {{user}} {{instance}}").unit("s").
		thresholds(s.above("pgbouncer_wait_ticket_seconds", "pgbouncer_wait_page_seconds")).none("unknown").
		runbooks(s, "PgBouncerSaturated")
}

func waitingHistory() *panel {
	return series("Clients that wait", "Those of the eight pools with most. Waiting as a whole is how many waited at a time, on average.").
		query(`topk(8, pgbouncer_pools_client_waiting_connections{$here})`, "{{database}} {{user}} {{instance}}").
		query(`sum(rate(pgbouncer_stats_client_wait_seconds_total{$here}[$__rate_interval]))`, "waiting as a whole").
		unit("short").none("unknown")
}

func pools(s *sources) *panel {
	return table("Pools", "One for each database and user. Busy as large as the pool, and clients that wait: it is too small, or its "+
		"transactions are too long. Free connections, and clients that wait: they are being checked, or log in.").
		label("instance", "Instance").label("database", "Database").label("user", "User").
		column("Longest wait", `pgbouncer_pools_client_maxwait_seconds{$here}`, unit("s"), filled(),
			judged(s.above("pgbouncer_wait_ticket_seconds", "pgbouncer_wait_page_seconds"))).
		column("Waiting", `pgbouncer_pools_client_waiting_connections{$here}`, unit("locale")).
		column("Clients", `pgbouncer_pools_client_active_connections{$here}`, unit("locale")).
		column("Busy", `pgbouncer_pools_server_active_connections{$here}`, unit("locale")).
		column("Free", `pgbouncer_pools_server_idle_connections{$here}`, unit("locale")).
		column("Used", `pgbouncer_pools_server_used_connections{$here}`, unit("locale")).
		column("Checked", `pgbouncer_pools_server_testing_connections{$here}`, unit("locale")).
		column("Logging in", `pgbouncer_pools_server_login_connections{$here}`, unit("locale")).
		column("Cancels", `pgbouncer_pools_client_active_cancel_connections{$here} + pgbouncer_pools_client_waiting_cancel_connections{$here}`,
			unit("locale")).
		sorted("Longest wait").none("unknown").runbooks(s, "PgBouncerSaturated")
}

func serverConnections() *panel {
	return series("Connections to the server", "What they do. Used ones were idle for so long that they are checked before their next use.").
		query(`sum(pgbouncer_pools_server_active_connections{$here})`, "busy").
		query(`sum(pgbouncer_pools_server_idle_connections{$here})`, "free").
		query(`sum(pgbouncer_pools_server_used_connections{$here})`, "used").
		query(`sum(pgbouncer_pools_server_testing_connections{$here} + pgbouncer_pools_server_login_connections{$here})`, "checked, logging in").
		query(`sum(pgbouncer_pools_server_active_cancel_connections{$here} + pgbouncer_pools_server_being_canceled_connections{$here})`,
			"cancelling").
		stacked().unit("short").none("unknown")
}

func poolSizes() *panel {
	return table("Databases", "What each may have, and has. 0 for a most is none. Clients are told of since 1.24.").
		label("instance", "Instance").label("name", "Name").label("host", "Host").label("database", "Database").label("pool_mode", "Mode").
		column("Connections", `pgbouncer_databases_current_connections{$here}`, unit("locale")).
		column("Pool", `pgbouncer_databases_pool_size{$here}`, unit("locale")).
		column("Least", `pgbouncer_databases_min_pool_size{$here}`, unit("locale")).
		column("Reserve", `pgbouncer_databases_reserve_pool{$here}`, unit("locale")).
		column("Most", `pgbouncer_databases_max_connections{$here}`, unit("locale")).
		sorted("Connections").none("unknown")
}

func pooledTransactions() *panel {
	return series("Transactions and queries", "As PgBouncer counts them, each second.").
		query(`sum(rate(pgbouncer_stats_sql_transactions_pooled_total{$here}[$__rate_interval]))`, "transactions").
		query(`sum(rate(pgbouncer_stats_queries_pooled_total{$here}[$__rate_interval]))`, "queries").
		unit("ops").none("unknown")
}

func transactionTimes() *panel {
	return series("Where the time goes", "Connections to the server that were in a transaction, and that ran a query, on average. The "+
		"difference "+
		"is transactions that wait for their client.").
		query(`sum(rate(pgbouncer_stats_server_in_transaction_seconds_total{$here}[$__rate_interval]))`, "in a transaction").
		query(`sum(rate(pgbouncer_stats_queries_duration_seconds_total{$here}[$__rate_interval]))`, "running a query").
		unit("short").none("unknown")
}

func pooledBytes() *panel {
	return series("Traffic with clients", "Bytes each second.").
		query(`sum(rate(pgbouncer_stats_received_bytes_total{$here}[$__rate_interval]))`, "received").
		query(`sum(rate(pgbouncer_stats_sent_bytes_total{$here}[$__rate_interval]))`, "sent").
		unit("binBps").none("unknown")
}

func clientsInside() *panel {
	return series("Clients and servers inside", "Places that are allocated: those in use, and those that are free for the next.").
		query(`sum(pgbouncer_used_clients{$here})`, "clients").
		query(`sum(pgbouncer_login_clients{$here})`, "clients that log in").
		query(`sum(pgbouncer_free_clients{$here})`, "free places for clients").
		query(`sum(pgbouncer_used_servers{$here})`, "servers").
		query(`sum(pgbouncer_free_servers{$here})`, "free places for servers").
		unit("short").none("unknown")
}

func pooledStatements() *panel {
	return series("Prepared statements", "Statements that clients prepared and that were passed on, and how often a prepared one was "+
		"bound; "+
		"counted since 1.24.").
		query(`sum(rate(pgbouncer_stats_client_parses_total{$here}[$__rate_interval]))`, "prepared by clients").
		query(`sum(rate(pgbouncer_stats_server_parses_total{$here}[$__rate_interval]))`, "prepared on servers").
		query(`sum(rate(pgbouncer_stats_binds_total{$here}[$__rate_interval]))`, "bound").
		query(`sum(rate(pgbouncer_stats_server_assignments_total{$here}[$__rate_interval]))`, "connections given to clients").
		unit("ops").none("PgBouncer is older than 1.24")
}

func lookups() *panel {
	return series("Names of hosts", "In the cache, and being looked up. Lookups that stay are a DNS server that does not answer.").
		query(`sum(pgbouncer_cached_dns_names{$here})`, "in the cache").
		query(`sum(pgbouncer_in_flight_dns_queries{$here})`, "being looked up").
		query(`sum(pgbouncer_cached_dns_zones{$here})`, "zones").
		unit("short").none("unknown")
}

func bouncers() *panel {
	return table("Which PgBouncers?", "Their versions, and what they know.").
		label("instance", "Before").label("version", "Version").
		column("There", `pgbouncer_version_info{$here}`, unit("locale")).
		sortedUp("Before").none("unknown").wide(12)
}

func bouncerCounts() *panel {
	return table("How much do they have?", "Databases, users and pools; the most connections a user may have (0 is any number); and "+
		"rows that "+
		"are not shown, because there are more than 200.").
		label("instance", "Before").
		column("Databases", `pgbouncer_databases{$here}`, unit("locale")).
		column("Users", `pgbouncer_users{$here}`, unit("locale")).
		column("Pools", `pgbouncer_pools{$here}`, unit("locale")).
		column("Of a user", `pgbouncer_config_max_user_connections{$here}`, unit("locale")).
		column("Not shown", `sum without (answer) (pg_reliability_pgbouncer_left_out{$here})`, unit("locale")).
		sorted("Pools").none("unknown").wide(12)
}
