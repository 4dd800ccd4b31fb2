package fleet

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/collector"
	"github.com/pg-reliability/pg_reliability_exporter/collector/definition"
	"github.com/pg-reliability/pg_reliability_exporter/collector/pgbouncer"
	"github.com/pg-reliability/pg_reliability_exporter/internal/incident"
	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
	"github.com/pg-reliability/pg_reliability_exporter/internal/quiet"
	"github.com/pg-reliability/pg_reliability_exporter/internal/sessions"
)

const (
	// proberConnections are the one it keeps and a login.
	proberConnections = 2
	// firstConnection is how long the first scrape waits for the pool, once the server is known to be up.
	firstConnection = 2 * time.Second
	settleCheck     = 10 * time.Millisecond
	// closeGrace is how long connections may take to end.
	closeGrace = time.Second
)

// TargetOptions say how one server is watched. Connector and Logger are required.
type TargetOptions struct {
	Connector *postgres.Connector
	// PoolMin and PoolMax bound the connections, as postgres.PoolOptions has them.
	PoolMin, PoolMax int
	// Probe has the intervals and timeouts, StateDir, and the write probe; the rest is filled in.
	Probe probe.Options
	// Sources are what is measured without SQL.
	Sources []collector.ScheduledSource
	// Definitions are the collectors; Engine.SetDefinitions replaces them.
	Definitions []definition.Definition
	// Databases are visited beside the connection's own.
	Databases Databases
	// MaxSamples is what one collector may have, as collector.Options has it.
	MaxSamples int
	// Budget is the memory that the samples of all targets may have; nil has no bound.
	Budget *metric.Budget
	// Processors is as collector.Options has it.
	Processors *quiet.Processors
	Logger     log.Logger
}

// Databases say which databases of a server are visited, as collector.Databases has them.
type Databases struct {
	// All is false where only the connection's database is meant.
	All              bool
	Include, Exclude []string
}

func (d Databases) through(c *postgres.Connector) collector.Databases {
	if !d.All {
		return collector.Databases{}
	}
	return collector.Databases{Include: d.Include, Exclude: d.Exclude,
		Connect: func(ctx context.Context, database string) (*postgres.Session, error) {
			return c.InDatabase(database).Connect(ctx)
		}}
}

// Target is one server that is watched: the server an exporter stands beside, or one of a fleet.
type Target struct {
	Connector *postgres.Connector
	// Pool and Prober are nil where the target is no PostgreSQL server.
	Pool   *postgres.Pool
	Prober *probe.Prober
	Engine *collector.Engine

	// Incidents and Sessions are nil without KeepStories.
	Incidents *incident.Recorder
	Sessions  *sessions.Watcher

	pgbouncer *pgbouncer.PgBouncer // nil where the target is none
	settled   atomic.Bool
}

// NewTarget puts the parts together and opens the pool, which never waits for the server. Run probes.
func NewTarget(o TargetOptions) (*Target, error) {
	t := &Target{Connector: o.Connector}
	pool := postgres.PoolOptions{Connector: o.Connector, Min: o.PoolMin, Max: o.PoolMax, Apart: proberConnections, Logger: o.Logger}
	if o.Probe.Write {
		pool.Apart++
	}
	var err error
	if t.Pool, err = postgres.NewPool(pool); err != nil {
		return nil, fmt.Errorf("--pool.min-conns, --pool.max-conns: %w", err)
	}
	o.Probe.Connector, o.Probe.Target, o.Probe.Logger = o.Connector, o.Connector.Target(), o.Logger
	o.Probe.OnConnectionLost = t.Pool.Reset // the pool's connections broke with it, or are about to
	if t.Prober, err = probe.New(o.Probe); err != nil {
		t.Pool.Close()
		return nil, err
	}
	t.Prober.OnChange(func(_, now probe.Snapshot) { steerPool(t.Pool, now) })
	arrivals := collector.ScheduledSource{Source: probe.NewArrivals(t.Pool, t.Prober), Interval: probe.ArrivalsInterval}
	t.Engine = collector.New(collector.Options{
		Pool: t.Pool, Prober: t.Prober, Logger: o.Logger, Definitions: o.Definitions, Sources: append(slices.Clone(o.Sources), arrivals),
		MaxSamples: o.MaxSamples, Budget: o.Budget, Databases: o.Databases.through(o.Connector), Processors: o.Processors,
	})
	return t, nil
}

// Run watches the server until ctx ends, and saves the state; Close ends the connections afterwards.
func (t *Target) Run(ctx context.Context) {
	var all sync.WaitGroup
	if t.Prober != nil {
		all.Go(func() { t.Prober.Run(ctx) })
	}
	if t.Incidents != nil {
		all.Go(func() { t.Incidents.Run(ctx) })
		all.Go(func() { t.Sessions.Run(ctx) })
	}
	t.Engine.Run(ctx) // here: of a fleet, each goroutine less counts
	all.Wait()
}

// Close waits for scrapes under way, and closes the connections. A frozen server is not waited for: it would take 15 s to
// give up saying goodbye to it.
func (t *Target) Close() {
	if t.pgbouncer != nil {
		t.pgbouncer.Close()
		return
	}
	closed := make(chan struct{})
	go func() { t.Pool.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(closeGrace):
	}
}

// settle is for the first scrapes of a new target: it waits until the server is known to be up or down, and for the
// connection that scrapes use, but not longer than ctx.
func (t *Target) settle(ctx context.Context) {
	if t.settled.Load() {
		return
	}
	ticker := time.NewTicker(settleCheck)
	defer ticker.Stop()
	var up time.Time
	for {
		if t.known(&up) {
			t.settled.Store(true)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Select checks names of collectors.
func (t *Target) Select(include, exclude []string) (collector.Selection, error) {
	return t.Engine.Select(include, exclude)
}

// Gather answers before ctx's deadline. The first scrapes of a target wait until its state is known.
func (t *Target) Gather(ctx context.Context, sel collector.Selection) []*metric.Family {
	t.settle(ctx)
	return t.Engine.Gather(ctx, sel)
}

// known says whether settle need not wait any longer; up is when the server was known to be up or down.
func (t *Target) known(up *time.Time) bool {
	if t.pgbouncer != nil {
		return t.Engine.SourcesRead()
	}
	read := t.Prober.Snapshot().Probes[probe.Read]
	if read.At.IsZero() {
		return false
	}
	if up.IsZero() {
		*up = time.Now()
	}
	idle, lent := t.Pool.Open()
	return read.Reason != postgres.OK || idle+lent > 0 || time.Since(*up) > firstConnection
}

// steerPool spares a server that is down the pool's attempts, and ends its backoff as soon as the server is up. A server
// that turns down logins alone is left to the pool's own backoff.
func steerPool(pool *postgres.Pool, now probe.Snapshot) {
	switch reason := now.Probes[probe.Read].Reason; {
	case reason == postgres.OK:
		pool.Resume()
	case !reason.OnlyLogins():
		pool.Suspend(reason)
	}
}
