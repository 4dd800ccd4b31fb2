package dashboards

import "fmt"

// fleet: which of many servers needs somebody?
func fleet(s *sources) board {
	return board{
		uid: "pgr-fleet", title: "Fleet", known: "pg_up",
		about: "Which of all servers needs somebody? One row each, the worst first; each leads to its Overview.",
		rows: []row{
			section("All servers",
				across(4, serversTotal(), serversDown(s), serversUnknown(s), alertsFiring(), backupsMissing(s), versions()),
				across(14, fleetList(s)),
			),
			section("Lately",
				across(9, roles(), fleetAlerts()),
				across(8, fleetBudget(s), fleetLatency(s)),
			),
		},
	}
}

func serversTotal() *panel {
	return stat("Servers", "Of the chosen ones, those that Prometheus knows to have shown a database.").
		query(`count(pgr:target:known{$here}) or count(pg_up{$here})`, "").decimals(0).none("none")
}

func serversDown(s *sources) *panel {
	return stat("Down", "Servers that turn users away now: reads or logins fail.").
		query(`sum(pg_up{$here} == bool 0)`, "").decimals(0).thresholds(from(1, page)).none("unknown").runbooks(s, "PostgresDown")
}

func serversUnknown(s *sources) *panel {
	return stat("Unknown", "Servers whose exporter can't be scraped: nothing is known of them.").
		query(`count(up{$here} == 0 and on (job, cluster, instance) pgr:target:known{$here}) or 0 * max(up{$here})`, "").decimals(0).
		thresholds(from(1, page)).
		none("unknown").runbooks(s, "PostgresExporterDown")
}

func backupsMissing(s *sources) *panel {
	// A repository says which cluster's server it belongs to by the labels of who shows it; several servers of a cluster share theirs.
	proved := fmt.Sprintf(`(pg_reliability_backup_verified_age_seconds{$here} <= %.0f)`, s.value("backup_verified_ticket_seconds"))
	return stat("Without a proved backup", "Primaries of which no backup was restored and compared within "+
		s.say("backup_verified_ticket_seconds")+", or ever; and those of which "+
		"nothing is known, because no exporter with --backup.catalog and no backup job shows a repository under their labels. "+
		"Job late: those whose backup job is late or gone, so that nobody proves anything.").
		query(`count(`+serversBacked+` and on (job, cluster, instance) pg_reliability_backup_catalog_up{$here} unless on (job, cluster, instance) `+
			proved+`)
  or 0 * max(pg_reliability_backup_catalog_up{$here})`, "not proved").
		query(backupsUnknown+` or 0 * max(pgr:target:known{$here})`,
			"nothing known").
		of("B", judged(steps{{nil, fine}, {1, unknown}})).
		query(`count(`+serversBacked+` and on (job, cluster, instance) `+unwatched()+`)`, "job late").of("C", judged(plain(ticket))).
		decimals(0).thresholds(from(1, ticket)).none(noCatalogue).leads("Backups", "pgr-backups").
		runbooks(s, "PostgresBackupUnverified", "PostgresBackupMissing")
}

func versions() *panel {
	return stat("Versions", "How many servers run each minor version of PostgreSQL.").
		query(`count by (short_version) (pg_static{$here})`, "{{short_version}}").decimals(0).none("unknown").option("textMode", "value_and_name")
}

func fleetList(s *sources) *panel {
	// In the time shown: a server that vanished from Prometheus' targets is listed, and not as well.
	const known = `last_over_time(pgr:target:known{$here}[$__range])`
	alerts := func(severity string) string {
		return fmt.Sprintf(`sum by (job, cluster, instance) (ALERTS{$here, alertstate="firing", severity=%q} or 0 * `+known+`)`, severity)
	}
	// A server that answers on open connections and is down all the same lets nobody in.
	const state = `3 * (pg_reliability_probe_success{$here, probe="read"} == 1 and on (job, cluster, instance) pg_up{$here} == 0)
  or 2 * pg_reliability_role{$here, role="primary"} or pg_reliability_role{$here, role="standby"} or pg_up{$here} == 0
  or (up{$here} == 0) - 1 and on (job, cluster, instance) pgr:target:known{$here}
  or ` + known + ` - 3 unless on (job, cluster, instance) up{$here}`
	const away = `(1 - (max by (job, cluster, instance) (pg_up{$here}) or 0 * max by (job, cluster, instance) (up{$here} and on (job, cluster, instance) pgr:target:known{$here})
  or max by (job, cluster, instance) (` + known + `)))`
	// A backup job that is scraped by itself is no server.
	const ofServer = ` and on (job, cluster, instance) pgr:target:known{$here}`
	overview := leadTo("Overview", "pgr-overview", "var-instance=${__data.fields.Instance}")
	return table("Servers, worst first", "Trouble counts 1000 for a server that is down or unknown, 100 for a page and 1 for a ticket. "+
		"ABSENT: no target of Prometheus any more. "+
		"Backup: the age of the newest good one, of what the alert allows; NONE: its repository holds none. Click an instance for its Overview.").
		label("instance", "Instance", links(overview), width(160)).
		column("State", state, filled(), width(110), mapped(mapping(3, "LOGINS FAIL", page, 5), mapping(2, "PRIMARY", fine, 0),
			mapping(1, "STANDBY", neutral, 1), mapping(0, "DOWN", page, 2), mapping(-1, "UNKNOWN", unknown, 3), mapping(-2, "ABSENT", ticket, 4))).
		label("cluster", "Cluster").
		column("Trouble", "100 * "+alerts("critical")+" + "+alerts("warning")+" + 1000 * "+away,
			filled(), width(90), judged(steps{{nil, fine}, {1, ticket}, {100, page}})).
		column("Budget left", `pgr:error_budget:remaining_minutes{$here}`, unit("m"), property{"decimals", 1}, filled(),
			judged(steps{{nil, page}, {0, fine}})).
		column("Restarts", `round(sum without (kind) (increase(pg_reliability_restarts_total{$here, kind=~"crash|restart"}[$__range])))`,
			filled(), judged(from(1, ticket)), width(90)).
		column("Connections", `pgr:connections:used_ratio{$here}`, unit("percentunit"), property{"decimals", 0}, filled(),
			judged(append(s.above("connections_high_ratio", ""), step{1, page}))).
		column("Disk", `pgr:disk:used_ratio{$here}`, unit("percentunit"), property{"decimals", 0}, filled(),
			judged(s.above("disk_used_ticket_ratio", "disk_used_page_ratio"))).
		column("Lag", `pg_replication_lag_seconds{$here} and on (job, cluster, instance) pg_replication_is_replica{$here} == 1`, unit("s"),
			property{"decimals", 0}, filled(),
			judged(s.above("replication_lag_ticket_seconds", "replication_lag_page_seconds"))).
		column("Backup job", `(1 + 0 * pg_reliability_backup_next_run_timestamp_seconds{$here} unless on (job, cluster, instance) `+unwatched()+
			` or 0 * `+unwatched()+`)`+ofServer, filled(), width(100), mapped(mapping(1, "ON TIME", fine, 0), mapping(0, "LATE", ticket, 1))).
		column("Backup", `(pg_reliability_backup_age_seconds{$here} / pgr:backup_age:limit_seconds{$here} or 0 * pg_reliability_backup_catalog_up{$here} - 1)`+ofServer,
			unit("percentunit"), property{"decimals", 0}, filled(), judged(steps{{nil, fine}, {1, page}}), mapped(mapping(-1, "NONE", ticket, 0))).
		column("Proved", `pg_reliability_backup_verified_age_seconds{$here}`+ofServer, unit("s"), property{"decimals", 0}, filled(),
			judged(s.above("backup_verified_ticket_seconds", "backup_verified_page_seconds"))).
		column("Restore", `pg_reliability_rto_seconds{$here}`+ofServer, unit("s"), property{"decimals", 0}, filled(),
			judged(s.above("", "restore_objective_seconds"))).
		column("Ids", `pg_reliability_wraparound_xid_ratio{$here}`, unit("percentunit"), property{"decimals", 0}, filled(),
			judged(s.above("wraparound_ticket_ratio", "wraparound_page_ratio"))).
		beside("State").sorted("Trouble").none("no such server")
}

func fleetAlerts() *panel {
	return series("Firing alerts", "How many at each moment, by severity.").
		query("count by (severity) ("+onceAServer+ofAlerts("ALERTS", `alertstate="firing", severity=~"critical|warning"`)+")", "{{severity}}").
		called("critical", colored(page)).called("warning", colored(ticket)).unit("short").stacked().steppy().none("no alert fires")
}

func fleetBudget(s *sources) *panel {
	return bars("Error budget left, least first", "Minutes of downtime until the objective of "+s.say("slo_availability_ratio")+
		" in 30 days is missed.").
		query(`bottomk(10, pgr:error_budget:remaining_minutes{$here})`, "{{instance}}").unit("m").decimals(1).
		thresholds(steps{{nil, page}, {0, fine}}).
		max((1-s.value("slo_availability_ratio"))*30*day/60).none("no recording yet").runbooks(s, "PostgresErrorBudgetBurn")
}

func fleetLatency(s *sources) *panel {
	return series("Probe latency, slowest", "Of a trivial query, 99 % of them. The line is the objective, "+s.say("probe_p99_seconds")+".").
		query(`topk(10, histogram_quantile(0.99, sum by (le, job, cluster, instance) (rate(pg_reliability_probe_duration_seconds_bucket{$here, probe="read", phase="query"}[$__rate_interval]))) >= 0)`, "{{instance}}").
		unit("s").thresholds(s.above("", "probe_p99_seconds")).none("no probes").runbooks(s, "PostgresProbeSlow")
}
