package dashboards

import "fmt"

// noStatements is what the absence of statements means.
const noStatements = "no statement was executed and counted, or pg_stat_statements is not installed"

const (
	// ofOthers leaves the exporter's own statements out, unless the variable own says 0.
	ofOthers = ` unless on (job, cluster, instance, user) label_replace(pg_reliability_statements_own_role{$here} == $own, "user", "$1", "own_role", "(.*)")`
	// theText of each statement, where the exporter shows texts.
	theText = `topk by (job, cluster, instance, queryid) (1, pg_stat_statements_query_id{$here})`
	// topStatements took the most time in the time shown.
	topStatements = `topk(15, increase(pg_stat_statements_seconds_total{$here}[$__range])` + ofOthers + `)`
	// howToText says how to come by a statement's text.
	howToText = "The text is shown where the exporter runs with --collector.statements_text: it is off at first, because whoever reads " +
		"metrics sees it. Elsewhere ask the server: SELECT query FROM pg_stat_statements WHERE queryid = ..."
)

// ownStatements is the variable that lets the exporter's own statements be seen.
func ownStatements() object {
	return object{
		"name": "own", "label": "The exporter's own", "type": "custom", "hide": 0, "skipUrlSync": false, "multi": false, "includeAll": false,
		"query": "left out : 1, shown : 0", "current": object{"selected": true, "text": "left out", "value": "1"},
		"options": []object{
			{"selected": true, "text": "left out", "value": "1"}, {"selected": false, "text": "shown", "value": "0"},
		},
	}
}

// withText gives statements the label query, where their text is known.
func withText(expr string) string {
	return fmt.Sprintf(`((%[1]s) * on (job, cluster, instance, queryid) group_left (query) (%[2]s)
  or (%[1]s) unless on (job, cluster, instance, queryid) (%[2]s))`, expr, theText)
}

// named gives statements the label statement: the beginning of their text where it is known, and their id elsewhere.
func named(expr string) string {
	return fmt.Sprintf(`label_replace(label_replace(label_replace(%s,
  "statement", "$1", "queryid", "(.*)"), "statement", "$1", "query", "(.+)"), "statement", "$1…", "query", "(.{48}).{4,}")`, withText(expr))
}

// statementLegend calls a statement by its text or id, and says whose it is.
const statementLegend = "{{statement}} ({{datname}}, {{instance}})"

// rankedStatements shows the eight statements with the most in the time shown: the same at each step, so that there are eight lines.
func rankedStatements(p *panel, value, rank string) *panel {
	return p.query(named(value+" and topk(8, "+rank+ofOthers+")"), statementLegend).every("1m").none(noStatements).ranked("mean", "Mean")
}

// statementOf shows the eight statements with most of something.
func statementOf(title, about, metric, unit string) *panel {
	return rankedStatements(series(title, about), `rate(`+metric+`{$here}[$__rate_interval])`, `increase(`+metric+`{$here}[$__range] @ end())`).
		unit(unit)
}

func statementTime() *panel {
	return statementOf("Statements that take the most time", "Seconds of execution in each second: 1 is one session busy with it all the "+
		"time. "+howToText, "pg_stat_statements_seconds_total", "short").stacked()
}

func statementList() *panel {
	of := func(metric string) string { return "increase(" + metric + "{$here}[$__range]) and " + topStatements }
	return table("Statements", "Those that took the most time in the time shown. "+howToText).
		// the id is to be copied
		label("instance", "Instance", width(110)).label("datname", "Database", width(110)).label("user", "Role", width(110)).
		label("queryid", "Query id", width(215)).sometimes("query", "Statement").
		column("Time", withText(topStatements), unit("s"), width(80)).
		column("Calls", of("pg_stat_statements_calls_total"), unit("short"), width(80)).
		column("Each", `increase(pg_stat_statements_seconds_total{$here}[$__range]) / (increase(pg_stat_statements_calls_total{$here}[$__range]) > 0) and `+topStatements, unit("s"), width(80)).
		column("Rows", of("pg_stat_statements_rows_total"), unit("short"), width(80)).
		column("Blocks read", of("pg_reliability_statements_blocks_read_total"), unit("short"), width(100)).
		column("Temporary", of("pg_reliability_statements_temp_written_bytes_total"), unit("bytes"), width(100)).
		sorted("Time").none(noStatements)
}
