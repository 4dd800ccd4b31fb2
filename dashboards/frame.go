package dashboards

import "fmt"

// variables are what a board can be asked about. Each follows from the ones before it.
func (b board) variables() []object {
	return []object{
		{
			"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0, "refresh": 1,
			"includeAll": false, "multi": false, "regex": "", "options": []object{}, "current": object{}, "skipUrlSync": false,
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

// annotations are what happened, on every graph. The times are the servers' own, to the second, whatever the scrapes saw.
func annotations() []object {
	all := []object{{
		"name": "Annotations & Alerts", "builtIn": 1, "type": "dashboard", "enable": true, "hide": true, "iconColor": "rgba(0, 211, 255, 1)",
		"datasource": object{"type": "grafana", "uid": "-- Grafana --"},
	}}
	for _, a := range []struct {
		name, color, expr, title, text string
		at                             bool // the value is the time
	}{
		{"Outage", page, `pg_reliability_outage_in_progress_seconds{$here} > 0`, "{{instance}} down", "", false},
		{"Restart", "blue", `1000 * pg_reliability_last_restart_timestamp_seconds{$here, kind=~"restart|container"}`, "{{instance}} restarted", "{{kind}}", true},
		{"Crash", "purple", `1000 * pg_reliability_last_restart_timestamp_seconds{$here, kind="crash"}`, "{{instance}} crashed", "{{kind}}", true},
		{"Failover", "yellow", `1000 * pg_reliability_last_restart_timestamp_seconds{$here, kind=~"failover|promotion|demotion"}`, "{{instance}}: {{kind}}", "", true},
		{"Backup", fine, `1000 * pg_reliability_backup_last_success_timestamp_seconds{$here}`, "{{instance}}: backup", "", true},
		{"Backup failed", ticket, `1000 * pg_reliability_backup_last_failure_timestamp_seconds{$here}`, "{{instance}}: backup failed", "", true},
		// When it began, as a line: a region for as long as it fires would cover the graph that explains it.
		{"Alert", "dark-red", "1000 * (" + ofAlerts("ALERTS_FOR_STATE", `severity=~"critical|warning"`) + " and ignoring (alertstate) " + ofAlerts("ALERTS", `alertstate="firing"`) + ")", "{{alertname}} {{instance}}", "{{severity}}", true},
	} {
		all = append(all, object{
			"name": a.name, "enable": true, "hide": false, "iconColor": a.color, "datasource": prometheus(),
			"expr": matchers.Replace(a.expr), "titleFormat": a.title, "textFormat": a.text, "tagKeys": "", "step": "15s",
			"useValueForTime": a.at,
		})
	}
	return all
}
