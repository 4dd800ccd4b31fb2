package fleet

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/collector"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
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
	// Sources, if set, makes what is measured without SQL.
	Sources func(*probe.Prober) ([]collector.ScheduledSource, error)
	// Definitions are the collectors; Engine.SetDefinitions replaces them.
	Definitions []collector.Definition
	// MaxSamples is what one collector may have, as collector.Options has it.
	MaxSamples int
	Logger     log.Logger
}

// Target is one server that is watched: the server an exporter stands beside, or one of a fleet.
type Target struct {
	Connector *postgres.Connector
	Pool      *postgres.Pool
	Prober    *probe.Prober
	Engine    *collector.Engine
	Sources   []collector.ScheduledSource

	settled atomic.Bool
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
	if o.Sources != nil {
		if t.Sources, err = o.Sources(t.Prober); err != nil {
			t.Pool.Close()
			return nil, err
		}
	}
	t.Engine = collector.New(collector.Options{
		Pool: t.Pool, Prober: t.Prober, Logger: o.Logger, Definitions: o.Definitions, Sources: t.Sources,
		MaxSamples: o.MaxSamples,
	})
	return t, nil
}

// Run watches the server until ctx ends, and saves the state; Close ends the connections afterwards.
func (t *Target) Run(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() { t.Prober.Run(ctx) })
	all.Go(func() { t.Engine.Run(ctx) })
	all.Wait()
}

// Close waits for scrapes under way, and closes the connections. A frozen server is not waited for: it would take 15 s to
// give up saying goodbye to it.
func (t *Target) Close() {
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
		if read := t.Prober.Snapshot().Probes[probe.Read]; !read.At.IsZero() {
			if up.IsZero() {
				up = time.Now()
			}
			idle, lent := t.Pool.Open()
			if read.Reason != postgres.OK || idle+lent > 0 || time.Since(up) > firstConnection {
				t.settled.Store(true)
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
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
