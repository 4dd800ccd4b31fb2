package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/go-kit/log"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pg-reliability/pg_reliability_exporter/internal/containers"
	"github.com/pg-reliability/pg_reliability_exporter/internal/fleet"
	"github.com/pg-reliability/pg_reliability_exporter/internal/host"
	"github.com/pg-reliability/pg_reliability_exporter/internal/incident"
	"github.com/pg-reliability/pg_reliability_exporter/internal/serverlog"
)

// recordIncidents keeps what is known of each outage of the exporter's own server, with what its log says.
func (e *exporter) recordIncidents(f *flags, stateDir string, registry *prometheus.Registry) error {
	var err error
	e.log, err = newServerLog(f, e.own, stateDir, e.logger, e.logged)
	if err != nil {
		return err
	}
	o := incident.Options{Dir: stateDir, Target: e.own.Connector.Target(), Stall: f.stall, Show: f.showStatements, Logger: e.logger}
	if e.log != nil {
		registry.MustRegister(e.log.Metrics())
		o.LogWritten = e.log.Written
	}
	e.host = host.New(host.Options{
		Beside:  len(f.volumes) > 0 || len(f.serverLog.files) > 0,
		Serving: func(ctx context.Context, look func(int, string, string)) error { return serving(ctx, e.own, look) },
		Tell:    e.learned,
	})
	o.HostWatched = func() bool { return f.container.name != "" || e.host.Local() }
	e.own.KeepStories(o)
	e.incidents, e.sessions = e.own.Incidents, e.own.Sessions
	e.own.Prober.OnOutcome(e.host.Outcome)
	return nil
}

// logged takes what the server's log said to all who want to know.
func (e *exporter) logged(event serverlog.Event) {
	e.incidents.Log(event)
	if e.watchdog != nil {
		e.watchdog.Log(event)
	}
}

// serving names the process that serves a session of ours, and keeps the session while it is looked at.
func serving(ctx context.Context, own *fleet.Target, look func(pid int, user, database string)) error {
	lease, err := own.Pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer lease.Release()
	rows, err := lease.Query(ctx, "SELECT pg_catalog.pg_backend_pid(), session_user, pg_catalog.current_database()")
	if err != nil {
		return err
	}
	if len(rows) != 1 || len(rows[0]) != 3 || slices.Contains(rows[0], nil) {
		return errors.New("the server does not say which process serves a session")
	}
	pid, err := strconv.Atoi(*rows[0][0])
	if err != nil {
		return fmt.Errorf("the server does not say which process serves a session: %w", err)
	}
	look(pid, *rows[0][1], *rows[0][2])
	return nil
}

// newServerLog follows the server's log where a flag says where it is; nil where none does.
func newServerLog(f *flags, own *fleet.Target, stateDir string, logger log.Logger, onEvent func(serverlog.Event)) (*serverlog.Log, error) {
	if len(f.serverLog.files) == 0 && f.serverLog.container == "" {
		return nil, nil
	}
	o := serverlog.Options{
		Files: f.serverLog.files, Container: f.serverLog.container, Parameters: f.serverLog.parameters, StateDir: stateDir, Logger: logger,
		OnEvent:  onEvent,
		Settings: func(ctx context.Context) (serverlog.Settings, error) { return logSettings(ctx, own) },
	}
	if o.Container != "" {
		if err := containers.CheckName(o.Container); err != nil {
			return nil, fmt.Errorf("--log.container: %w", err)
		}
		var err error
		if o.Engine, err = containers.NewEngine(f.container.host, 0); err != nil {
			return nil, fmt.Errorf("--container.host: %w", err)
		}
	}
	l, err := serverlog.New(o)
	if err != nil {
		return nil, fmt.Errorf("--log.file: %w", err)
	}
	return l, nil
}

// logSettings asks the server how its log is to be read.
func logSettings(ctx context.Context, own *fleet.Target) (s serverlog.Settings, err error) {
	lease, err := own.Pool.Acquire(ctx)
	if err != nil {
		return s, err
	}
	defer lease.Release()
	rows, err := lease.Query(ctx, serverlog.SettingsSQL)
	if err != nil {
		return s, err
	}
	if len(rows) != 1 || len(rows[0]) != 2 || rows[0][0] == nil || rows[0][1] == nil {
		return s, errors.New("the server does not say how it writes its log")
	}
	return serverlog.Settings{Prefix: *rows[0][0], TimeZone: *rows[0][1]}, nil
}
