package dashboards

// sessions: who is connected, what do they wait for, who holds vacuum up, and what runs at length?
func sessions(s *sources) board {
	return board{
		uid: "pgr-sessions", title: "Sessions", known: "pg_up",
		about: "Who is connected, what do they wait for, who holds vacuum up, and what runs at length? With several instances chosen, each " +
			"number of the first row is the worst of theirs.",
		rows: []row{
			section("Is anybody in trouble?",
				across(4, connectionsUsed(s), blockedNow(s), oldestTransaction(s), oldestIdle(s), horizonNow(s), oldestConnection()),
			),
			section("Who is connected?",
				across(8, sessionsOf("application", "application_name"), sessionsOf("user", "usename"), sessionsOf("client", "client_addr")),
				across(8, connections(s), sessionsByState(), connectionAges()),
			),
			section("Who is at work?",
				across(8, activeSessionsOf("application", "application_name"), activeSessionsOf("user", "usename"),
					activeSessionsOf("client", "client_addr")),
			),
			section("What do they wait for?",
				across(9, sampledWaits()),
				across(9, waitEvents(), waits()),
			),
			section("Who keeps vacuum from removing dead rows?",
				across(8, vacuumHorizon(s), horizonList(s)),
			),
			section("What runs at length, and how far is it?",
				across(8, progressList().wide(14), progressHistory()),
			),
			section("How do sessions end?",
				across(8, sessionsEnded(), oldestHistory(s)),
			),
		},
	}
}

func horizonNow(s *sources) *panel {
	return stat("Vacuum held back", "Age of the oldest transaction whose rows somebody may still need, against autovacuum_freeze_max_age. "+
		"Who it is stands below.").
		query(`max(pg_reliability_vacuum_horizon_autovacuum_ratio{$here})`, "").unit("percentunit").decimals(1).
		thresholds(s.above("horizon_ratio", "")).none("unknown").runbooks(s, "PostgresVacuumHeldBack")
}

func oldestConnection() *panel {
	return stat("Oldest connection", "Sessions keep what they have cached: connections of days grow, and don't follow an address that has "+
		"moved to another server.").
		query(`max(pg_reliability_session_oldest_seconds{$here})`, "").unit("s").decimals(0).thresholds(plain(neutral)).none("unknown")
}

func sessionsOf(kind, label string) *panel {
	return series("Sessions by "+kind, "The eight with most, idle ones included. One that only rises opens connections and does not "+
		"close them.").
		query(`topk(8, pg_reliability_`+kind+`_sessions{$here})`, "{{"+label+"}} {{instance}}").unit("short").none("unknown")
}

func activeSessionsOf(kind, label string) *panel {
	return series("Running queries by "+kind, "Sessions that run a query, of the eight with most. They are busy, or they wait: see below "+
		"for what.").
		query(`topk(8, pg_reliability_`+kind+`_sessions_active{$here})`, "{{"+label+"}} {{instance}}").unit("short").none("unknown")
}

func connectionAges() *panel {
	return series("Ages of connections", "Many of a minute and less: somebody opens a connection for each query; a pool makes that cheap.").
		query(`sum by (age) (pg_reliability_session_ages{$here})`, "{{age}}").stacked().unit("short").none("unknown")
}

func sampledWaits() *panel {
	return series("Active sessions by what they wait for, sampled each second", "How many sessions were active on average, by what they "+
		"waited for, from the prober's samples: also what came and went between two scrapes. none: they ran.").
		query(`topk(10, sum by (job, cluster, instance, wait_event_type, wait_event) `+
			`(rate(pg_reliability_session_samples_total{$here, state="active"}[$__rate_interval])) `+
			`/ on (job, cluster, instance) group_left () `+
			`rate(pg_reliability_session_sampling_total{$here, result="ok"}[$__rate_interval]) > 0)`,
			"{{wait_event_type}}: {{wait_event}} {{instance}}").stacked().unit("short").none("nobody was active")
}

func waitEvents() *panel {
	return series("Processes by what they wait for", "The ten events with most, as of each scrape. PostgreSQL's documentation explains "+
		"each under Wait Events; Client and Activity wait for work, and are left out.").
		query(`topk(10, sum by (wait_event_type, wait_event) (pg_reliability_wait_event_processes{$here, wait_event_type!~"Activity|Client"}) > 0)`, "{{wait_event_type}}: {{wait_event}}").
		unit("short").none("nobody waits")
}

func horizonList(s *sources) *panel {
	return table("Who holds vacuum back", "Transactions begun since the oldest one whose rows must be kept. session: end the oldest "+
		"transaction. prepared: commit it or roll it back. slot and slot_catalog: a consumer is behind or gone. standby_feedback: a query on "+
		"a standby.").
		label("instance", "Instance").label("holder", "Holder").
		column("Transactions", `pg_reliability_vacuum_horizon_age_transactions{$here}`, unit("locale")).
		column("Of the limit", `pg_reliability_vacuum_horizon_autovacuum_ratio{$here}`, unit("percentunit"), property{"decimals", 1}, filled(),
			judged(s.above("horizon_ratio", ""))).
		sorted("Transactions").none("unknown").runbooks(s, "PostgresVacuumHeldBack")
}

func progressList() *panel {
	return table("Commands that run at length", "Vacuums, analyzes, index builds, rewrites, base backups and copies. Done: of this phase, "+
		"of the command that is least far; not all phases know their end.").
		label("instance", "Instance").label("datname", "Database").label("operation", "Command").label("phase", "Phase").
		column("Running", `pg_reliability_progress_running{$here}`, unit("locale")).
		column("Done", `pg_reliability_progress_done_ratio{$here}`, unit("percentunit"), property{"decimals", 0}).
		column("For", `pg_reliability_progress_oldest_seconds{$here}`, unit("s")).
		sorted("For").none("none runs")
}

func progressHistory() *panel {
	return series("How long they have run", "A line that falls to nothing is a command that has ended.").
		query(`topk(8, max by (job, cluster, instance, datname, operation) (pg_reliability_progress_oldest_seconds{$here}))`,
			"{{operation}} {{datname}} {{instance}}").
		unit("s").none("none runs")
}
