package dashboards

import "fmt"

// variables are what a board can be asked about. Each follows from the ones before it.
func (b board) variables() []object {
	return append([]object{
		{
			"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0, "refresh": 1,
			"includeAll": false, "multi": false, "regex": "", "options": []object{}, "skipUrlSync": false,
			// Grafana's own default, and not the first in the alphabet; where that is no Prometheus, the first.
			"current": object{"selected": true, "text": "default", "value": "default"},
		},
		b.variable("job", "Job", ".+", ""),
		// Not everybody has clusters: without the label there is All alone, and it matches.
		b.variable("cluster", "Cluster", ".*", `job=~"$job"`),
		b.variable("instance", "Instance", ".+", `job=~"$job", cluster=~"$cluster"`),
	}, b.more...)
}

func (b board) variable(name, label, all, matchers string) object {
	query := fmt.Sprintf("label_values(%s, %s)", b.known, name)
	if matchers != "" {
		query = fmt.Sprintf("label_values(%s{%s}, %s)", b.known, matchers, name)
	}
	return object{
		"name": name, "label": label, "type": "query", "datasource": prometheus(), "hide": 0, "sort": 1, "skipUrlSync": false,
		"query": object{"query": query, "refId": "Variable-" + name}, "definition": query,
		"refresh": 2, "regex": "", "multi": true, "includeAll": true, "allValue": all, "options": []object{},
		"current": object{"selected": true, "text": []string{"All"}, "value": []string{"$__all"}},
	}
}

// annotations are what happened, on every graph. Each value is a time, the servers' own to the second, whatever the
// scrapes saw. (What lasts would be a region only where Grafana's steps are no longer than the annotation's, in views of
// less than half an hour; in longer ones it is a line a step.)
func annotations(uid string) []object {
	all := []object{{
		"name": "Annotations & Alerts", "builtIn": 1, "type": "dashboard", "enable": true, "hide": true, "iconColor": "rgba(0, 211, 255, 1)",
		"datasource": object{"type": "grafana", "uid": "-- Grafana --"},
	}}
	for _, a := range []struct {
		name, color, expr, title, text string
		off                            bool // where a line for each would hide the others in long views of busy schedules
	}{
		{name: "Outage", color: page, expr: `1000 * pg_reliability_last_outage_start_timestamp_seconds{$here}`, title: "{{instance}} down"},
		{name: "Recovered", color: "super-light-green", expr: `1000 * pg_reliability_last_outage_end_timestamp_seconds{$here}`,
			title: "{{instance}} up again"},
		{name: "Restart", color: "blue", expr: `1000 * pg_reliability_last_restart_timestamp_seconds{$here, kind=~"restart|container"}`,
			title: "{{instance}} restarted", text: "{{kind}}"},
		{name: "Crash", color: "purple", expr: `1000 * pg_reliability_last_restart_timestamp_seconds{$here, kind="crash"}`,
			title: "{{instance}} crashed", text: "{{kind}}"},
		{name: "Failover", color: "yellow",
			expr:  `1000 * pg_reliability_last_restart_timestamp_seconds{$here, kind=~"failover|promotion|demotion"}`,
			title: "{{instance}}: {{kind}}"},
		{name: "Backup", color: fine, expr: `1000 * pg_reliability_backup_last_success_timestamp_seconds{$here}`, title: "{{instance}}: backup",
			off: uid != "pgr-backups"},
		{name: "Backup failed", color: ticket, expr: `1000 * pg_reliability_backup_last_failure_timestamp_seconds{$here}`,
			title: "{{instance}}: backup failed"},
		// Last, so that they are drawn over the others. The time is when the alert began to be pending.
		{name: "Alert", color: "dark-red", expr: "1000 * (" + ofAlerts("ALERTS_FOR_STATE", `severity=~"critical|warning"`) +
			" and ignoring (alertstate) " +
			ofAlerts("ALERTS", `alertstate="firing"`) + ")", title: "{{alertname}} {{instance}}", text: "{{severity}}"},
	} {
		all = append(all, object{
			"name": a.name, "enable": !a.off, "hide": false, "iconColor": a.color, "datasource": prometheus(),
			"expr": matchers.Replace(a.expr), "titleFormat": a.title, "textFormat": a.text, "tagKeys": "", "step": "15s",
			"useValueForTime": true,
		})
	}
	return all
}
