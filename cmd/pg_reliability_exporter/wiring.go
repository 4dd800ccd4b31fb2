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
	"github.com/go-kit/log/level"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/prometheus/common/version"
	"golang.org/x/sync/errgroup"

	"github.com/pg-reliability/pg_reliability_exporter/collector/definition"
	"github.com/pg-reliability/pg_reliability_exporter/collector/source"
	"github.com/pg-reliability/pg_reliability_exporter/internal/declared"
	"github.com/pg-reliability/pg_reliability_exporter/internal/fleet"
	"github.com/pg-reliability/pg_reliability_exporter/internal/host"
	"github.com/pg-reliability/pg_reliability_exporter/internal/httpserver"
	"github.com/pg-reliability/pg_reliability_exporter/internal/incident"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
	"github.com/pg-reliability/pg_reliability_exporter/internal/quiet"
	"github.com/pg-reliability/pg_reliability_exporter/internal/serverlog"
	"github.com/pg-reliability/pg_reliability_exporter/internal/sessions"
	"github.com/pg-reliability/pg_reliability_exporter/internal/smallfile"
	"github.com/pg-reliability/pg_reliability_exporter/internal/watchdog"
	"github.com/pg-reliability/pg_reliability_exporter/internal/web"
)

// ownPrefix begins the names of metrics that are ours alone.
const ownPrefix = "pg_reliability_"

// exporter is the program's parts, put together and not yet running.
type exporter struct {
	logger log.Logger
	own    *fleet.Target // the exporter's own server; nil where it watches a fleet or a PgBouncer alone
	// pgbouncer is that of --pgbouncer.dsn where there is no server of its own; else it is among that one's sources.
	pgbouncer *fleet.Target
	fleet     *fleet.Fleet // nil without --config.file
	// log is that server's; nil without --log.file and --log.container.
	log       *serverlog.Log
	incidents *incident.Recorder // of that server
	host      *host.Watcher      // of that server's machine
	sessions  *sessions.Watcher  // of that server
	watchdog  *watchdog.Watchdog // of that server; nil without --watchdog
	sources   sources            // of that server
	reloader  *web.Reloader
	reading   smallfile.Turn // of the configuration
	server    *web.Server
}

// assemble takes processors that are for one server: a fleet is to have all there are.
func assemble(f *flags, embedded []definition.Definition, env environment, logger log.Logger, p *quiet.Processors) (*exporter, error) {
	e := &exporter{logger: logger}
	if f.configFile != "" {
		p.Close()
		p = nil
	}
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
	options.Processors = p
	registry := prometheus.NewRegistry()
	registry.MustRegister(versioncollector.NewCollector(appName), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	from := dataSource{env: env}
	switch connector, err := from.connector(f.session, f.password); {
	case errors.Is(err, errNoServer) && (f.configFile != "" || f.pgbouncer != ""):
		if err := f.checkWithoutServer(); err != nil {
			return nil, err
		}
		if e.pgbouncer, err = newPgBouncer(f, options); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	default:
		own := options
		own.Connector, own.Probe.StateDir = connector, stateDir
		if err := e.watch(f, own, registry); err != nil {
			return nil, err
		}
	}
	read := loader{flags: f, embedded: embedded, logger: logger, reserved: reservedNames(registry)}
	definitions, config, err := read.load()
	if err != nil {
		return nil, err
	}
	if e.own != nil {
		e.own.Engine.SetDefinitions(definitions)
	}
	if config != nil {
		e.fleet, err = fleet.New(fleet.Options{
			Config: config, Settings: f.session.settings(), PoolMin: f.poolMin, PoolMax: f.poolMax, Probe: options.Probe,
			StateDir: stateDir, Definitions: definitions, MaxSamples: f.maxSamples, Budget: options.Budget,
			Databases: f.databases, Environ: os.Environ(), Logger: logger,
			Stories: incident.Options{Stall: f.stall, Show: f.showStatements}, More: f.storiesOf,
		})
		if err != nil {
			return nil, fmt.Errorf("--config.file: %w", err)
		}
		registry.MustRegister(e.fleet.Metrics())
	}
	e.reloader = web.NewReloader(logger, func(ctx context.Context) error { return e.reload(ctx, read, from) })
	registry.MustRegister(e.reloader.Metrics())
	e.server, err = newServer(f, e, config, registry, p)
	return e, err
}

// watch adds the exporter's own server.
func (e *exporter) watch(f *flags, o fleet.TargetOptions, registry *prometheus.Registry) (err error) {
	if e.sources, err = newSources(f, e.logger); err != nil {
		return err
	}
	o.Sources = e.sources.scheduled()
	if e.own, err = fleet.NewTarget(o); err != nil {
		return err
	}
	registry.MustRegister(e.own.Prober.Metrics())
	if err := e.recordIncidents(f, o.Probe.StateDir, registry); err != nil {
		return err
	}
	registry.MustRegister(source.Objectives(f.objective.loss, f.objective.back))
	if err := e.guard(f, o.Probe.StateDir, registry); err != nil {
		return err
	}
	e.sources.tell(e.own.Prober, e.learned)
	return nil
}

// loader reads the files that a reload reads again.
type loader struct {
	logger   log.Logger
	flags    *flags
	embedded []definition.Definition
	reserved map[string]string
}

// load returns no configuration without --config.file.
func (l loader) load() ([]definition.Definition, *fleet.Config, error) {
	definitions, err := loadCollectors(l.flags, l.embedded, maps.Clone(l.reserved), l.logger)
	if err != nil || l.flags.configFile == "" {
		return definitions, nil, err
	}
	config, err := fleet.Load(l.flags.configFile)
	if err != nil {
		return nil, nil, fmt.Errorf("--config.file: %w", err)
	}
	return definitions, config, nil
}

// readTimeout is how long a reload may take for its files, or for those of one server of a fleet: on a dead mount they take for ever. A
// start that takes so long says so.
const readTimeout = 20 * time.Second

// reload reads and checks everything before anything is swapped.
func (e *exporter) reload(ctx context.Context, read loader, from dataSource) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	hangs := time.AfterFunc(readTimeout, cancel)
	defer hangs.Stop()
	swap, err := smallfile.Within(ctx, &e.reading, "the configuration", func() (func() error, error) {
		return e.prepare(read, from, func() { hangs.Reset(readTimeout) })
	})
	if err != nil {
		return err
	}
	return swap()
}

// prepare reads and checks everything, and returns what puts it into force. It tells of each step that goes on.
func (e *exporter) prepare(read loader, from dataSource, goesOn func()) (swap func() error, err error) {
	definitions, config, err := read.load()
	if err != nil {
		return nil, err
	}
	if err := httpserver.CheckConfigFile(*read.flags.web.WebConfigFile); err != nil { // read at each request, too
		return nil, err
	}
	login := func() {}
	if e.own != nil {
		dsn, err := from.connectionString()
		if err != nil {
			return nil, err
		}
		if login, err = e.own.Connector.Prepare(dsn); err != nil {
			return nil, err
		}
	}
	var prepared *fleet.Prepared
	if e.fleet != nil {
		if prepared, err = e.fleet.Prepare(config, goesOn); err != nil {
			return nil, fmt.Errorf("--config.file: %w", err)
		}
	}
	return func() error { return e.swap(login, prepared, definitions) }, nil
}

func (e *exporter) swap(login func(), prepared *fleet.Prepared, definitions []definition.Definition) error {
	if e.fleet != nil {
		if err := e.fleet.Apply(prepared, definitions); err != nil {
			return fmt.Errorf("--config.file: %w", err)
		}
	}
	login()
	if e.own != nil {
		e.own.Engine.SetDefinitions(definitions)
	}
	return nil
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
	return fleet.TargetOptions{PoolMin: f.poolMin, PoolMax: f.poolMax, MaxSamples: f.maxSamples,
		Budget: f.memory(), Databases: f.databases, Logger: logger,
		Probe: probe.Options{
			ReadInterval: f.probe.interval, PulseInterval: f.probe.pulseInterval, ReadTimeout: f.probe.timeout,
			StallThreshold: f.probe.stallThreshold,
			LoginInterval:  f.probe.loginInterval, CalmLoginInterval: f.probe.calmLoginInterval, LoginTimeout: f.probe.loginTimeout,
			Write: f.probe.write, WriteInterval: f.probe.writeInterval, WriteTimeout: f.probe.writeTimeout, Instance: instance,
		}}, nil
}

func newServer(f *flags, e *exporter, config *fleet.Config, registry *prometheus.Registry, p *quiet.Processors,
) (*web.Server, error) {
	o := web.Options{
		Logger: e.logger,
		Listen: web.Listen{
			Addresses: *f.web.WebListenAddresses, SystemdSocket: *f.web.WebSystemdSocket, ConfigFile: *f.web.WebConfigFile,
			MaxRequests: f.maxRequests, MaxProbes: f.maxProbes(config), AllowedHosts: f.allowedHosts,
		},
		Metrics: web.Metrics{
			Gatherer: registry, Registerer: registry, MetricsPath: f.telemetryPath, TimeoutOffset: f.timeoutOffset,
			Processors: p,
		},
		People: web.People{Version: version.Version},
		Fleet:  e.fleet, Reload: e.reloader.Reload, PProf: f.pprof,
	}
	switch {
	case e.own != nil:
		o.Engine, o.Prober = e.own.Engine, e.own.Prober
	case e.pgbouncer != nil:
		o.Engine = e.pgbouncer
	}
	o.FleetStories = f.status.page
	if e.own != nil && f.status.page {
		var err error
		if o.Status, o.StatusView, err = newStatus(f, e); err != nil {
			return nil, err
		}
		o.Incidents, o.Sessions = e.incidents, e.sessions
		registry.MustRegister(web.PageInfo(f.status.externalURL()))
	}
	return web.New(o)
}

// storiesOf tells alerts where the stories of a target are, where it is known under which address people reach this exporter.
func (f *flags) storiesOf(target string) []prometheus.Collector {
	if f.status.external == "" || !f.status.page {
		return nil
	}
	return []prometheus.Collector{web.PageInfo(f.status.externalURL() + "targets/" + target + "/")}
}

// watches names what is watched, for the log.
func (e *exporter) watches() []any {
	var out []any
	if e.own != nil {
		out = append(out, "target", e.own.Connector.Target(), "user", e.own.Connector.User())
	}
	if e.pgbouncer != nil {
		out = append(out, "pgbouncer", e.pgbouncer.Connector.Target())
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
		group.Go(func() error { e.host.Run(ctx); return nil })
	}
	if e.pgbouncer != nil {
		group.Go(func() error { e.pgbouncer.Run(ctx); return nil })
	}
	if e.watchdog != nil {
		group.Go(func() error { e.watchdog.Run(ctx); return nil })
	}
	if e.log != nil {
		group.Go(func() error { e.log.Run(ctx); return nil })
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
	e.sources.close()
	if e.pgbouncer != nil {
		e.pgbouncer.Close()
	}
	if e.own != nil {
		e.own.Close()
	}
	return err
}

// loadCollectors is the embedded ones that are switched on, and the user's own.
func loadCollectors(f *flags, embedded []definition.Definition, reserved map[string]string, logger log.Logger) ([]definition.Definition,
	error) {
	var own []definition.Definition
	if f.collectorDir != "" {
		var err error
		if own, err = definition.Load(f.collectorDir); err != nil {
			return nil, fmt.Errorf("--collector.config-dir: %w", err)
		}
		if len(own) == 0 { // a mount that is not there yet, or a mistyped name, must not keep the exporter from its work
			_ = level.Warn(logger).Log("msg", "--collector.config-dir has no collector. HINT: Files there must end in .yml or .yaml",
				"dir", f.collectorDir)
		}
	}
	if f.queriesFile != "" {
		taken := append(append([]definition.Definition(nil), embedded...), own...)
		queries, refused, err := definition.LoadQueries(f.queriesFile, func(name string) string { return whose(name, reserved, taken) })
		if err != nil {
			return nil, fmt.Errorf("--extend.query-path: %w", err)
		}
		for _, err := range refused {
			_ = level.Warn(logger).Log("msg", "a part of --extend.query-path is left out", "err", err)
		}
		own = append(own, queries...)
	}
	reserveOwnPrefix(reserved, embedded, own)
	all := append(append([]definition.Definition(nil), embedded...), own...)
	if err := definition.Validate(all, reserved); err != nil {
		return nil, fmt.Errorf("--collector.config-dir: %w", err)
	}
	return f.enabled(embedded, own), nil
}

// whose metric a name is; empty where it is nobody's yet.
func whose(name string, reserved map[string]string, taken []definition.Definition) string {
	if by := reserved[name]; by != "" {
		return by
	}
	if strings.HasPrefix(name, ownPrefix) {
		return "the exporter, as all that begin with " + ownPrefix
	}
	for _, d := range taken {
		for _, m := range d.Metrics {
			if m.Name == name || m.NamePrefix != "" && strings.HasPrefix(name, m.NamePrefix) {
				return "collector " + d.Name
			}
		}
	}
	return ""
}

// reserveOwnPrefix keeps a user's collectors off the names that are ours, those of later versions among them.
func reserveOwnPrefix(reserved map[string]string, embedded, own []definition.Definition) {
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
func reservedNames(registry *prometheus.Registry) map[string]string {
	names := map[string]string{}
	libraries, _ := registry.Gather() // what can't be gathered now has no name to protect
	for _, family := range libraries {
		names[family.GetName()] = "the exporter"
	}
	for _, room := range declared.Rooms() {
		for _, d := range room.Metrics {
			names[d.Name] = "the exporter"
		}
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
		return "", errors.New("--state.dir is not set and there is no home directory. HINT: Choose a directory that outlives the exporter, " +
			"or 'none'")
	}
	return filepath.Join(home, ".local", "state", appName), nil
}
