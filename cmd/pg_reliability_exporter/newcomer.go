package main

import (
	"fmt"
	"slices"
	"strings"
)

// newcomer is a flag of postgres_exporter 0.20, and its variable, that ours has under another name or not at all.
type newcomer struct {
	flag, variable string
	// takesValue is whether a value belongs to the flag.
	takesValue bool
	// means are our flags for a value; nil is that there are none, and hint says what to do instead.
	means func(value string) []string
	hint  string
}

// newcomers are what people bring from postgres_exporter. What has the same name there and here is not among them.
func newcomers() []newcomer {
	const noRename = "Metrics keep their names; rename them in Prometheus with metric_relabel_configs"
	return []newcomer{
		{flag: "disable-default-metrics", variable: "PG_EXPORTER_DISABLE_DEFAULT_METRICS", means: yesNo("collector.disable-defaults")},
		{flag: "auto-discover-databases", variable: "PG_EXPORTER_AUTO_DISCOVER_DATABASES", means: yesNo("databases.all")},
		{flag: "exclude-databases", variable: "PG_EXPORTER_EXCLUDE_DATABASES", takesValue: true, means: each("databases.exclude")},
		{flag: "include-databases", variable: "PG_EXPORTER_INCLUDE_DATABASES", takesValue: true, means: each("databases.include")},
		{variable: "PG_EXPORTER_WEB_TELEMETRY_PATH", takesValue: true, means: same("web.telemetry-path")},
		{variable: "PG_EXPORTER_EXTEND_QUERY_PATH", takesValue: true, means: same("extend.query-path")},
		{flag: "metric-prefix", variable: "PG_EXPORTER_METRIC_PREFIX", takesValue: true, hint: noRename, means: func(value string) []string {
			if value == "pg" {
				return []string{}
			}
			return nil
		}},
		{flag: "constantLabels", variable: "PG_EXPORTER_CONSTANT_LABELS", takesValue: true,
			hint: "Let Prometheus add labels to the target in its scrape_configs, or --config.file to each of a fleet's targets"},
		{flag: "collection-timeout", variable: "PG_EXPORTER_COLLECTION_TIMEOUT", takesValue: true,
			hint: "A page is ready within Prometheus' scrape_timeout; --session.statement-timeout ends a query"},
		{flag: "dumpmaps", hint: "docs/metrics.md lists all metrics, --help all collectors"},
		{flag: "collector.stat_statements", means: yesNo("collector.statements")},
		{flag: "collector.stat_statements.include_query", means: yesNo("collector.statements_text")},
		{flag: "collector.stat_statements.limit", takesValue: true, means: same("collector.statements.top")},
		{flag: "collector.stat_statements.query_length", takesValue: true, hint: "Leave it out: texts are switched on by " +
			"--collector.statements_text, and bounded"},
		{flag: "collector.stat_statements.exclude_databases", takesValue: true,
			means: each("collector.statements.exclude-databases")},
		{flag: "collector.stat_statements.exclude_users", takesValue: true, means: each("collector.statements.exclude-users")},
		{flag: "collector.postmaster", hint: "Leave it out: pg_postmaster_start_time_seconds is always there"},
		{flag: "collector.process_idle", hint: "Use --collector.session_ages, whose pg_reliability_session_* have no series of each " +
			"application's own"},
		{flag: "collector.stat_activity_autovacuum", hint: "Use --collector.autovacuum and --collector.stat_progress_vacuum"},
		{flag: "collector.xlog_location", hint: "Use --collector.wal_position"},
	}
}

func same(flag string) func(string) []string {
	return func(value string) []string { return []string{"--" + flag + "=" + value} }
}

// each has one flag for each part of a list with commas.
func each(flag string) func(string) []string {
	return func(value string) []string {
		out := []string{}
		for part := range strings.SplitSeq(value, ",") {
			if part = strings.TrimSpace(part); part != "" {
				out = append(out, "--"+flag+"="+part)
			}
		}
		return out
	}
}

func yesNo(flag string) func(string) []string {
	return func(value string) []string {
		switch strings.ToLower(value) {
		case "true", "t", "1":
			return []string{"--" + flag}
		case "false", "f", "0":
			return []string{"--no-" + flag}
		}
		return nil
	}
}

// welcome makes of a command line and variables of postgres_exporter's ours. The command line wins over variables. The error
// names what has no meaning here, and what to use instead.
func welcome(args []string, env environment) ([]string, error) {
	all := newcomers()
	var out []string
	for i := 0; i < len(args); i++ {
		name, value, given := strings.Cut(strings.TrimPrefix(args[i], "--"), "=")
		negated := false
		at := slices.IndexFunc(all, func(n newcomer) bool {
			negated = n.flag != "" && !n.takesValue && name == "no-"+n.flag
			return n.flag != "" && (name == n.flag || negated)
		})
		if at < 0 || !strings.HasPrefix(args[i], "--") {
			out = append(out, args[i])
			continue
		}
		n := all[at]
		switch {
		case negated:
			value = "false"
		case !n.takesValue && !given:
			value = "true"
		case n.takesValue && !given && i+1 < len(args):
			i++
			value = args[i]
		}
		ours, err := n.ours("--"+name, value)
		if err != nil {
			return nil, err
		}
		out = append(out, ours...)
	}
	for _, n := range all {
		value := ""
		if n.variable != "" {
			value, _ = env(n.variable)
		}
		if value == "" {
			continue
		}
		ours, err := n.ours(n.variable, value)
		if err != nil {
			return nil, err
		}
		for _, flag := range ours {
			if name, _, _ := strings.Cut(strings.Replace(flag, "--no-", "--", 1), "="); !mentions(args, n.flag) &&
				!mentions(out, strings.TrimPrefix(name, "--")) ||
				n.takesValue && !mentions(args, n.flag) && !mentions(args, strings.TrimPrefix(name, "--")) {
				out = append(out, flag)
			}
		}
	}
	return out, nil
}

// mentions is whether a command line has a flag, in any form.
func mentions(args []string, flag string) bool {
	return flag != "" && slices.ContainsFunc(args, func(a string) bool {
		name, _, _ := strings.Cut(a, "=")
		return name == "--"+flag || name == "--no-"+flag
	})
}

func (n newcomer) ours(where, value string) ([]string, error) {
	var flags []string
	if n.means != nil {
		flags = n.means(value)
	}
	if flags == nil {
		hint := n.hint
		if hint == "" {
			hint = "Write true or false"
		}
		return nil, fmt.Errorf("%s of postgres_exporter is not taken. HINT: %s (docs/migrating.md)", where, hint)
	}
	return flags, nil
}
