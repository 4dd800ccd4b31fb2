package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/alerts"
	"github.com/pg-reliability/pg_reliability_exporter/internal/monitor"
)

// recoveryObjective is the project's promise for a restart by hand.
const recoveryObjective = 30 * time.Second

// environment looks a variable up; tests bring their own.
type environment func(name string) (string, bool)

func newSources(f *flags) (monitor.Sources, error) {
	s := monitor.Sources{
		NoBackup: "start it with --backup.token-file, and the backup job with --web.backup-token-file",
		NoServer: "start it with --container.name, --systemd.unit or --restart.command",
		NoLog:    "start it with --container.name, --systemd.unit or --log.file",
	}
	exporter, err := monitor.NewExporterClient(f.exporterOptions())
	if err != nil {
		return s, err
	}
	s.Status, s.Incidents = exporter, exporter
	if f.tokenFile != "" {
		backup, err := monitor.NewBackupClient(f.backupOptions())
		if err != nil {
			return s, err
		}
		s.Backup = backup
	}
	if f.containerHost != "" && f.containerName == "" {
		return s, errors.New("--container.host is of no use without --container.name")
	}
	given := 0
	for _, how := range []string{f.containerName, f.unit, f.restartCommand} {
		if how != "" {
			given++
		}
	}
	if given > 1 {
		return s, errors.New("--container.name, --systemd.unit and --restart.command each restart the database. HINT: Keep the one that does")
	}
	if f.containerName != "" {
		c, err := monitor.NewContainer(f.containerName, f.containerHost)
		if err != nil {
			return s, err
		}
		s.Server, s.Log = c, c
	}
	if f.unit != "" {
		u, err := monitor.NewUnit(f.unit)
		if err != nil {
			return s, err
		}
		s.Server, s.Unit, s.Log = u, u, u.Log()
	}
	if f.restartCommand != "" {
		s.Server = monitor.Command(f.restartCommand)
	}
	if f.logFile != "" {
		s.Log = monitor.LogFile(f.logFile)
	}
	return s, nil
}

// newLimits are the alerts' own thresholds.
func newLimits() (monitor.Limits, error) {
	c, err := alerts.Load()
	if err != nil {
		return monitor.Limits{}, fmt.Errorf("read the alerts' thresholds: %w", err)
	}
	value := func(name string) float64 { return c.Thresholds[name].Value }
	duration := func(name string) time.Duration { return time.Duration(value(name) * float64(time.Second)) }
	return monitor.Limits{
		DiskWarning: value("disk_used_ticket_ratio"), DiskCritical: value("disk_used_page_ratio"),
		ConnectionsWarning: value("connections_high_ratio"),
		FillsWarning:       duration("disk_fills_ticket_seconds"), FillsCritical: duration("disk_fills_page_seconds"),
		Recovery: recoveryObjective,
	}, nil
}

// onlyASCII is by the locale, in the order in which it is defined. Windows has no such variables: a terminal that shows
// all of Unicode is known there by those that it sets itself, the old console's fonts lack the sparkline, and who reads a
// pipe takes it for the machine's code page.
func onlyASCII(system string, env environment, onTerminal bool) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v, _ := env(name); v != "" {
			v = strings.ToLower(v)
			return !strings.Contains(v, "utf-8") && !strings.Contains(v, "utf8")
		}
	}
	if system != "windows" || !onTerminal {
		return true
	}
	// Windows Terminal; Visual Studio Code and the like; JetBrains; ConEmu; terminals that come from Unix.
	for _, name := range []string{"WT_SESSION", "TERM_PROGRAM", "TERMINAL_EMULATOR", "ConEmuANSI", "TERM"} {
		if v, _ := env(name); v != "" && v != "dumb" {
			return false
		}
	}
	return true
}
