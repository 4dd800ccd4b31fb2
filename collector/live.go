package collector

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/go-kit/log/level"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
)

const (
	// downCheck is how often a waiting scrape looks whether the prober has given the server up meanwhile.
	downCheck = 10 * time.Millisecond
	// pageReserve of the deadline is left for what comes after the queries.
	pageReserve = 50 * time.Millisecond
)

// liveResult is what one live collector has for a page.
type liveResult struct {
	unit    *queryUnit
	samples []sample
}

// live answers a scrape's live collectors, and nothing for those whose answer can't be had.
func (e *Engine) live(ctx context.Context, sel Selection, units []*queryUnit) []liveResult {
	var live []*queryUnit
	for _, u := range units {
		if u.isLive() {
			live = append(live, u)
		}
	}
	if len(live) == 0 {
		return nil
	}
	if down, reason := known(e.prober.Snapshot()); down {
		for _, u := range live {
			u.status.down(reason)
		}
		return nil
	}
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-pageReserve))
		defer cancel()
	}
	fl := e.flights.join(ctx, sel.key(), func(ctx context.Context) []liveResult { return e.collectLive(ctx, live) })
	ticker := time.NewTicker(downCheck)
	defer ticker.Stop()
	for {
		select {
		case <-fl.done:
			return fl.result
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if down, reason := known(e.prober.Snapshot()); down {
				for _, u := range live {
					u.status.down(reason)
				}
				return nil
			}
		}
	}
}

// collectLive sends all live queries as one pipeline.
func (e *Engine) collectLive(ctx context.Context, units []*queryUnit) []liveResult {
	units = slices.Clone(units)
	lease, err := e.pool.AcquireIdle(ctx)
	if err != nil {
		for _, u := range units {
			u.status.down(postgres.ReasonOf(err)) // the pool or the prober has logged why
		}
		return nil
	}
	defer lease.Release()

	role := e.prober.Snapshot().Server.Role
	type query struct {
		unit    *queryUnit
		decoder *rowDecoder
	}
	var queries []query
	var statements []postgres.Statement
	// What was quick last time goes first: should the deadline cut the pipeline, it cuts the slow end.
	slices.SortStableFunc(units, func(a, b *queryUnit) int { return cmp.Compare(a.status.lastTook(), b.status.lastTook()) })
	for _, u := range units {
		sql, ok := e.applies(u, lease.Version(), role)
		if !ok {
			continue
		}
		queries = append(queries, query{u, newRowDecoder(u.def.MetricsFor(lease.Version()))})
		statements = append(statements, postgres.Statement{SQL: sql})
	}
	if len(queries) == 0 {
		return nil
	}
	outcomes, lost := lease.Pipeline(ctx, statements, func(i int, fields []pgconn.FieldDescription, values [][]byte) {
		queries[i].decoder.row(fields, values)
	})
	now := time.Now()
	if lost != nil {
		_ = level.Warn(e.logger).Log("msg", "connection lost during a scrape", "reason", postgres.ReasonOf(lost), "err", lost)
	}
	results := make([]liveResult, 0, len(queries))
	for i, q := range queries {
		if lost != nil && errors.Is(outcomes[i].Err, lost) {
			q.unit.status.down(postgres.ReasonOf(lost))
			continue
		}
		e.finish(q.unit, q.decoder, now, outcomes[i])
		if outcomes[i].Err == nil {
			results = append(results, liveResult{q.unit, q.decoder.sink.samples})
		}
		if i > 0 && q.unit.status.timing(outcomes[i].Duration) { // the first one's has the round trip in it
			q.unit.schedule(now)
			_ = level.Warn(e.logger).Log("msg", "live collector is slow and moves to the background", "collector", q.unit.def.Name,
				"took", outcomes[i].Duration.Round(time.Millisecond), "refresh", demotedRefresh)
			e.poke()
		}
	}
	return results
}

// finish records one collector's run and what was wrong with its rows.
func (e *Engine) finish(u *queryUnit, d *rowDecoder, now time.Time, o postgres.Outcome) {
	u.status.record(e.logger, u.def.Name, now, o.Duration, o.Err, o.Err == nil)
	for range d.malformed {
		u.status.reject(e.logger, u.def.Name, malformedSample, d.err.Error())
	}
}

// applies is a collector's SQL for this server, or none and the reason noted.
func (e *Engine) applies(u *queryUnit, version int, role probe.Role) (string, bool) {
	why := ""
	sql, ok := u.def.SQLFor(version)
	need := u.def.Requires
	e.mu.Lock()
	installed := e.extensions
	e.mu.Unlock()
	sql, usable := need.withExtension(sql, installed)
	switch {
	case !ok:
		why = "version"
	case need.Role != "" && role != probe.UnknownRole && need.Role != string(role):
		why = "role"
	case !usable:
		why = "extension"
	}
	u.mu.Lock()
	u.skipped = why
	u.mu.Unlock()
	return sql, why == ""
}
