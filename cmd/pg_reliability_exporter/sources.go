package main

import (
	"context"
	"fmt"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"github.com/pg-reliability/pg_reliability_exporter/backup/metrics"
	"github.com/pg-reliability/pg_reliability_exporter/collector"
	"github.com/pg-reliability/pg_reliability_exporter/collector/pgbouncer"
	"github.com/pg-reliability/pg_reliability_exporter/collector/source"
	"github.com/pg-reliability/pg_reliability_exporter/internal/containers"
	"github.com/pg-reliability/pg_reliability_exporter/internal/fleet"
	"github.com/pg-reliability/pg_reliability_exporter/internal/host"
	"github.com/pg-reliability/pg_reliability_exporter/internal/incident"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status/gather"
)

const (
	volumeInterval    = 10 * time.Second
	containerInterval = 5 * time.Second
	backupInterval    = 15 * time.Second
)

// sources are what is measured without SQL; each is nil where no flag asks for it.
type sources struct {
	volumes   *source.Volumes
	container *source.Container
	backups   *metrics.Collector
	pgbouncer *pgbouncer.PgBouncer

	trends        *gather.Trends // of the volumes
	containerName string
	engine        *containers.Engine
}

func newSources(f *flags, logger log.Logger) (s sources, err error) {
	if len(f.volumes) > 0 {
		if s.volumes, err = source.NewVolumes(f.volumes); err != nil {
			return s, fmt.Errorf("--volume: %w", err)
		}
		s.trends = gather.NewTrends(time.Now)
	}
	if f.container.name != "" {
		if s.container, err = source.NewContainer(source.ContainerOptions{Name: f.container.name, Host: f.container.host}); err != nil {
			return s, fmt.Errorf("--container.name, --container.host: %w", err)
		}
		if s.engine, err = containers.NewEngine(f.container.host, 0); err != nil {
			return s, fmt.Errorf("--container.host: %w", err)
		}
		s.containerName = f.container.name
	}
	if f.backupCatalog != "" {
		s.backups = metrics.New(f.backupCatalog, time.Now)
		s.backups.OnChange(func(err error) { logRepository(logger, f.backupCatalog, err) })
	}
	if f.pgbouncer != "" {
		c, err := f.console()
		if err != nil {
			return s, err
		}
		s.pgbouncer = pgbouncer.New(c)
	}
	return s, nil
}

// console leads to the PgBouncer of --pgbouncer.dsn.
func (f *flags) console() (*postgres.Connector, error) {
	c, err := postgres.NewConnector(postgres.ConnectorOptions{DSN: f.pgbouncer, Settings: f.session.settings()})
	if err != nil {
		return nil, fmt.Errorf("--pgbouncer.dsn: %w", err)
	}
	return c, nil
}

// newPgBouncer watches that one alone; nil where no flag names one.
func newPgBouncer(f *flags, o fleet.TargetOptions) (*fleet.Target, error) {
	if f.pgbouncer == "" {
		return nil, nil
	}
	c, err := f.console()
	if err != nil {
		return nil, err
	}
	return fleet.NewPgBouncer(c, o.MaxSamples, o.Budget, o.Logger), nil
}

// logRepository says once what the page says as long as it lasts.
func logRepository(logger log.Logger, dir string, err error) {
	if err == nil {
		level.Info(logger).Log("msg", "the backup repository can be read again", "dir", dir)
		return
	}
	level.Warn(logger).Log("msg", "the backup repository can't be read", "dir", dir, "err", err)
}

// scheduled is for the engine.
func (s sources) scheduled() []collector.ScheduledSource {
	var out []collector.ScheduledSource
	if s.volumes != nil {
		out = append(out, collector.ScheduledSource{Source: s.volumes, Interval: volumeInterval})
	}
	if s.container != nil {
		out = append(out, collector.ScheduledSource{Source: s.container, Interval: containerInterval})
	}
	if s.backups != nil {
		out = append(out, collector.ScheduledSource{Source: s.backups, Interval: backupInterval})
	}
	if s.pgbouncer != nil {
		out = append(out, collector.ScheduledSource{Source: s.pgbouncer, Interval: pgbouncer.Interval})
	}
	return out
}

// close ends what sources keep open.
func (s sources) close() {
	if s.pgbouncer != nil {
		s.pgbouncer.Close()
	}
}

// ends asks the engine how the container ended.
func (s sources) ends(ctx context.Context, since, until time.Time) ([]containers.End, error) {
	return s.engine.Ends(ctx, s.containerName, since, until)
}

// tell lets those who keep the books know what is measured.
func (s sources) tell(prober *probe.Prober, learned func(incident.Fact)) {
	if s.container != nil {
		s.container.OnState(prober.ObserveContainer)
		ends := &host.Container{Name: s.containerName, Ends: s.ends, Tell: learned}
		s.container.OnAnswer(ends.Observe)
	}
	if s.volumes != nil {
		s.volumes.OnMeasured(func(name string, used, available uint64, readOnly bool) {
			s.trends.Observe(name, used, available)
			for _, fact := range incident.Volume(time.Now(), name, used, available, readOnly) {
				learned(fact)
			}
		})
	}
}
