package dashboards

import "fmt"

// variables are what a board can be asked about. Each follows from the ones before it.
func (b board) variables() []object {
	return []object{
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
	}
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
func annotations() []object {
	all := []object{{
		"name": "Annotations & Alerts", "builtIn": 1, "type": "dashboard", "enable": true, "hide": true, "iconColor": "rgba(0, 211, 255, 1)",
		"datasource": object{"type": "grafana", "uid": "-- Grafana --"},
	}}
	for _, a := range []struct {
		name, color, expr, title, text string
	}{
		{"Outage", page, `1000 * pg_reliability_last_outage_start_timestamp_seconds{$here}`, "{{instance}} down", ""},
		{"Recovered", "super-light-green", `1000 * pg_reliability_last_outage_end_timestamp_seconds{$here}`, "{{instance}} up again", ""},
		{"Restart", "blue", `1000 * pg_reliability_last_restart_timestamp_seconds{$here, kind=~"restart|container"}`, "{{instance}} restarted", "{{kind}}"},
		{"Crash", "purple", `1000 * pg_reliability_last_restart_timestamp_seconds{$here, kind="crash"}`, "{{instance}} crashed", "{{kind}}"},
		{"Failover", "yellow", `1000 * pg_reliability_last_restart_timestamp_seconds{$here, kind=~"failover|promotion|demotion"}`, "{{instance}}: {{kind}}", ""},
		{"Backup", fine, `1000 * pg_reliability_backup_last_success_timestamp_seconds{$here}`, "{{instance}}: backup", ""},
		{"Backup failed", ticket, `1000 * pg_reliability_backup_last_failure_timestamp_seconds{$here}`, "{{instance}}: backup failed", ""},
		// When it began to be pending.
		{"Alert", "dark-red", "1000 * (" + ofAlerts("ALERTS_FOR_STATE", `severity=~"critical|warning"`) + " and ignoring (alertstate) " + ofAlerts("ALERTS", `alertstate="firing"`) + ")", "{{alertname}} {{instance}}", "{{severity}}"},
	} {
		all = append(all, object{
			"name": a.name, "enable": true, "hide": false, "iconColor": a.color, "datasource": prometheus(),
			"expr": matchers.Replace(a.expr), "titleFormat": a.title, "textFormat": a.text, "tagKeys": "", "step": "15s",
			"useValueForTime": true,
		})
	}
	return all
}
