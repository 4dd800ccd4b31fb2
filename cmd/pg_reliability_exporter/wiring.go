package main

import (
	"context"
	"errors"
	"fmt"
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
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
	"github.com/pg-reliability/pg_reliability_exporter/internal/web"
)

const (
	volumeInterval    = 10 * time.Second
	containerInterval = 5 * time.Second
	backupInterval    = 15 * time.Second

	// proberConnections are the one it keeps and a login.
	proberConnections = 2

	// ownPrefix begins the names of metrics that are ours alone.
	ownPrefix = "pg_reliability_"
)

// exporter is the program's parts, put together and not yet running.
type exporter struct {
	logger    log.Logger
	connector *postgres.Connector
	pool      *postgres.Pool
	prober    *probe.Prober
	engine    *collector.Engine
	reloader  *web.Reloader
	server    *web.Server
}

func assemble(f *flags, embedded []collector.Definition, env environment, logger log.Logger) (*exporter, error) {
	e := &exporter{logger: logger}
	if err := f.check(); err != nil {
		return nil, err
	}
	source := dataSource{env: env}
	var err error
	if e.connector, err = source.connector(f.session); err != nil {
		return nil, err
	}
	pool := postgres.PoolOptions{Connector: e.connector, Min: f.poolMin, Max: f.poolMax, Apart: proberConnections, Logger: logger}
	if f.probe.write {
		pool.Apart++
	}
	if e.pool, err = postgres.NewPool(pool); err != nil {
		return nil, fmt.Errorf("--pool.min-conns, --pool.max-conns: %w", err)
	}
	if e.prober, err = newProber(f, e, env); err != nil {
		return nil, err
	}
	sources, err := newSources(f, e.prober)
	if err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(e.prober, versioncollector.NewCollector(appName), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	load := func() ([]collector.Definition, error) {
		return loadCollectors(f, embedded, reservedNames(registry, sources))
	}
	definitions, err := load()
	if err != nil {
		return nil, err
	}
	e.engine = collector.New(collector.Options{Pool: e.pool, Prober: e.prober, Logger: logger, Definitions: definitions, Sources: sources})
	e.reloader = web.NewReloader(logger, func(context.Context) error {
		definitions, err := load()
		if err != nil {
			return err
		}
		dsn, err := source.connectionString()
		if err != nil {
			return err
		}
		if err := e.connector.Update(dsn); err != nil {
			return err
		}
		e.engine.SetDefinitions(definitions)
		return nil
	})
	registry.MustRegister(e.reloader)
	e.server, err = newServer(f, e, registry)
	return e, err
}

func newProber(f *flags, e *exporter, env environment) (*probe.Prober, error) {
	stateDir, err := stateDir(f.stateDir, env)
	if err != nil {
		return nil, err
	}
	instance := f.probe.instance
	if instance == "" {
		if instance, err = os.Hostname(); err != nil {
			return nil, fmt.Errorf("find the host's name: %w. HINT: Set --probe.instance", err)
		}
	}
	p, err := probe.New(probe.Options{
		Connector: e.connector, Target: e.connector.Target(), StateDir: stateDir, Logger: e.logger,
		ReadInterval: f.probe.interval, ReadTimeout: f.probe.timeout,
		LoginInterval: f.probe.loginInterval, LoginTimeout: f.probe.loginTimeout,
		Write: f.probe.write, WriteInterval: f.probe.writeInterval, WriteTimeout: f.probe.writeTimeout, Instance: instance,
		OnConnectionLost: e.pool.Reset, // the pool's connections broke with it, or are about to
	})
	if err != nil {
		return nil, err
	}
	p.OnChange(func(_, now probe.Snapshot) { steerPool(e.pool, now) })
	return p, nil
}

// steerPool spares a server that is down the pool's attempts, and ends its backoff as soon as the server is up. A server
// that turns down logins alone is left to the pool's own backoff.
func steerPool(pool *postgres.Pool, now probe.Snapshot) {
	switch reason := now.Probes[probe.Read].Reason; reason {
	case postgres.OK:
		pool.Resume()
	case postgres.TooManyConnections, postgres.Auth:
	default:
		pool.Suspend(reason)
	}
}

func newSources(f *flags, prober *probe.Prober) ([]collector.ScheduledSource, error) {
	var sources []collector.ScheduledSource
	if len(f.volumes) > 0 {
		volumes, err := collector.NewVolumes(f.volumes)
		if err != nil {
			return nil, fmt.Errorf("--volume: %w", err)
		}
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
		backups, err := collector.NewBackups(metrics.New(f.backupCatalog, time.Now))
		if err != nil {
			return nil, fmt.Errorf("--backup.catalog: %w", err)
		}
		sources = append(sources, collector.ScheduledSource{Source: backups, Interval: backupInterval})
	}
	return sources, nil
}

func newServer(f *flags, e *exporter, registry *prometheus.Registry) (*web.Server, error) {
	return web.New(web.Options{
		Logger: e.logger, Addresses: *f.web.WebListenAddresses, SystemdSocket: *f.web.WebSystemdSocket, ConfigFile: *f.web.WebConfigFile,
		Engine: e.engine, Gatherer: registry, Registerer: registry, Prober: e.prober,
		MaxAge: map[probe.Kind]time.Duration{
			probe.Read:  3*f.probe.interval + f.probe.timeout,
			probe.Login: 3*f.probe.loginInterval + f.probe.loginTimeout,
			probe.Write: 3*f.probe.writeInterval + f.probe.writeTimeout,
		},
		Reload: e.reloader.Reload, MetricsPath: f.telemetryPath, TimeoutOffset: f.timeoutOffset, PProf: f.pprof, Version: version.Version,
	})
}

// run works until ctx ends or the server can't serve.
func (e *exporter) run(ctx context.Context, reload <-chan os.Signal) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { e.prober.Run(ctx); return nil })
	group.Go(func() error { e.engine.Run(ctx); return nil })
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
	e.pool.Close()
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
func reservedNames(registry *prometheus.Registry, sources []collector.ScheduledSource) map[string]string {
	names := map[string]string{}
	for _, d := range collector.EngineDescs() {
		names[d.Name] = "the exporter"
	}
	for _, s := range sources {
		for _, d := range s.Descs() {
			names[d.Name] = "the source " + s.Name()
		}
	}
	families, _ := registry.Gather() // what can't be gathered now has no name to protect
	for _, family := range families {
		names[family.GetName()] = "the exporter"
	}
	return names
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
