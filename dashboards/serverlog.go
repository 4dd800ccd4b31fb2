package dashboards

// These panels show what the server's log was counted to say, on the boards of those who ask: Activity, Settings, and Exporter.

func logMessages() *panel {
	return series("Messages by severity", "A minute, in the server's log: what went wrong for somebody (error), for a session "+
		"(fatal), for all of them (panic), and warnings. For it the exporter follows the log (--log.file).").
		query(`sum by (job, cluster, instance, severity) (rate(pg_reliability_log_messages_total{$here, severity!~"log|info|notice|debug"}[$__rate_interval])) * 60`,
			"{{severity}} {{instance}}").
		unit("short").none("the log is not followed")
}

func logEvents() *panel {
	return series("What the log tells of", "How often, by kind, in each step, of the twelve with most: deadlocks, statements "+
		"ended by a timeout, crashed processes, cancelled autovacuums, full disks and others. The status page's incidents have "+
		"the lines themselves.").
		query(`topk(12, sum by (job, cluster, instance, event) (increase(pg_reliability_log_events_total{$here}[$__rate_interval])))`,
			"{{event}} {{instance}}").
		unit("short").none("the log is not followed")
}

func logTempFiles() *panel {
	return series("Temporary files in the log", "Their size a second, as the server has logged it: only those above log_temp_files.").
		query(`rate(pg_reliability_log_temporary_file_bytes_total{$here}[$__rate_interval])`, "bytes {{instance}}").
		query(`rate(pg_reliability_log_temporary_files_total{$here}[$__rate_interval])`, "files {{instance}}").
		of("B", property{"custom.axisPlacement", "right"}, property{"unit", "short"}).
		unit("binBps").none("the log is not followed")
}

func failedLogins() *panel {
	return series("Logins turned down", "A minute, by the reason that the server's log gives. Many of password: a forgotten job, or somebody "+
		"who guesses.").
		query(`sum by (job, cluster, instance, reason) (rate(pg_reliability_log_failed_logins_total{$here}[$__rate_interval])) * 60`,
			"{{reason}} {{instance}}").
		unit("short").none("the log is not followed")
}

func logRead() *panel {
	return series("Server log: read and left out", "What the exporter reads a second. Left out: it could not keep up, and went on at "+
		"the end; counts are too low for that while.").
		query(`rate(pg_reliability_log_read_bytes_total{$here}[$__rate_interval])`, "read {{instance}}").
		query(`rate(pg_reliability_log_skipped_bytes_total{$here}[$__rate_interval])`, "left out {{instance}}").of("B", lineStyle(4, 4)).
		unit("binBps").none("the log is not followed")
}

func logFollowed() *panel {
	return table("Server log: how it is followed", "Lines not read are no messages of PostgreSQL, longer than 64 KiB, or more than "+
		"200 in a second; skips are moments at which the exporter could not keep up.").
		label("instance", "Instance").
		column("Files", `pg_reliability_log_files{$here}`, width(90)).
		column("Newest message", `time() - pg_reliability_log_last_message_timestamp_seconds{$here}`, unit("s")).
		column("Lines not read", `sum by (job, cluster, instance) (increase(pg_reliability_log_dropped_lines_total{$here}[$__range]))`, unit("locale")).
		column("Skips", `increase(pg_reliability_log_skips_total{$here}[$__range])`, unit("locale")).
		sorted("Newest message").none("the log is not followed")
}

func logSources() *panel {
	return states("Server log: can it be read?", "NO: no file matches, or one can't be opened, or the container engine refuses; "+
		"the exporter's own log says which.").
		query(`min by (job, cluster, instance, source) (pg_reliability_log_source_up{$here})`, "{{source}} {{instance}}").shortNames().
		word(0, "NO", ticket).word(1, "YES", fine).none("the log is not followed")
}
