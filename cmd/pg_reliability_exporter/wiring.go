package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/prometheus/common/version"
	"golang.org/x/sync/errgroup"

	"github.com/pg-reliability/pg_reliability_exporter/backup/metrics"
	"github.com/pg-reliability/pg_reliability_exporter/collector"
	"github.com/pg-reliability/pg_reliability_exporter/internal/fleet"
	"github.com/pg-reliability/pg_reliability_exporter/internal/httpserver"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
	"github.com/pg-reliability/pg_reliability_exporter/internal/web"
)

const (
	volumeInterval    = 10 * time.Second
	containerInterval = 5 * time.Second
	backupInterval    = 15 * time.Second

	// ownPrefix begins the names of metrics that are ours alone.
	ownPrefix = "pg_reliability_"
)

// exporter is the program's parts, put together and not yet running.
type exporter struct {
	logger   log.Logger
	own      *fleet.Target // the exporter's own server; nil where it watches a fleet alone
	fleet    *fleet.Fleet  // nil without --config.file
	shown    shown
	reloader *web.Reloader
	server   *web.Server
}

func assemble(f *flags, embedded []collector.Definition, env environment, logger log.Logger) (*exporter, error) {
	e := &exporter{logger: logger}
	if err := f.check(); err != nil {
		return nil, err
	}
	stateDir, err := stateDir(f.stateDir, env)
	if err != nil {
		return nil, err
	}
	options, err := targetOptions(f, logger)
	if err != nil {
		return nil, err
	}
	source := dataSource{env: env}
	registry := prometheus.NewRegistry()
	registry.MustRegister(versioncollector.NewCollector(appName), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	var sources []collector.ScheduledSource
	switch options.Connector, err = source.connector(f.session); {
	case errors.Is(err, errNoServer) && f.configFile != "":
		if err := f.checkFleetOnly(); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	default:
		options.Probe.StateDir = stateDir
		options.Sources = func(p *probe.Prober) ([]collector.ScheduledSource, error) { return newSources(f, p, &e.shown) }
		if e.own, err = fleet.NewTarget(options); err != nil {
			return nil, err
		}
		sources = e.own.Sources
		registry.MustRegister(e.own.Prober)
	}
	reserved, err := reservedNames(registry, sources, options)
	if err != nil {
		return nil, err
	}
	load := func() ([]collector.Definition, *fleet.Config, error) {
		definitions, err := loadCollectors(f, embedded, maps.Clone(reserved))
		if err != nil || f.configFile == "" {
			return definitions, nil, err
		}
		config, err := fleet.Load(f.configFile)
		if err != nil {
			return nil, nil, fmt.Errorf("--config.file: %w", err)
		}
		return definitions, config, nil
	}
	definitions, config, err := load()
	if err != nil {
		return nil, err
	}
	if e.own != nil {
		e.own.Engine.SetDefinitions(definitions)
	}
	if config != nil {
		e.fleet, err = fleet.New(fleet.Options{
			Config: config, Settings: f.session.settings(), PoolMin: f.poolMin, PoolMax: f.poolMax, Probe: options.Probe,
			StateDir: stateDir, Definitions: definitions, MaxSamples: f.maxSamples, Logger: logger,
		})
		if err != nil {
			return nil, fmt.Errorf("--config.file: %w", err)
		}
		registry.MustRegister(e.fleet)
	}
	// Everything is read and checked before anything is swapped.
	e.reloader = web.NewReloader(logger, func(context.Context) error {
		definitions, config, err := load()
		if err != nil {
			return err
		}
		if err := httpserver.CheckConfigFile(*f.web.WebConfigFile); err != nil { // read at each request, too
			return err
		}
		login := func() {}
		if e.own != nil {
			dsn, err := source.connectionString()
			if err != nil {
				return err
			}
			if login, err = e.own.Connector.Prepare(dsn); err != nil {
				return err
			}
		}
		if e.fleet != nil {
			if err := e.fleet.Apply(config, definitions); err != nil {
				return fmt.Errorf("--config.file: %w", err)
			}
		}
		login()
		if e.own != nil {
			e.own.Engine.SetDefinitions(definitions)
		}
		return nil
	})
	registry.MustRegister(e.reloader)
	e.server, err = newServer(f, e, config, registry)
	return e, err
}

// targetOptions are what the flags say of each server.
func targetOptions(f *flags, logger log.Logger) (fleet.TargetOptions, error) {
	instance := f.probe.instance
	if instance == "" {
		var err error
		if instance, err = os.Hostname(); err != nil {
			return fleet.TargetOptions{}, fmt.Errorf("find the host's name: %w. HINT: Set --probe.instance", err)
		}
	}
	return fleet.TargetOptions{PoolMin: f.poolMin, PoolMax: f.poolMax, MaxSamples: f.maxSamples, Logger: logger, Probe: probe.Options{
		ReadInterval: f.probe.interval, ReadTimeout: f.probe.timeout, StallThreshold: f.probe.stallThreshold,
		LoginInterval: f.probe.loginInterval, LoginTimeout: f.probe.loginTimeout,
		Write: f.probe.write, WriteInterval: f.probe.writeInterval, WriteTimeout: f.probe.writeTimeout, Instance: instance,
	}}, nil
}

func newSources(f *flags, prober *probe.Prober, shown *shown) ([]collector.ScheduledSource, error) {
	var sources []collector.ScheduledSource
	if len(f.volumes) > 0 {
		volumes, err := collector.NewVolumes(f.volumes)
		if err != nil {
			return nil, fmt.Errorf("--volume: %w", err)
		}
		shown.watchVolumes(volumes)
		sources = append(sources, collector.ScheduledSource{Source: volumes, Interval: volumeInterval})
	}
	if f.container.name != "" {
		container, err := collector.NewContainer(collector.ContainerOptions{
			Name: f.container.name, Host: f.container.host, OnState: prober.ObserveContainer,
		})
		if err != nil {
			return nil, fmt.Errorf("--container.name, --container.host: %w", err)
		}
		sources = append(sources, collector.ScheduledSource{Source: container, Interval: containerInterval})
	}
	if f.backupCatalog != "" {
		catalogue := metrics.New(f.backupCatalog, time.Now)
		shown.backups = catalogue.Listing
		backups, err := collector.NewBackups(catalogue)
		if err != nil {
			return nil, fmt.Errorf("--backup.catalog: %w", err)
		}
		sources = append(sources, collector.ScheduledSource{Source: backups, Interval: backupInterval})
	}
	return sources, nil
}

func newServer(f *flags, e *exporter, config *fleet.Config, registry *prometheus.Registry) (*web.Server, error) {
	o := web.Options{
		Logger: e.logger, Addresses: *f.web.WebListenAddresses, SystemdSocket: *f.web.WebSystemdSocket, ConfigFile: *f.web.WebConfigFile,
		Fleet: e.fleet, Gatherer: registry, Registerer: registry,
		Reload: e.reloader.Reload, MetricsPath: f.telemetryPath, TimeoutOffset: f.timeoutOffset, PProf: f.pprof,
		MaxRequests: f.maxRequests, MaxProbes: f.maxProbes(config), AllowedHosts: f.allowedHosts, Version: version.Version,
	}
	if e.own != nil {
		o.Engine, o.Prober = e.own.Engine, e.own.Prober
	}
	if e.own != nil && f.status.page {
		if err := showStatus(f, e, &o); err != nil {
			return nil, err
		}
	}
	return web.New(o)
}

// watches names what is watched, for the log.
func (e *exporter) watches() []any {
	var out []any
	if e.own != nil {
		out = append(out, "target", e.own.Connector.Target(), "user", e.own.Connector.User())
	}
	if e.fleet != nil {
		out = append(out, "listed_targets", len(e.fleet.Listed()))
	}
	return out
}

// run works until ctx ends or the server can't serve.
func (e *exporter) run(ctx context.Context, reload <-chan os.Signal) error {
	group, ctx := errgroup.WithContext(ctx)
	if e.own != nil {
		group.Go(func() error { e.own.Run(ctx); return nil })
	}
	if e.fleet != nil {
		group.Go(func() error { e.fleet.Run(ctx); return nil })
	}
	group.Go(func() error { return e.server.Run(ctx) })
	group.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-reload:
				_ = e.reloader.Reload(ctx) // logs by itself, and shows in a metric
			}
		}
	})
	err := group.Wait()
	if e.own != nil {
		e.own.Close()
	}
	return err
}

// loadCollectors is the embedded ones that are switched on, and the user's own.
func loadCollectors(f *flags, embedded []collector.Definition, reserved map[string]string) ([]collector.Definition, error) {
	var own []collector.Definition
	if f.collectorDir != "" {
		var err error
		if own, err = collector.Load(f.collectorDir); err != nil {
			return nil, fmt.Errorf("--collector.config-dir: %w", err)
		}
	}
	reserveOwnPrefix(reserved, embedded, own)
	all := append(append([]collector.Definition(nil), embedded...), own...)
	if err := collector.Validate(all, reserved); err != nil {
		return nil, fmt.Errorf("--collector.config-dir: %w", err)
	}
	return f.enabled(embedded, own), nil
}

// reserveOwnPrefix keeps a user's collectors off the names that are ours, those of later versions among them.
func reserveOwnPrefix(reserved map[string]string, embedded, own []collector.Definition) {
	ours := map[string]bool{}
	for _, d := range embedded {
		for _, m := range d.Metrics {
			ours[m.Name] = true
		}
	}
	for _, d := range own {
		for _, m := range d.Metrics {
			if name := m.Name + m.NamePrefix; strings.HasPrefix(name, ownPrefix) && !ours[name] {
				reserved[name] = "the exporter, as all that begin with " + ownPrefix
			}
		}
	}
}

// reservedNames are metrics that no collector of a user's may have, and whose they are.
func reservedNames(registry *prometheus.Registry, sources []collector.ScheduledSource, o fleet.TargetOptions) (map[string]string, error) {
	names := map[string]string{}
	for _, d := range collector.EngineDescs() {
		names[d.Name] = "the exporter"
	}
	for _, s := range sources {
		for _, d := range s.Descs() {
			names[d.Name] = "the source " + s.Name()
		}
	}
	// A prober that never runs, for the names on the pages of a fleet.
	o.Probe.Target, o.Probe.Logger, o.Probe.Write, o.Probe.StateDir = "none", o.Logger, false, ""
	prober, err := probe.New(o.Probe)
	if err != nil {
		return nil, err
	}
	targets := prometheus.NewRegistry()
	targets.MustRegister(prober)
	families, _ := prometheus.Gatherers{registry, targets}.Gather() // what can't be gathered now has no name to protect
	for _, family := range families {
		names[family.GetName()] = "the exporter"
	}
	names["pg_up"] = "the exporter" // absent before the first probe; what else is then begins with ownPrefix
	return names, nil
}

// stateDir is where counts outlive the exporter: the flag, systemd's StateDirectory=, or the user's own place.
func stateDir(flag string, env environment) (string, error) {
	switch flag {
	case "none":
		return "", nil
	case "":
	default:
		return flag, nil
	}
	if dir, _ := env("STATE_DIRECTORY"); dir != "" {
		return dir, nil
	}
	if dir, _ := env("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, appName), nil
	}
	home, _ := env("HOME")
	if home == "" {
		return "", errors.New("--state.dir is not set and there is no home directory. HINT: Choose a directory that outlives the exporter, or 'none'")
	}
	return filepath.Join(home, ".local", "state", appName), nil
}
