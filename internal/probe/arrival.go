package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// ArrivalsInterval is how often Arrivals looks: what the lag is too low by at the most.
const ArrivalsInterval = 5 * time.Second

// nothingArrives is how long it is left at that a server gets no heartbeats from another one.
const nothingArrives = time.Minute

const (
	// arriveSQL says whether the rows of reliability.heartbeat come from elsewhere, to a standby or by a subscription, and whether the role
	// may read them.
	arriveSQL = `SELECT pg_catalog.pg_is_in_recovery() OR EXISTS (SELECT FROM pg_catalog.pg_subscription_rel AS r WHERE r.srrelid = c.oid),
       pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE n.nspname = 'reliability' AND c.relname = 'heartbeat'`
	// arrivalLock waits for nobody: with it, what heartbeatCheck finds holds until the rows are read.
	arrivalLock = "LOCK TABLE reliability.heartbeat IN ACCESS SHARE MODE NOWAIT"
	// arrivalSQL is when each exporter's newest row was written by the clock of the server it was written to. There are as many rows as
	// there are exporters that write; of more than 20, the newest.
	arrivalSQL = `SELECT pg_catalog.left(h.instance, 200),
       pg_catalog.round(extract(epoch FROM pg_catalog.clock_timestamp() - h.beat_at)::numeric, 6)
  FROM ONLY reliability.heartbeat AS h
 WHERE pg_catalog.isfinite(h.beat_at)
 ORDER BY h.beat_at DESC
 LIMIT 20`
)

// ErrDown is why nothing was read of a server whose read probe fails; the prober has logged why.
var ErrDown = errors.New("the server does not answer")

// HeartbeatLag is what Arrivals measure.
var HeartbeatLag = declared.Gauge("pg_reliability_heartbeat_lag_seconds",
	"Age of the newest heartbeat that an exporter with --probe.write has committed elsewhere and that has come to this standby or "+
		"subscriber, by the clocks of both servers. It is true also where the link is cut; up to one write interval of it is no lag.", "writer")

// Arrivals measures by the rows of reliability.heartbeat how far a standby or a subscriber is behind: what was written, travelled and was
// applied, whatever the links on the way say of themselves. It is a collector.Source.
type Arrivals struct {
	pool   *postgres.Pool
	prober *Prober

	next time.Time // before it, things are as they were found
	why  error     // nothing was read then; nil where nothing arrives
}

// NewArrivals measures on connections of the pool, while the prober finds that the server answers.
func NewArrivals(pool *postgres.Pool, prober *Prober) *Arrivals {
	return &Arrivals{pool: pool, prober: prober}
}

// Name is heartbeat.
func (a *Arrivals) Name() string { return "heartbeat" }

// Help is one line for users.
func (a *Arrivals) Help() string {
	return "How old the heartbeats of other exporters are that have come to this standby or subscriber."
}

// Collect reads them. Where there is no table, or nothing comes to it, it emits nothing and looks again a minute later.
func (a *Arrivals) Collect(ctx context.Context, out *metric.Sink) error {
	snapshot := a.prober.Snapshot()
	if snapshot.Probes[Read].At.IsZero() {
		return nil
	}
	if err := a.down(); err != nil {
		return err
	}
	if time.Now().Before(a.next) {
		return a.why
	}
	err := a.collect(ctx, snapshot, out)
	if err != nil { // the server may have gone down while it was asked
		return cmp.Or(a.down(), err)
	}
	return nil
}

// down is a *postgres.Failure while the read probe fails.
func (a *Arrivals) down() error {
	read := a.prober.Snapshot().Probes[Read]
	if read.At.IsZero() || read.Reason == postgres.OK {
		return nil
	}
	return &postgres.Failure{Reason: read.Reason, Err: ErrDown}
}

func (a *Arrivals) collect(ctx context.Context, snapshot Snapshot, out *metric.Sink) error {
	lease, err := a.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("get a connection: %w", err)
	}
	defer lease.Release()
	arrives, err := arrive(ctx, lease.Session)
	if err != nil || !arrives {
		a.next, a.why = time.Now().Add(nothingArrives), err
		return err
	}
	var broken error
	err = checked(ctx, lease.Session, arrivalLock, arrivalSQL, func(values [][]byte) {
		writer, age := string(values[0]), string(values[1])
		if snapshot.Server.Role == Primary && a.prober.writes(writer) {
			return // its own, which has not come from anywhere
		}
		seconds, err := strconv.ParseFloat(age, 64)
		if err != nil {
			broken = fmt.Errorf("the age of a heartbeat is no number: %.40q", age)
			return
		}
		out.Add(HeartbeatLag, seconds, writer)
	})
	return errors.Join(err, broken)
}

// arrive says whether heartbeats come to this server from another one.
func arrive(ctx context.Context, s *postgres.Session) (bool, error) {
	rows, err := s.Query(ctx, arriveSQL)
	if err != nil || len(rows) == 0 || !yes(rows[0], 0) {
		return false, err
	}
	if !yes(rows[0], 1) {
		return false, &postgres.Failure{Reason: postgres.Permission,
			Err: errors.New("the role may not read reliability.heartbeat. HINT: Run deploy/sql/heartbeat.sql as a superuser")}
	}
	return true, nil
}

func yes(row []*string, i int) bool { return i < len(row) && row[i] != nil && *row[i] == "t" }

// writes says whether the prober writes heartbeats under a name.
func (p *Prober) writes(name string) bool { return p.o.Write && p.o.Instance == name }
