package dashboards

import "fmt"

// statements: which statement takes the time, reads, writes or is planned most, and which became slower?
func statements(*sources) board {
	return board{
		uid: "pgr-statements", title: "Statements", known: "pg_up", more: []object{ownStatements()},
		about: "Which statement takes the time, reads, writes or is planned most, and which became slower? Of the statements that the " +
			"exporter " +
			"shows: those with the most execution time. It takes the extension pg_stat_statements.",
		rows: []row{
			section("Which takes the time?",
				across(10, statementList()),
				across(9, statementTime().legendRight()),
				across(8, statementMean(), statementCalls(), statementRows()),
			),
			section("Which reads and writes?",
				across(8, statementOf("Blocks read", "From the disk or the kernel's cache, each second.",
					"pg_reliability_statements_blocks_read_total", "ops"),
					statementOf("Blocks found", "In shared buffers, each second: work without a disk.",
						"pg_reliability_statements_blocks_hit_total", "ops"),
					statementOf("Blocks dirtied", "Changed first by the statement, each second.",
						"pg_reliability_statements_blocks_dirtied_total", "ops")),
				across(8, statementOf("WAL", "Made by the statement, each second.", "pg_reliability_statements_wal_bytes_total", "binBps"),
					statementOf("Temporary files written", "It does not fit into work_mem.", "pg_reliability_statements_temp_written_bytes_total",
						"binBps"),
					statementOf("Temporary files read", "As above, read again.", "pg_reliability_statements_temp_read_bytes_total", "binBps")),
				across(8, statementOf("Time in reads", "Sessions that waited for them at a time; 0 while track_io_timing is off.",
					"pg_stat_statements_block_read_seconds_total", "short"),
					statementOf("Time in writes", "As above, for writes.", "pg_stat_statements_block_write_seconds_total", "short"),
					statementOf("Blocks written", "By the statement itself: the background writer did not keep up.",
						"pg_reliability_statements_blocks_written_total", "ops")),
			),
			section("Is it the planning?",
				across(8, statementOf("Plans", "Made each second; 0 while pg_stat_statements.track_planning is off.",
					"pg_reliability_statements_plans_total", "ops"),
					statementOf("Time in planning", "Sessions that planned at a time.", "pg_reliability_statements_plan_seconds_total", "short"),
					statementJIT()),
			),
			section("Which vary, and which are not shown?",
				across(8, statementSpread().wide(16), statementsKnown()),
			),
		},
	}
}

func statementCalls() *panel {
	return statementOf("Calls", "Executions each second.", "pg_stat_statements_calls_total", "ops")
}

func statementRows() *panel {
	return statementOf("Rows", "Returned or changed each second.", "pg_stat_statements_rows_total", "ops")
}

func statementMean() *panel {
	each := func(function, over string) string {
		return fmt.Sprintf(`%[1]s(pg_stat_statements_seconds_total{$here}%[2]s) / (%[1]s(pg_stat_statements_calls_total{$here}%[2]s) > 0)`, function, over)
	}
	return rankedStatements(series("How long an execution takes", "On average, of the eight with the longest in the time shown. A step is "+
		"another plan, or more data."), each("rate", "[$__rate_interval]"), "("+each("increase", "[$__range] @ end()")+")").unit("s")
}

func statementJIT() *panel {
	return series("Compiling (JIT)", "Sessions that compiled at a time, and functions compiled each second, in all. PostgreSQL 15 and "+
		"newer.").
		query(`sum(rate(pg_reliability_statements_jit_seconds_total{$here}[$__rate_interval]))`, "sessions").every("1m").
		query(`sum(rate(pg_reliability_statements_jit_functions_total{$here}[$__rate_interval]))`, "functions").every("1m").
		unit("short").none("PostgreSQL is older than 15, or there are no statements")
}

func statementSpread() *panel {
	const longest = `topk(15, pg_reliability_statements_max_seconds{$here}` + ofOthers + `)`
	return table("Executions that differ", "Since the statistics were reset. A deviation larger than the mean: some executions are of "+
		"another "+
		"kind, by their parameters, plans or locks.").
		label("instance", "Instance").label("datname", "Database").label("user", "Role").label("queryid", "Query id", width(215)).
		sometimes("query", "Statement").
		column("Longest", withText(longest), unit("s"), width(90)).
		column("Mean", `pg_reliability_statements_mean_seconds{$here} and `+longest, unit("s"), width(90)).
		column("Deviation", `pg_reliability_statements_stddev_seconds{$here} and `+longest, unit("s"), width(90)).
		sorted("Longest").none(noStatements)
}

func statementsKnown() *panel {
	return table("How many there are", "Statements known, and those without series of their own. Thrown out, in the time shown: the "+
		"counts are "+
		"lost; raise pg_stat_statements.max.").
		label("instance", "Instance").
		column("Known", `pg_reliability_statements{$here}`, unit("locale")).
		column("Not shown", `pg_reliability_statements_omitted{$here}`, unit("locale")).
		column("Thrown out", `increase(pg_reliability_statements_deallocations_total{$here}[$__range])`, unit("locale")).
		column("Counted since", `pg_reliability_statements_reset_timestamp_seconds{$here} * 1000`, unit("dateTimeFromNow")).
		sorted("Known").none(noStatements)
}
