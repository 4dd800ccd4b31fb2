package dashboards

// patroni: would a failover work? What Patroni says of itself.
func patroni(s *sources) board {
	return board{
		uid: "pgr-patroni", title: "Patroni", known: "patroni_postgres_running",
		about: "Would a failover work? Patroni's own metrics, of its REST API at /metrics. What its decisions meant for those who use the " +
			"database is on the boards of the servers.",
		rows: []row{
			section("Would a failover work?",
				across(4, patroniLeader(s), patroniPaused(s), patroniStore(s), patroniFailsafe(s), patroniRestart(s), patroniTimeline(s)),
			),
			section("Who is who?",
				across(8, patroniMembers(s)),
				across(7, patroniRoles(), patroniStoreHistory(s)),
			),
			section("Do the standbys follow?",
				across(8, patroniReceived(), patroniReplayed(), patroniReplayedAt()),
			),
		},
	}
}

func patroniLeader(s *sources) *panel {
	return stat("Leader", "Members that hold the lock, in the cluster with fewest. Without one nobody takes writes.").
		query(`min(sum by (cluster, scope) (patroni_primary{$here}) + sum by (cluster, scope) (patroni_standby_leader{$here}))`, "").decimals(0).
		word(0, "NONE", page).word(1, "ONE", fine).none("no Patroni is scraped").
		runbooks(s, "PatroniNoLeader")
}

func patroniPaused(s *sources) *panel {
	return stat("Failover", "PAUSED: somebody has put a cluster into maintenance mode, and nothing fails over until `patronictl resume`.").
		query(`max(patroni_is_paused{$here})`, "").word(0, "ON", fine).word(1, "PAUSED", ticket).none("unknown").
		runbooks(s, "PatroniPaused")
}

func patroniStore(s *sources) *panel {
	return stat("Store last seen", "How long ago the member that has waited longest reached etcd, Consul, ZooKeeper or Kubernetes.").
		query(`time() - min(patroni_dcs_last_seen{$here} > 0)`, "").unit("s").decimals(0).
		thresholds(s.above("", "patroni_dcs_seconds")).none("unknown").runbooks(s, "PatroniDCSLost")
}

func patroniFailsafe(s *sources) *panel {
	return stat("Failsafe mode", "ON: the store is away, and the primary stays one as long as every member answers it.").
		query(`max(patroni_failsafe_mode_is_active{$here})`, "").word(0, "OFF", fine).word(1, "ON", page).none("unknown").
		runbooks(s, "PatroniFailsafe")
}

func patroniRestart(s *sources) *panel {
	return stat("Wait for a restart", "Members whose settings take effect at their next restart only.").
		query(`sum(patroni_pending_restart{$here})`, "").unit("short").thresholds(from(1, ticket)).none("unknown").
		runbooks(s, "PatroniPendingRestart")
}

func patroniTimeline(s *sources) *panel {
	return stat("Timelines apart", "Members that are on an older timeline than their cluster: they did not follow the last promotion, "+
		"or are "+
		"about to.").
		query(`count(patroni_postgres_timeline{$here} > 0 and on (job, cluster, instance) `+
			`(patroni_postgres_timeline{$here} < on (cluster, scope) group_left () max by (cluster, scope) (patroni_postgres_timeline{$here})))`+
			` or 0 * max(patroni_postgres_timeline{$here})`, "").
		unit("short").thresholds(from(1, page)).none("unknown").runbooks(s, "PatroniTimelineApart")
}

func patroniMembers(s *sources) *panel {
	return table("Members", "What each says of itself.").
		label("scope", "Cluster").label("instance", "Member").
		column("Running", `patroni_postgres_running{$here}`, mapped(wordFor("1", "yes", fine, 0), wordFor("0", "NO", page, 1)), filled()).
		column("Leads", `patroni_primary{$here} + patroni_standby_leader{$here}`, mapped(wordFor("1", "leads", fine, 0), wordFor("0", "", "transparent", 1))).
		column("Synchronous", `patroni_sync_standby{$here}`, mapped(wordFor("1", "yes", fine, 0), wordFor("0", "", "transparent", 1))).
		column("Timeline", `patroni_postgres_timeline{$here}`, unit("locale")).
		column("Waits for a restart", `patroni_pending_restart{$here}`, mapped(wordFor("1", "yes", ticket, 0), wordFor("0", "", "transparent", 1))).
		column("Replay", `patroni_xlog_paused{$here}`, mapped(wordFor("1", "PAUSED", ticket, 0), wordFor("0", "", "transparent", 1))).
		column("Server started", `patroni_postmaster_start_time{$here} * 1000`, unit("dateTimeFromNow")).
		column("PostgreSQL", `patroni_postgres_server_version{$here}`, unit("none")).
		column("Patroni", `patroni_version{$here}`, unit("none")).
		sortedUp("Member").none("no Patroni is scraped").runbooks(s, "PatroniNoLeader", "PatroniTimelineApart")
}

func patroniRoles() *panel {
	return states("Who leads", "Each member's role over time.").
		query(`2 * (patroni_primary{$here} + patroni_standby_leader{$here}) + patroni_replica{$here}`, "{{scope}} {{instance}}").
		word(0, "neither", unknown).word(1, "replica", neutral).word(2, "leader", fine).none("no Patroni is scraped")
}

func patroniStoreHistory(s *sources) *panel {
	return series("Store last seen", "How long ago, for each member. A saw of the length of loop_wait is healthy.").
		query(`time() - (patroni_dcs_last_seen{$here} > 0)`, "{{scope}} {{instance}}").unit("s").
		thresholds(s.above("", "patroni_dcs_seconds")).none("unknown").runbooks(s, "PatroniDCSLost")
}

func patroniReceived() *panel {
	return series("WAL written", "By the leader, each second.").
		query(`rate(patroni_xlog_location{$here}[$__rate_interval]) and on (job, cluster, instance) patroni_primary{$here} == 1`, "{{scope}} {{instance}}").
		unit("binBps").none("unknown")
}

func patroniReplayed() *panel {
	return series("WAL to replay", "Received and not replayed yet, of each replica.").
		query(`(patroni_xlog_received_location{$here} - patroni_xlog_replayed_location{$here} and on (job, cluster, instance) patroni_replica{$here} == 1)`,
			"{{scope}} {{instance}}").unit("bytes").none("no replica is scraped")
}

func patroniReplayedAt() *panel {
	return series("Newest replayed transaction", "How long ago it was committed. It grows, too, while nobody writes.").
		query(`time() - (patroni_xlog_replayed_timestamp{$here} > 0)`, "{{scope}} {{instance}}").unit("s").none("no replica is scraped")
}
