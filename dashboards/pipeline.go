package dashboards

import "fmt"

// pipeline: can what the other boards show be believed? Prometheus and Alertmanager are targets of their own, whatever
// the job is called: their metrics are not asked for by job and instance.
func pipeline(s *sources) board {
	return board{
		uid: "pgr-pipeline", title: "Exporter and pipeline", known: "pg_up",
		about: "Can I believe what I see, and will I hear of trouble? The way from the server through the exporter and Prometheus to " +
			"Alertmanager.",
		rows: []row{
			section("Will I hear of trouble?",
				across(4, watchdog(s), exporterState(s), slowestScrape(s), collectorsFailing(s), rulesFailing(s), notificationsFailing(s)),
			),
			section("Exporter",
				across(8, scrapeTimes(s), scrapeSamples()),
				across(10, collectorList(s)),
				across(8, collectorTime(), collectorErrors(), exporterList(s)),
				across(6, logRead(), logSources(), logFollowed()),
			),
			section("Prometheus and Alertmanager",
				across(8, ruleTime(), notifications(s)),
				across(8, prometheusHealth(), delivery(s)),
			),
		},
	}
}

func watchdog(s *sources) *panel {
	return stat("Alert rules", "RUN: Prometheus evaluates them; the watchdog, which always fires, is there. Whether its notification "+
		"arrives is the dead man's switch to tell.").
		query(`max(ALERTS{alertname="Watchdog", alertstate="firing"})`, "").word(1, "RUN", fine).none("NOT RUNNING").runbooks(s, "Watchdog")
}

func exporterState(s *sources) *panel {
	return stat("Exporters", "Targets that showed a database and can't be scraped now, and those that vanished from Prometheus' targets.").
		query(`count(up{$here} == 0 and on (job, cluster, instance) pgr:target:known{$here}) or 0 * max(up{$here})`, "down").
		query(`count(last_over_time(pgr:target:known{$here}[$__range]) unless on (job, cluster, instance) up{$here}) or 0 * max(up{$here})`,
			"absent").
		decimals(0).thresholds(from(1, page)).of("B", judged(from(1, ticket))).none("no such target").
		runbooks(s, "PostgresExporterDown", "PostgresTargetAbsent", "PostgresNoTargets")
}

func slowestScrape(s *sources) *panel {
	return stat("Slowest scrape", "Of the chosen exporters, now. Above "+s.say("scrape_duration_seconds")+
		" it comes near Prometheus' timeout.").
		query(`max(scrape_duration_seconds{$here} and on (job, cluster, instance) pgr:target:known{$here})`, "").unit("s").
		thresholds(s.above("scrape_duration_seconds", "")).none("unknown").runbooks(s, "PostgresScrapeSlow")
}

func collectorsFailing(s *sources) *panel {
	return stat("Failing collectors", "Of servers that are up. Their numbers on the other boards are missing or old.").
		query(`sum((pg_reliability_collector_success{$here} == bool 0) unless on (job, cluster, instance) pg_up{$here} == 0)`, "").unit("short").
		decimals(0).
		thresholds(from(1, ticket)).none("server is down").runbooks(s, "PostgresCollectorFailing")
}

func rulesFailing(s *sources) *panel {
	return stat("Failed rule evaluations", "In the time shown, of all Prometheus servers. Alerts of that group are silent meanwhile: "+
		"Prometheus' log says why.").
		query(`round(sum(increase(prometheus_rule_evaluation_failures_total[$__range])))`, "").unit("short").decimals(0).
		thresholds(from(1, page)).
		none("Prometheus not scraped").runbooks(s, "PostgresRuleEvaluationFailing")
}

func notificationsFailing(s *sources) *panel {
	return stat("Failed notifications", "In the time shown: from Prometheus to Alertmanager, and from there to people.").
		query(`round(sum(increase(prometheus_notifications_errors_total[$__range])))`, "to Alertmanager").
		query(`round(sum(increase(alertmanager_notifications_failed_total[$__range])))`, "to people").
		unit("short").decimals(0).thresholds(from(1, page)).none("not scraped").runbooks(s, "PostgresNotificationsFailing")
}

func scrapeTimes(s *sources) *panel {
	return series("Scrape time", "The line is the alert's, "+s.say("scrape_duration_seconds")+". Slow: find the collector below, and give "+
		"it an interval of its own.").
		query(`scrape_duration_seconds{$here} and on (job, cluster, instance) pgr:target:known{$here}`, "{{instance}}").unit("s").
		thresholds(s.above("scrape_duration_seconds", "")).none("unknown").runbooks(s, "PostgresScrapeSlow")
}

func scrapeSamples() *panel {
	return series("Samples per scrape", "A sudden fall: a collector fails. Steady growth: something makes new series, such as databases or "+
		"tables.").
		query(`scrape_samples_scraped{$here} and on (job, cluster, instance) pgr:target:known{$here}`, "{{instance}}").unit("short").
		none("unknown")
}

func collectorList(s *sources) *panel {
	return table("Collectors", "The slowest first. Old data on a server that is up: the collector fails, see the exporter's log. Demoted: "+
		"it was slow, and runs in the background. Skipped: it does not apply to that server.").
		label("instance", "Instance").label("collector", "Collector").
		column("Took", `pg_reliability_collector_duration_seconds{$here}`, unit("s")).
		column("Success", `pg_reliability_collector_success{$here}`, filled(), width(100),
			mapped(mapping(1, "yes", fine, 0), mapping(0, "FAILED", page, 1))).
		column("Age of data", `pg_reliability_collector_data_age_seconds{$here}`, unit("s"), filled(),
			judged(s.above("collector_stale_seconds", ""))).
		column("Demoted", `pg_reliability_collector_demoted{$here}`, width(100),
			mapped(mapping(0, "no", fine, 0), mapping(1, "demoted", ticket, 1))).
		column("Skipped", `sum without (reason) (pg_reliability_collector_skipped{$here})`, width(100),
			mapped(mapping(0, "no", fine, 0), mapping(1, "skipped", neutral, 1))).
		column("Errors", `round(sum without (reason) (increase(pg_reliability_collector_errors_total{$here}[$__range])))`, unit("short"),
			width(90)).
		sorted("Took").none("unknown").runbooks(s, "PostgresCollectorFailing")
}

func collectorTime() *panel {
	return series("Slowest collectors", "How long each one's newest run took.").
		query(`topk(8, pg_reliability_collector_duration_seconds{$here})`, "{{collector}} {{instance}}").unit("s").none("unknown")
}

func collectorErrors() *panel {
	return series("Collectors' errors", "By reason. refused, timeout and the like: the server's state. permission: the exporter's role "+
		"lacks a grant.").
		query(`sum by (job, cluster, instance, collector, reason) (increase(pg_reliability_collector_errors_total{$here}[$__rate_interval])) > 0`,
			"{{instance}} {{collector}}: {{reason}}").
		unit("short").none("no errors")
}

func exporterList(s *sources) *panel {
	return table("Exporters", "State: whether outages and restarts are remembered across the exporter's own restarts. Rights: without "+
		"pg_monitor much is hidden.").
		label("instance", "Instance").
		column("State kept", `pg_reliability_state_persistence{$here, status="ok"}`, filled(),
			mapped(mapping(1, "yes", fine, 0), mapping(0, "NO", ticket, 1))).
		column("pg_monitor", `pg_reliability_role_has_pg_monitor{$here}`, filled(),
			mapped(mapping(1, "yes", fine, 0), mapping(0, "NO", ticket, 1))).
		column("Config", `pg_reliability_config_last_reload_successful{$here}`, filled(),
			mapped(mapping(1, "loaded", fine, 0), mapping(0, "OLD", ticket, 1))).
		column("Memory", `process_resident_memory_bytes{$here} and on (job, cluster, instance) pgr:target:known{$here}`, unit("bytes")).
		sorted("Memory").none("unknown").runbooks(s, "PostgresMonitoringIncomplete")
}

func ruleTime() *panel {
	return series("Rule evaluation", "Share of each group's interval that its evaluation takes. At 100 % evaluations are left out, and "+
		"alerts come late.").
		query(`topk(8, prometheus_rule_group_last_duration_seconds / prometheus_rule_group_interval_seconds)`, "{{rule_group}}").
		renamed("/.*;/", "").
		unit("percentunit").thresholds(from(1, page)).none("Prometheus not scraped")
}

func notifications(s *sources) *panel {
	return series("Notifications", "Sent by Prometheus to Alertmanager, by Alertmanager to people, and those that failed.").
		query(`sum(rate(prometheus_notifications_sent_total[$__rate_interval]))`, "to Alertmanager").
		query(`sum by (integration) (rate(alertmanager_notifications_total[$__rate_interval])) > 0`, "to {{integration}}").
		query(`sum(rate(prometheus_notifications_errors_total[$__rate_interval]))`, "failed to Alertmanager").of("C", colored(page)).
		query(`sum(rate(alertmanager_notifications_failed_total[$__rate_interval]))`, "failed to people").of("D", colored(page)).
		unit("ops").none("not scraped").runbooks(s, "PostgresNotificationsFailing")
}

func prometheusHealth() *panel {
	return series("Prometheus' series", "How many it holds in memory. It needs some kilobytes for each.").
		query(`prometheus_tsdb_head_series`, "{{instance}}").unit("short").none("Prometheus not scraped")
}

func delivery(s *sources) *panel {
	return table("Configuration and delivery", "Whether Prometheus and Alertmanager run the newest configuration, how many Alertmanagers "+
		"Prometheus has found, and how many notifications it has dropped in the time shown.").
		label("instance", "Instance").
		column("Configuration", `prometheus_config_last_reload_successful or alertmanager_config_last_reload_successful`, filled(),
			mapped(mapping(1, "loaded", fine, 0), mapping(0, "OLD", page, 1))).
		column("Found", `prometheus_notifications_alertmanagers_discovered`, filled(), judged(steps{{nil, page}, {1, fine}})).
		column("Dropped", fmt.Sprintf(`round(increase(%s[$__range]))`, "prometheus_notifications_dropped_total"), filled(),
			judged(from(1, page))).
		sorted("Instance").none("not scraped").runbooks(s, "PostgresNotificationsFailing")
}
