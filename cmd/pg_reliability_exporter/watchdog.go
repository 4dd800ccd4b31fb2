package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pg-reliability/pg_reliability_exporter/internal/incident"
	"github.com/pg-reliability/pg_reliability_exporter/internal/watchdog"
)

// What --watchdog may be.
const (
	watchdogOff       = "off"
	watchdogContainer = "container"
	watchdogCommand   = "command"
)

// guard has the exporter's own server restarted when it hangs, where a flag asks for it.
func (e *exporter) guard(f *flags, stateDir string, registry *prometheus.Registry) (err error) {
	if f.watchdog.action == watchdogOff {
		if f.watchdog.command != "" {
			return errors.New("--watchdog.command is set, and the watchdog is off. HINT: Add --watchdog=command")
		}
		return nil
	}
	o := watchdog.Options{
		After: f.watchdog.after, Knock: e.own.Connector.Knock, Save: e.incidents.Flush, Dir: stateDir, Logger: e.logger,
		Tell: func(fact incident.Fact) { e.incidents.Host(fact) },
	}
	switch {
	case f.watchdog.action == watchdogContainer && e.sources.engine == nil:
		return errors.New("--watchdog=container does not know which container to restart. HINT: Set --container.name, too")
	case f.watchdog.action == watchdogContainer && f.watchdog.command != "":
		return errors.New("--watchdog=container runs no command. HINT: Leave out --watchdog.command, or choose --watchdog=command")
	case f.watchdog.action == watchdogContainer:
		o.Act = &watchdog.Container{Container: e.sources.containerName, Engine: e.sources.engine}
	default:
		if o.Act, err = watchdog.NewCommand(f.watchdog.command, os.Environ()); err != nil {
			return fmt.Errorf("--watchdog.command: %w", err)
		}
	}
	if e.watchdog, err = watchdog.New(o); err != nil {
		return fmt.Errorf("--watchdog, --watchdog.after: %w", err)
	}
	registry.MustRegister(e.watchdog.Metrics())
	e.own.Prober.OnOutcome(e.watchdog.Outcome)
	return nil
}

// learned takes a fact of the machine to all who want to know.
func (e *exporter) learned(fact incident.Fact) {
	e.incidents.Host(fact)
	if e.watchdog != nil {
		e.watchdog.Host(fact)
	}
}
