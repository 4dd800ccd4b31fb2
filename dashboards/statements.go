package dashboards

// noStatements is what the absence of statements means.
const noStatements = "no statements: is pg_stat_statements installed?"

// topStatements took the most time in the time shown.
const topStatements = `topk(15, increase(pg_stat_statements_seconds_total{$here}[$__range]))`

func statementTime() *panel {
	return series("Statements that take the most time", "Seconds of execution in each second: 1 is one session busy with it all the time. The number is the statement's queryid.").
		query(`topk(8, rate(pg_stat_statements_seconds_total{$here}[$__rate_interval]))`, "{{queryid}} {{datname}} {{instance}}").every("1m").
		unit("short").stacked().none(noStatements)
}

func statementList() *panel {
	of := func(metric string) string { return "increase(" + metric + "{$here}[$__range]) and " + topStatements }
	return table("Statements", "Those that took the most time in the time shown. The text: SELECT query FROM pg_stat_statements WHERE queryid = ...; "+
		"it is no label here, because texts may hold secrets.").
		label("instance", "Instance").label("datname", "Database").label("user", "Role").label("queryid", "Query id", width(175)). // it is to be copied
		column("Time", topStatements, unit("s")).
		column("Calls", of("pg_stat_statements_calls_total"), unit("short")).
		column("Each", `increase(pg_stat_statements_seconds_total{$here}[$__range]) / (increase(pg_stat_statements_calls_total{$here}[$__range]) > 0) and `+topStatements, unit("s")).
		column("Rows", of("pg_stat_statements_rows_total"), unit("short")).
		column("Blocks read", of("pg_reliability_statements_blocks_read_total"), unit("short")).
		column("Temporary", of("pg_reliability_statements_temp_written_bytes_total"), unit("bytes")).
		sorted("Time").none(noStatements)
}
