package dashboards

import "fmt"

// replication: does WAL leave the server, to standbys, through slots, into the archive?
func replication(s *sources) board {
	return board{
		uid: "pgr-replication", title: "Replication", known: "pg_up",
		about: "Would a standby take over, and with how much lost? Does WAL leave the server, to standbys, through slots, into the archive?",
		rows: []row{
			section("Would a standby take over?",
				across(4, primaries(s), standbysStreaming(s), worstLag(s), worstBehind(s), slotRoom(s), commitsWait()),
			),
			section("Standbys",
				across(6, roles(), streaming(s)),
				across(8, lagSeconds(s), lagBytes(s)),
			),
			section("As the sending server sees it",
				across(7, clients()),
				across(8, clientLag(), walRate()),
			),
			section("Slots and archive",
				across(8, slotList(s), slotRetention(s)),
				across(8, archiveStates(s), archiveQueue(s), conflicts()),
			),
			section("Logical replication: is it applied, and does decoding fit into memory?",
				across(6, subscriptions(s), heartbeatLag(s)),
				across(8, slotDecoded(), slotOverflow(), subscriptionTrouble(s)),
				across(6, slotOverflowList()),
			),
		},
	}
}

func primaries(s *sources) *panel {
	// Counted for a whole cluster: there is no job or instance.
	return stat("Primaries", "Servers of a cluster that accept writes; of the worst cluster. More than one: SPLIT BRAIN, stop the wrong "+
		"one at once.").
		query(`max(pgr:cluster:primaries{cluster=~"$cluster"} > 1)
  or 0 * max(pgr:cluster:standbys{cluster=~"$cluster"} unless pgr:cluster:primaries{cluster=~"$cluster"})
  or max(pgr:cluster:primaries{cluster=~"$cluster"})`, "").decimals(0).
		thresholds(from(2, page)).word(0, "NO PRIMARY", page).word(1, "ONE", fine).word(2, "SPLIT BRAIN", page).
		none("no recording yet").runbooks(s, "PostgresSplitBrain", "PostgresNoPrimary", "PostgresFailover")
}

func standbysStreaming(s *sources) *panel {
	// Which role a server had that is down was only said while it was up.
	return stat("Standbys", "STREAMING: all of them hear their primary. CUT: one does not, and falls behind. ONE IS DOWN: those that are "+
		"up stream, but a server is down.").
		query(`min(pg_reliability_replication_streaming{$here}) == 0
  or 2 + 0 * max(pg_up{$here} == 0 and on () (pg_reliability_replication_streaming{$here} or last_over_time(pg_reliability_role{$here, role="standby"}[$__range]) == 1))
  or min(pg_reliability_replication_streaming{$here})`, "").word(1, "STREAMING", fine).word(0, "CUT", page).word(2, "ONE IS DOWN", page).
		none("no standby is up").runbooks(s, "PostgresReplicaNotStreaming")
}

func worstLag(s *sources) *panel {
	return stat("Lag", "Of the standby that is furthest behind, in time: what a failover to it would lose or make wait. With the link cut "+
		"it is an upper bound.").
		query(`max(pg_replication_lag_seconds{$here} and on (job, cluster, instance) pg_replication_is_replica{$here} == 1)`, "").unit("s").
		decimals(1).
		thresholds(s.above("replication_lag_ticket_seconds", "replication_lag_page_seconds")).none("no standby is up").
		runbooks(s, "PostgresReplicationLag")
}

func worstBehind(s *sources) *panel {
	return stat("WAL to replay", "Of the standby that is furthest behind: what its primary has reported and it has not replayed. Not known "+
		"while the link is cut.").
		query(`max(pg_reliability_replication_behind_bytes{$here})`, "").unit("bytes").decimals(1).
		thresholds(s.above("replication_behind_bytes", "")).none("unknown").runbooks(s, "PostgresReplicationBehind")
}

func slotRoom(s *sources) *panel {
	return stat("Slots: room left", "Of the slot nearest to losing its WAL, the share of max_slot_wal_keep_size that is left. LOST: one is "+
		"of no use any more.").
		query(`-1 * max(pg_reliability_slot_invalidated{$here} == 1) or clamp_max(min(pgr:slot_safe_wal:ratio{$here}), 1)`, "").
		unit("percentunit").decimals(0).word(-1, "LOST", page).thresholds(s.below("slot_safe_ticket_ratio", "slot_safe_page_ratio")).
		none("no slot with a limit").runbooks(s, "PostgresSlotRetention", "PostgresSlotLost")
}

func commitsWait() *panel {
	return stat("Synchronous commits", "Whether commits wait for a standby (synchronous_standby_names). HANG: they must, and there is none.").
		query(`max(pg_reliability_replication_sync_required{$here} * (1 + (pg_reliability_replication_sync_clients{$here} == bool 0)))`, "").
		word(0, "NOT USED", neutral).word(1, "WORK", fine).word(2, "HANG", page).none("unknown")
}

func streaming(s *sources) *panel {
	return states("Streaming", "Which standby heard its primary, and when. PAUSED: an operator paused replay; the standby falls behind on "+
		"purpose.").
		query(`max by (job, cluster, instance) (pg_reliability_replication_streaming{$here} + 2 * pg_reliability_replication_replay_paused{$here})`, "{{instance}}").shortNames().
		word(0, "CUT", page).word(1, "STREAMING", fine).word(2, "PAUSED, CUT", page).word(3, "PAUSED", ticket).
		none("no standby here").runbooks(s, "PostgresReplicaNotStreaming")
}

func lagSeconds(s *sources) *panel {
	return series("Lag in time", fmt.Sprintf("Lines: a ticket at %s, a page at %s. Growing steadily: the link is cut, or a query on the "+
		"standby holds replay up.",
		s.say("replication_lag_ticket_seconds"), s.say("replication_lag_page_seconds"))).
		query(`pg_replication_lag_seconds{$here} and on (job, cluster, instance) pg_replication_is_replica{$here} == 1`, "{{instance}}").
		unit("s").
		thresholds(s.above("replication_lag_ticket_seconds", "replication_lag_page_seconds")).none("no standby here").
		runbooks(s, "PostgresReplicationLag")
}

func heartbeatLag(s *sources) *panel {
	return series("Heartbeats: how far behind", "How old the newest row is that came from elsewhere to each standby and subscriber: written, "+
		"sent and applied, whatever the links say of themselves. Up to the write interval (5 s) is no lag. For it an exporter of the primary "+
		"writes (--probe.write), and a publication has its table.").
		query(`min by (job, cluster, instance) (pg_reliability_heartbeat_lag_seconds{$here})`, "{{instance}}").unit("s").
		thresholds(s.above("heartbeat_lag_seconds", "")).none("no heartbeats arrive").runbooks(s, "PostgresHeartbeatLate")
}

func lagBytes(s *sources) *panel {
	return series("WAL to replay", "What each standby has not replayed of what its primary reported, and of what it has itself. Both "+
		"alike: replay is slow. Only the first: the network is.").
		query(`pg_reliability_replication_behind_bytes{$here}`, "behind {{instance}}").
		query(`pg_reliability_replication_replay_backlog_bytes{$here} and on (job, cluster, instance) pg_replication_is_replica{$here} == 1`,
			"received {{instance}}").of("B", lineStyle(4, 4)).
		unit("bytes").thresholds(s.above("replication_behind_bytes", "")).none("no standby here").runbooks(s, "PostgresReplicationBehind")
}

func clients() *panel {
	return table("Standbys and subscribers", "Whom each server sends WAL to, and what they have not yet received, flushed and replayed.").
		label("instance", "Sender").label("application_name", "Receiver").label("client_addr", "Address").label("slot_name", "Slot").
		label("state", "State", mapped(wordFor("streaming", "streaming", fine, 0)), property{"custom.displayMode", "color-text"}).
		column("Not sent", `pg_reliability_replication_client_sent_lag_bytes{$here}`, unit("bytes")).
		column("Not flushed", `pg_reliability_replication_client_flush_lag_bytes{$here}`, unit("bytes")).
		column("Not replayed", `pg_stat_replication_pg_wal_lsn_diff{$here}`, unit("bytes")).
		column("Replay lag", `pg_reliability_replication_client_replay_lag_seconds{$here}`, unit("s")).
		sorted("Not replayed").none("nobody receives WAL")
}

func clientLag() *panel {
	return series("Replay lag of each receiver", "As measured by the sender: how long until recent WAL was replayed there.").
		query(`pg_reliability_replication_client_replay_lag_seconds{$here}`, "{{instance}} to {{application_name}}").unit("s").
		none("nobody receives WAL")
}

func walRate() *panel {
	return series("WAL rate", "Written on a primary, replayed on a standby. The network and the archive must carry the peaks.").
		query(`rate(pg_reliability_wal_position_bytes_total{$here}[$__rate_interval])`, "{{instance}}").unit("binBps").none("unknown")
}

func slotList(s *sources) *panel {
	return table("Slots", "A slot that nobody streams from keeps WAL until the disk is full, or until max_slot_wal_keep_size if that is "+
		"set. Drop those that are no longer needed.").
		label("instance", "Instance").label("slot_name", "Slot").
		column("Active", `pg_replication_slots_slot_is_active{$here}`, filled(), width(90),
			mapped(mapping(1, "yes", fine, 0), mapping(0, "no", ticket, 1))).
		column("Usable", `1 - pg_reliability_slot_invalidated{$here}`, filled(), width(90),
			mapped(mapping(1, "yes", fine, 0), mapping(0, "LOST", page, 1))).
		column("Keeps", `pg_replication_slots_pg_wal_lsn_diff{$here}`, unit("bytes")).
		column("Room left", `pg_replication_slots_safe_wal_size_bytes{$here}`, unit("bytes")).
		sorted("Keeps").none("no slots").runbooks(s, "PostgresSlotUnlimited", "PostgresSlotLost", "PostgresSlotRetention")
}

func subscriptions(s *sources) *panel {
	return table("Subscriptions",
		"One that is on and has no worker fails again and again: what it stumbles over stands in this server's log.").
		label("instance", "Instance").label("datname", "Database").label("subname", "Subscription").
		column("On", `pg_reliability_subscription_enabled{$here}`, filled(), width(90),
			mapped(mapping(1, "yes", fine, 0), mapping(0, "no", ticket, 1))).
		column("Worker", `pg_reliability_subscription_apply_workers{$here}`, filled(), width(90),
			mapped(mapping(1, "runs", fine, 0), mapping(0, "NONE", page, 1))).
		column("Copying", `pg_reliability_subscription_sync_workers{$here}`, width(90)).
		column("Not ready", `pg_reliability_subscription_tables_not_ready{$here}`, width(90)).
		column("of tables", `pg_reliability_subscription_tables{$here}`, width(90)).
		sorted("Copying").none("no subscriptions").runbooks(s, "PostgresSubscriptionBroken")
}

func slotRetention(s *sources) *panel {
	return series("WAL kept by slots", "The line is the alert's for slots without a limit, "+s.say("slot_retained_bytes")+".").
		query(`pg_replication_slots_pg_wal_lsn_diff{$here}`, "{{instance}} {{slot_name}}").unit("bytes").
		thresholds(s.above("slot_retained_bytes", "")).none("no slots").runbooks(s, "PostgresSlotUnlimited")
}

func archiveStates(s *sources) *panel {
	return states("WAL archive", "Whether the last attempt to archive WAL succeeded. FAILING: point-in-time recovery ends there, and the "+
		"disk fills.").
		query(`max by (job, cluster, instance) (2 + pg_reliability_archiver_failing{$here} and pg_reliability_archiver_enabled{$here} == 1 or pg_reliability_archiver_enabled{$here})`, "{{instance}}").shortNames().
		word(0, "OFF", neutral).word(1, "UNTRIED", unknown).word(2, "ARCHIVING", fine).word(3, "FAILING", page).none("unknown").
		runbooks(s, "PostgresArchiveFailing")
}

func conflicts() *panel {
	return series("Queries cancelled by replay", "On standbys: queries that stood in the way of replay. hot_standby_feedback or a longer "+
		"max_standby_streaming_delay lets them finish, at a price.").
		query(`sum by (job, cluster, instance) (increase(pg_stat_database_conflicts{$here}[$__rate_interval]))`, "{{instance}}").unit("short").
		none("no standby here")
}
