package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/common/version"

	"github.com/pg-reliability/pg_reliability_exporter/alerts"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status/gather"
	statuspage "github.com/pg-reliability/pg_reliability_exporter/internal/status/page"
	"github.com/pg-reliability/pg_reliability_exporter/internal/web"
)

// newStatus makes what the status page shows of the exporter's own server.
func newStatus(f *flags, e *exporter) (web.Status, statuspage.View, error) {
	own, sources := e.own, e.sources
	t, err := thresholds()
	if err != nil {
		return nil, statuspage.View{}, err
	}
	links := status.Links{
		Grafana: f.status.grafana, Alertmanager: f.status.alertmanager, Runbooks: f.status.runbook,
		Metrics: strings.TrimPrefix(f.telemetryPath, "/"), Health: "api/health/detailed", API: "api/status",
	}
	if links.Runbooks != "" {
		links.Runbooks = strings.TrimSuffix(links.Runbooks, "/") + "/"
	}
	o := gather.Options{
		Engine: own.Engine, Prober: own.Prober, Target: own.Connector.Target, Trends: sources.trends, Sessions: e.sessions,
		Objectives: gather.Objectives{Loss: f.objective.loss, Return: f.objective.back},
		Thresholds: t, Links: links, Version: version.Version, Started: time.Now(),
	}
	if e.watchdog != nil {
		o.Watchdog = e.watchdog.View
	}
	if sources.volumes != nil {
		o.Volumes = sources.volumes.Paths()
	}
	if sources.backups != nil {
		o.Backups = sources.backups.Listing
	}
	view := statuspage.View{DiskWarning: t.DiskUsedWarning, DiskCritical: t.DiskUsedCritical, ConnectionsHigh: t.ConnectionsHigh}
	return gather.New(o), view, nil
}

// thresholds are the alerts'.
func thresholds() (gather.Thresholds, error) {
	config, err := alerts.Load()
	if err != nil {
		return gather.Thresholds{}, err
	}
	t := gather.Thresholds{ByName: map[string]float64{}}
	for name, is := range config.Thresholds {
		t.ByName[name] = is.Value
	}
	for name, value := range map[string]*float64{
		"slo_availability_ratio": &t.Objective, "connections_high_ratio": &t.ConnectionsHigh,
		"disk_used_ticket_ratio": &t.DiskUsedWarning, "disk_used_page_ratio": &t.DiskUsedCritical,
		"disk_fills_ticket_seconds": &t.DiskFillsWarning, "disk_fills_page_seconds": &t.DiskFillsCritical,
		"disk_fills_below_ratio": &t.DiskFillsBelow, "inodes_free_ratio": &t.InodesFree,
		"replication_lag_ticket_seconds": &t.LagWarning, "replication_lag_page_seconds": &t.LagCritical,
		"backup_slack_seconds": &t.BackupSlack, "backup_age_seconds": &t.BackupAge, "backup_late_seconds": &t.BackupLate,
		"backup_verified_ticket_seconds": &t.BackupVerifiedWarning, "backup_verified_page_seconds": &t.BackupVerifiedCritical,
		"restore_objective_seconds": &t.RestoreObjective,
	} {
		is, ok := config.Thresholds[name]
		if !ok {
			return gather.Thresholds{}, fmt.Errorf("alerts/thresholds.yml: there is no %s", name)
		}
		*value = is.Value
	}
	return t, nil
}
