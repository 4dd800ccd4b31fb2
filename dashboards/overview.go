package dashboards

import "fmt"

const (
	day = 24 * 3600
	// farAway is when a trend says nothing any more.
	farAway = 365 * day
	// budgetLow is the share of the error budget below which it is worth a look; no alert waits for it.
	budgetLow = 0.25
)

// overview: is it all right now?
func overview(s *sources) board {
	return board{
		uid: "pgr-overview", title: "Overview", known: "pg_up",
		about: "Is it all right now? With several instances chosen, each number of the first row is the worst of theirs.",
		rows: []row{
			section("Is it all right now?",
				across(4, alertsFiring(), serverState(s), availability(s), budgetLeft(s), restarts(), connectionsUsed(s)),
				across(6, recoveryPoint(s).wide(4), recoveryTime(s).wide(4), diskFullIn(s).wide(4), checksumFailures(s).wide(4), roles().wide(8)),
			),
			section("What do users notice?",
				across(8, probeLatency(s), probesFailed(s)),
				across(8, burnRate(s), sessionsByState()),
			),
			section("What goes wrong next?",
				across(4, certificateEnds(s), passwordEnds(s), clockSkew(s), sequencesUsed(s), invalidIndexes(s), pendingRestart(s)),
			),
			section("What happened?",
				across(8, alertList(s).wide(12), outageList(s).wide(12)),
				across(6, storyList(s)),
				across(8, downtimeReasons(s).wide(7), recoveryTimes(s).wide(7), restartList(s).wide(6), uptime()),
			),
		},
	}
}

// onceAServer counts an alert once for each server, as the list of alerts does: two full volumes lead to one runbook.
const onceAServer = "group by (alertname, severity, job, cluster, instance) "

func alertsFiring() *panel {
	// 0 only where the rules are known to run: the watchdog always fires.
	count := func(severity string) string {
		return "count(" + onceAServer + ofAlerts("ALERTS", fmt.Sprintf(`alertstate="firing", severity=%q, alertname!="Watchdog"`, severity)) +
			`) or 0 * max(ALERTS{alertname="Watchdog"})`
	}
	return stat("Firing alerts", "Alerts that page somebody, and those that are a ticket. The list is below: begin with the runbook of the "+
		"topmost.").
		query(count("critical"), "pages").query(count("warning"), "tickets").
		thresholds(from(1, page)).of("B", judged(from(1, ticket))).
		none("no alert rules").decimals(0)
}

func serverState(s *sources) *panel {
	return stat("State", "UP: reads and logins work. LOGINS FAIL: open connections work, new ones don't. DOWN: nothing works. "+
		"UNKNOWN: the exporter can't be scraped or has not probed yet. The reason is in the graph of failed probes.").
		query(`min(2 * (pg_up{$here} == 1)
  or on (job, cluster, instance) (pg_reliability_probe_success{$here, probe="read"} == 1 and on (job, cluster, instance) pg_up{$here} == 0)
  or on (job, cluster, instance) (pg_up{$here} == 0) - 1
  or on (job, cluster, instance) 0 * (up{$here} and on (job, cluster, instance) pgr:target:known{$here}))`, "").
		word(2, "UP", fine).word(1, "LOGINS FAIL", page).word(0, "UNKNOWN", unknown).word(-1, "DOWN", page).
		none("no such server").runbooks(s, "PostgresDown", "PostgresExporterDown", "PostgresLoginFailing")
}

func availability(s *sources) *panel {
	return stat("Availability, 30 d", "Share of the last 30 days in which reads and logins worked, counted by the prober each second; the "+
		"outage that goes on is part of it, and what was not reached is never rounded up. "+
		"The objective is "+s.say("slo_availability_ratio")+". Below it: find the longest outages in the list, and what they had in common.").
		query(`floor(1e5 * min(1 - pgr:downtime:ratio_30d{$here})) / 1e5`, "").unit("percentunit").decimals(3).
		thresholds(s.below("", "slo_availability_ratio")).none("no recording yet").runbooks(s, "PostgresErrorBudgetBurn")
}

func budgetLeft(s *sources) *panel {
	budget := (1 - s.value("slo_availability_ratio")) * 30 * day / 60
	return stat("Error budget left", fmt.Sprintf("Minutes of downtime left until the objective of %s in 30 days is missed, of %.1f. "+
		"Below zero: make no risky change until it recovers.", s.say("slo_availability_ratio"), budget)).
		query(`min(pgr:error_budget:remaining_minutes{$here})`, "").unit("m").decimals(1).
		thresholds(steps{{nil, page}, {0, ticket}, {budgetLow * budget, fine}}).none("no recording yet").runbooks(s, "PostgresErrorBudgetBurn")
}

func restarts() *panel {
	count := `round(sum(increase(pg_reliability_restarts_total{$here, kind=%q}[$__range])))`
	return stat("Restarts and crashes", "In the time shown. A crash is a server process that died: all sessions were cut, though the "+
		"server kept running. "+
		"The server's log names the signal and the query.").
		query(fmt.Sprintf(count, "restart"), "restarts").query(fmt.Sprintf(count, "crash"), "crashes").
		thresholds(from(1, ticket)).of("B", judged(from(1, page))).none("not observable").decimals(0)
}

func connectionsUsed(s *sources) *panel {
	return stat("Connections used", "Share of the slots that ordinary roles can take. At 100 % nobody can log in: find who holds them on "+
		"the board Activity.").
		query(`max(pgr:connections:used_ratio{$here})`, "").unit("percentunit").decimals(0).
		thresholds(append(s.above("connections_high_ratio", ""), step{1, page})).
		none("unknown").leads("Who holds them", "pgr-activity").runbooks(s, "PostgresConnectionsHigh", "PostgresConnectionsExhausted")
}

func recoveryPoint(s *sources) *panel {
	p := oldest(stat("RPO: could be lost", "How much the newest good backup lacks, archived WAL included, and when a backup was last "+
		"proved by restoring it; and of how many servers no repository is known. "+
		"Orange with a young proof: the backup job is late or gone, and nobody proves anything. "+
		"Red: see the board Backups for why the job stands still. NONE: a repository holds no such backup."), "pg_reliability_rpo_seconds")
	late := ofUnwatched("pg_reliability_backup_verified_age_seconds{$here}")
	return p.query(lacking("pg_reliability_backup_verified_age_seconds")+
		" or max(pg_reliability_backup_verified_age_seconds{$here}) unless count("+late+")", "last proved").
		of("C", judged(s.above("backup_verified_ticket_seconds", "backup_verified_page_seconds"))).
		query(backupsUnknown+" > 0 and on () max(pg_reliability_backup_catalog_up{$here})", "nothing known of").
		of("D", unit("none"), property{"decimals", 0}, judged(plain(unknown))).
		query("max("+late+") unless "+lacking("pg_reliability_backup_verified_age_seconds"), "job late, last proved").
		of("E", judged(steps{{nil, ticket}, {s.value("backup_verified_page_seconds"), page}})).
		none(noCatalogue).leads("Backups", "pgr-backups").runbooks(s, "PostgresBackupTooOld", "PostgresBackupUnverified")
}

const (
	// serversBacked are those that a backup is expected of: a standby's data is its primary's.
	serversBacked = `(pgr:target:known{$here} unless on (job, cluster, instance) pg_reliability_role{$here, role="standby"} == 1)`
	// backupsUnknown is of how many of them no repository is shown: another's good figures say nothing of theirs.
	backupsUnknown = `count(` + serversBacked + ` unless on (job, cluster, instance) pg_reliability_backup_catalog_up{$here})`
)

func recoveryTime(s *sources) *panel {
	return stat("RTO: restore takes", "Measured: how long restoring the newest verified backup into an empty server took. The objective is "+
		s.say("restore_objective_seconds")+".").
		query(`max(pg_reliability_rto_seconds{$here})`, "slowest").unit("s").decimals(1).thresholds(s.above("", "restore_objective_seconds")).
		query(`count(`+serversBacked+` unless on (job, cluster, instance) pg_reliability_rto_seconds{$here}) > 0 and on () max(pg_reliability_rto_seconds{$here})`,
			"not measured of").of("B", unit("none"), property{"decimals", 0}, judged(plain(unknown))).
		none("no restore measured").leads("Backups", "pgr-backups").runbooks(s, "PostgresRestoreSlow")
}

func diskFullIn(s *sources) *panel {
	return stat("Disk full in", fmt.Sprintf("At the pace of the last 6 hours, for the volume that is full first; said only of volumes with "+
		"less than %s free that were watched for an hour. "+
		"What to delete, and what never, is in the runbook.", s.say("disk_fills_below_ratio"))).
		query(fmt.Sprintf(`min(pgr:disk:time_to_full_seconds{$here} < %d) or 0 * max(pg_reliability_volume_size_bytes{$here}) - 1`, farAway), "").
		unit("s").decimals(1).thresholds(s.below("disk_fills_ticket_seconds", "disk_fills_page_seconds")).
		word(-1, "not soon", fine).none("no volume known").leads("Capacity", "pgr-capacity").
		runbooks(s, "PostgresDiskFillsSoon", "PostgresDiskFull")
}

func uptime() *panel {
	return stat("Up since its start for", "Of the server that was started last. It says nothing of whether anybody could reach it: that is "+
		"availability.").
		query(`min(time() - pg_postmaster_start_time_seconds{$here})`, "").unit("s").decimals(1).thresholds(plain(neutral)).
		none("no server answers")
}

func roles() *panel {
	return states("Roles", "Which server was primary, standby or down, or let nobody log in, and when; of many the 15 that were down most. "+
		"A gap: the exporter could not be scraped.").
		query(`max by (job, cluster, instance) (3 * (pg_reliability_probe_success{$here, probe="read"} == 1 and on (job, cluster, instance) pg_up{$here} == 0)
  or 2 * pg_reliability_role{$here, role="primary"} or pg_reliability_role{$here, role="standby"} or pg_up{$here} == 0)
  and on (job, cluster, instance) bottomk(15, avg_over_time(pg_up{$here}[$__range] @ end()))`, "{{instance}}").shortNames().
		word(3, "LOGINS FAIL", ticket).word(2, "PRIMARY", fine).word(1, "STANDBY", neutral).word(0, "DOWN", page).none("no such server")
}

func probeLatency(s *sources) *panel {
	quantile := `histogram_quantile(%s, sum by (le, job, cluster, instance) (rate(pg_reliability_probe_duration_seconds_bucket{$here, probe=%q, phase=%q}[$__rate_interval]))) >= 0`
	return series("Probe latency", "Time of a trivial query on an open connection, and of a login's authentication. The line is the "+
		"objective for 99 % of queries, "+
		s.say("probe_p99_seconds")+". Above it: look for a busy disk or CPU, then at the board Activity.").
		query(fmt.Sprintf(quantile, "0.99", "read", "query"), "query p99 {{instance}}").
		query(fmt.Sprintf(quantile, "0.5", "read", "query"), "query p50 {{instance}}").
		query(fmt.Sprintf(quantile, "0.99", "login", "auth"), "login p99 {{instance}}").of("C", lineStyle(4, 4)).
		unit("s").thresholds(s.above("", "probe_p99_seconds")).none("no probes").runbooks(s, "PostgresProbeSlow")
}

func probesFailed(s *sources) *panel {
	return series("Failed probes", "Share of probes that failed, by kind and reason. refused: no postmaster. timeout: it hangs. "+
		"starting_up: recovery is under way.").
		query(`sum by (job, cluster, instance, probe, result) (rate(pg_reliability_probe_total{$here, result!="ok"}[$__rate_interval]))
  / on (job, cluster, instance, probe) group_left () sum by (job, cluster, instance, probe) (rate(pg_reliability_probe_total{$here}[$__rate_interval])) > 0`, "{{instance}} {{probe}}: {{result}}").
		query(`0 * sum by (job, cluster, instance) (rate(pg_reliability_probe_total{$here, result="ok"}[$__rate_interval]))`, "{{instance}}").
		of("B", colored(fine)).
		unit("percentunit").max(1).none("no probes").runbooks(s, "PostgresDown", "PostgresLoginFailing")
}

func burnRate(s *sources) *panel {
	budget := fmt.Sprintf("(1 - %v)", s.value("slo_availability_ratio"))
	p := series("Error budget burn", fmt.Sprintf("How many times faster than the objective of %s allows the budget is used up, over each "+
		"window. A page above %s over 1 h or %s over 6 h, a ticket above %s over 1 d or %s over 3 d.",
		s.say("slo_availability_ratio"), s.say("burn_1h_factor"), s.say("burn_6h_factor"), s.say("burn_1d_factor"), s.say("burn_3d_factor")))
	for _, window := range []string{"1h", "6h", "1d", "3d"} {
		p.query(fmt.Sprintf(`max by (job, cluster, instance) (pgr:downtime:ratio_rate%s{$here}) / %s`, window, budget), window+" {{instance}}")
	}
	return p.unit("short").none("no recording yet").runbooks(s, "PostgresErrorBudgetBurn").thresholds(steps{
		{nil, fine}, {s.value("burn_3d_factor"), "yellow"}, {s.value("burn_1d_factor"), ticket}, {s.value("burn_6h_factor"), page},
		{s.value("burn_1h_factor"), "dark-red"}})
}

func sessionsByState() *panel {
	return series("Sessions by state", "Clients' sessions. Many active ones wait for something: see the board Activity for what.").
		query(`sum by (state) (pg_stat_activity_count{$here, state!=""}) > 0`, "{{state}}").stacked().unit("short").none("unknown")
}

// infoLast is what the severity info is called in the list of alerts: after critical and warning in the alphabet.
const infoLast = "x-info"

func alertList(s *sources) *panel {
	return table("Firing alerts", "Each leads to its runbook.").
		label("alertname", "Alert", links(object{"title": "Runbook", "url": s.config.Links.Runbook + "${__value.raw}.md", "targetBlank": true})).
		label("severity", "Severity", filled(), width(100), mapped(
			wordFor("critical", "page", page, 0), wordFor("warning", "ticket", ticket, 1), wordFor(infoLast, "info", neutral, 2))).
		label("cluster", "Cluster", width(110)).label("instance", "Instance").
		column("Since", "1000 * label_replace("+ofAlerts("ALERTS_FOR_STATE", `alertname!="Watchdog"`)+" and ignoring (alertstate) "+
			ofAlerts("ALERTS", `alertstate="firing"`)+
			`, "severity", "`+infoLast+`", "severity", "info")`,
			unit("dateTimeFromNow"), width(165)).
		sortedUp("Severity").none("no alert fires")
}

func outageList(s *sources) *panel {
	const start, end = `pg_reliability_last_outage_start_timestamp_seconds{$here}`, `pg_reliability_last_outage_end_timestamp_seconds{$here}`
	// One row, and not one for each step: what goes on is looked at from the end of the time shown.
	const going = `pg_reliability_outage_in_progress_seconds{$here} @ end() > 0`
	const newest = start + ` == ` + start + ` @ end()`
	return table("Outages", "Each outage that ended in the time shown, and the one that goes on. Of outages closer together than the "+
		"graphs' steps "+
		"the last one is listed; the counters have all. Red: longer than the recovery objective of "+s.say("recovery_objective_seconds")+".").
		eachOf().
		label("instance", "Instance").
		column("Began", fmt.Sprintf("1000 * (%s <= %s or %s and %s)", start, end, newest, going), unit("dateTimeAsIso"), width(165)).
		column("Ended", fmt.Sprintf("1000 * (%s >= %s)", end, start), unit("dateTimeAsIso"), width(165),
			property{"mappings", []object{wordForNone("goes on")}}).
		column("Lasted", fmt.Sprintf("%s - %s >= 0 or %s and %s", end, start, going, newest), unit("s"), filled(),
			judged(s.above("", "recovery_objective_seconds"))).
		sorted("Began").none("no outage").runbooks(s, "PostgresDown", "PostgresRecoverySlow")
}

// storyList leads to each server's stories.
func storyList(s *sources) *panel {
	return table("Why it was down", "The exporter keeps what it saw around each outage, and says why it came. Its address is "+
		"--web.external-url's; without that the one that Prometheus scrapes.").
		label("instance", "Instance").
		label("url", "Stories", links(object{"title": "Outages and why they came", "url": "${__value.raw}incidents", "targetBlank": true})).
		column("Outages in the time shown", `0 * pgr:target:page{$here} + on (job, cluster, instance) group_left () `+
			`round(sum by (job, cluster, instance) (increase(pg_reliability_outages_total{$here}[$__range])))`, unit("locale"), width(200)).
		sorted("Outages in the time shown").none("no status page").runbooks(s, "PostgresDown")
}

func downtimeReasons(s *sources) *panel {
	return bars("Downtime by reason", "Seconds in the time shown. refused: no postmaster. timeout: it hangs. too_many_connections: only "+
		"logins failed.").
		query(`sum by (reason) (increase(pg_reliability_downtime_seconds_total{$here}[$__range])) > 0`, "{{reason}}").
		unit("s").thresholds(plain(page)).none("no downtime").runbooks(s, "PostgresErrorBudgetBurn")
}

func recoveryTimes(s *sources) *panel {
	return bars("Recovery times", "Outages in the time shown by how many seconds they lasted at most. The objective is "+
		s.say("recovery_objective_seconds")+": "+
		"if recovery takes longer, checkpoints may be too far apart.").
		buckets(`sum by (le) (increase(pg_reliability_recovery_duration_seconds_bucket{$here}[$__range]))`).
		unit("short").decimals(0).none("no outage has ended").runbooks(s, "PostgresRecoverySlow")
}

func restartList(s *sources) *panel {
	return table("Restarts by kind", "The newest of each kind, and how many in the time shown. container: by the container engine, for "+
		"want of memory perhaps.").
		label("instance", "Instance").label("kind", "Kind").
		column("Count", `round(increase(pg_reliability_restarts_total{$here}[$__range])) and pg_reliability_last_restart_timestamp_seconds{$here}`, unit("short"), width(80)).
		column("Newest", `1000 * pg_reliability_last_restart_timestamp_seconds{$here}`, unit("dateTimeFromNow"), width(145)).
		sorted("Newest").none("no restarts").runbooks(s, "PostgresCrashRecovery", "PostgresRestarted", "PostgresRestartLoop", "PostgresFailover",
		"PostgresContainerRestarted", "PostgresContainerOOMKilled", "PostgresHungRestarted")
}
