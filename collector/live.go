package collector

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/go-kit/log/level"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pg-reliability/pg_reliability_exporter/collector/definition"
	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
)

const (
	// downCheck is how often a waiting scrape looks whether the prober has given the server up meanwhile.
	downCheck = 10 * time.Millisecond
	// pageReserve of the deadline is left for what comes after the queries.
	pageReserve = 50 * time.Millisecond
	// shares of the time that a page has are there for slow queries: one gets one of them, and leaves the others to who comes behind it.
	shares = 4
	// leastShare is longer than a query may wait for a lock by default, of which it is said that it was that.
	leastShare = 400 * time.Millisecond
)

// liveResult is what one live collector has for a page.
type liveResult struct {
	unit    *queryUnit
	samples []metric.Sample
}

// live answers a scrape's live collectors with what has come by ctx's deadline. missing are those whose answer had not come, or that
// could not be asked.
func (e *Engine) live(ctx context.Context, sel Selection, units []*queryUnit) (results []liveResult, missing map[*queryUnit]bool) {
	var live []*queryUnit
	for _, u := range units {
		if u.isLive() {
			live = append(live, u)
		}
	}
	if len(live) == 0 {
		return nil, nil
	}
	if down, reason := known(e.prober.Snapshot()); down {
		return nil, e.notAsked(live, reason)
	}
	share := liveTimeout
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-pageReserve))
		defer cancel()
		share = max(leastShare, time.Until(deadline)/shares)
	}
	fl := e.flights.join(ctx, sel.key(), func(ctx context.Context, fl *flight) { e.collectLive(ctx, live, share, fl) })
	ticker := time.NewTicker(downCheck)
	defer ticker.Stop()
	for {
		select {
		case <-fl.done:
			results, _, _, _ = fl.soFar()
			return results, nil
		case <-ctx.Done():
			return e.cutShort(fl, live, errors.Is(ctx.Err(), context.Canceled))
		case <-ticker.C:
			if down, reason := known(e.prober.Snapshot()); down {
				e.flights.abandon(sel.key(), fl)
				return nil, e.notAsked(live, reason)
			}
		}
	}
}

// notAsked notes that the server is down, once a page.
func (e *Engine) notAsked(live []*queryUnit, reason postgres.Reason) map[*queryUnit]bool {
	missing := map[*queryUnit]bool{}
	for _, u := range live {
		u.status.down(reason)
		missing[u] = true
	}
	return missing
}

// cutShort is a page that has to go out before all answers are there. The collector that is awaited while others have been answered is
// the one that holds the page up; it moves to the background if it is slow, and not because a client gave the page no time. A page whose
// clients have left tells nothing of anybody.
func (e *Engine) cutShort(fl *flight, live []*queryUnit, left bool) (results []liveResult, missing map[*queryUnit]bool) {
	results, ended, asking, awaited := fl.soFar()
	missing = map[*queryUnit]bool{}
	for _, u := range live {
		if !ended[u] {
			missing[u] = true
			if !left {
				u.status.missed()
			}
		}
	}
	if asking != nil && len(ended) > 0 && awaited >= slowLive && asking.status.demote() {
		asking.schedule(time.Now())
		_ = level.Warn(e.logger).Log("msg", "live collector held up a page and moves to the background", "collector", asking.def.Name,
			"missing", len(missing), "refresh", demotedRefresh)
		e.poke()
	}
	return results, missing
}

// collectLive sends all live queries as one pipeline and tells fl of each that has ended. Those behind one that has no end, which costs the
// connection, are sent again on another: each costs a page its own samples alone. share is how long the server works on one at the most.
func (e *Engine) collectLive(ctx context.Context, units []*queryUnit, share time.Duration, fl *flight) {
	fl.run = e.memory.share.Begin(0) // ends when no page can have the results any more
	defer e.account(nil)
	acquire := e.pool.AcquireIdle
	for units = slices.Clone(units); len(units) > 0; {
		units = e.askLive(ctx, acquire, units, share, fl)
		acquire = e.pool.Acquire // the pool opens one in the place of the one that is lost
	}
}

// askLive is collectLive on one connection. It returns those that have to be asked again.
func (e *Engine) askLive(ctx context.Context, acquire func(context.Context) (*postgres.Lease, error), units []*queryUnit,
	share time.Duration, fl *flight) (again []*queryUnit) {
	lease, err := acquire(ctx)
	if err != nil {
		for _, u := range units {
			u.status.down(postgres.ReasonOf(err)) // the pool or the prober has logged why
			fl.end(u, nil)
		}
		return nil
	}
	defer lease.Release()

	role := e.prober.Snapshot().Server.Role
	type query struct {
		unit    *queryUnit
		decoder *definition.Decoder
	}
	var queries []query
	var statements []postgres.Statement
	// What was quick last time goes first, and what never was answered last: should the deadline cut the pipeline, it cuts the slow end.
	slices.SortStableFunc(units, func(a, b *queryUnit) int { return cmp.Compare(a.status.usuallyTakes(), b.status.usuallyTakes()) })
	page := e.roomBeside(nil)
	for _, u := range units {
		sql, ok := e.applies(u, lease.Version(), u.def.Top, role)
		if !ok {
			fl.end(u, nil)
			continue
		}
		d := definition.NewDecoder(u.def.MetricsFor(lease.Version()), metric.RoomFor(e.maxSamples), page).Within(fl.run)
		queries = append(queries, query{u, d})
		statements = append(statements, postgres.Statement{SQL: sql, Timeout: lease.Within(share), MaxBytes: int64(liveBytes / len(units)),
			Undo: !u.def.BuiltIn})
	}
	if len(queries) == 0 {
		return nil
	}
	fl.ask(queries[0].unit)
	cut, endless := 0, false
	_, lost := lease.Stream(ctx, statements, func(i int, fields []pgconn.FieldDescription, values [][]byte) {
		queries[i].decoder.Row(fields, values)
	}, func(i int, o postgres.Outcome) {
		u, d := queries[i].unit, queries[i].decoder
		if lease.Broken() {
			switch cut++; {
			case cut == 1:
				endless = errors.Is(o.Err, postgres.ErrTooMuch)
				e.brokeOff(u, d, o)
			case endless:
				again = append(again, u)
				return
			default:
				u.status.down(postgres.ReasonOf(o.Err))
			}
			fl.end(u, nil)
			return
		}
		e.answered(u, d, o, i > 0) // the first one's duration has the round trip in it
		if o.Err == nil {
			fl.end(u, nonNil(d.Samples()))
		} else {
			fl.end(u, nil)
		}
		fl.ask(nil)
		if i+1 < len(queries) {
			fl.ask(queries[i+1].unit)
		}
	})
	if lost != nil {
		_ = level.Warn(e.logger).Log("msg", "connection lost during a scrape", "reason", postgres.ReasonOf(lost),
			"collectors_without_data", cut-len(again), "err", lost)
	}
	return again
}

func nonNil(s []metric.Sample) []metric.Sample {
	if s == nil {
		return []metric.Sample{}
	}
	return s
}

// answered folds a live collector's run in.
func (e *Engine) answered(u *queryUnit, d *definition.Decoder, o postgres.Outcome, timed bool) {
	now := time.Now()
	live := u.isLive()
	if !live && o.Err == nil { // moved to the background while it was awaited: the next page has what has come
		u.keep(e.shown, d.Samples())
		u.schedule(now.Add(u.interval()))
	}
	u.wanted(d.Want())
	e.finish(u, d, now, o)
	tooSlow := postgres.ReasonOf(o.Err) == postgres.Timeout && o.Duration >= slowLive && u.status.demote() // it would be so again
	if live && (tooSlow || timed && u.status.timing(o.Duration)) {
		u.schedule(now)
		_ = level.Warn(e.logger).Log("msg", "live collector is slow and moves to the background", "collector", u.def.Name,
			"took", o.Duration.Round(time.Millisecond), "refresh", demotedRefresh)
		e.poke()
	}
}

// brokeOff folds in the run that a connection ended in. Was it cut off because there was no end of it, or no answer in all the time
// there is, then the next connection would end the same way: it moves to the background.
func (e *Engine) brokeOff(u *queryUnit, d *definition.Decoder, o postgres.Outcome) {
	now := time.Now()
	if errors.Is(o.Err, postgres.ErrTooMuch) || o.Duration >= liveTimeout/2 {
		e.finish(u, d, now, o)
		if u.status.demote() {
			u.schedule(now.Add(u.interval()))
			_ = level.Warn(e.logger).Log("msg", "live collector costs its connection and moves to the background", "collector", u.def.Name,
				"refresh", demotedRefresh)
			e.poke()
		}
		return
	}
	u.status.down(postgres.ReasonOf(o.Err))
}

// finish records one collector's run and what was wrong with its rows.
func (e *Engine) finish(u *queryUnit, d *definition.Decoder, now time.Time, o postgres.Outcome) {
	u.status.record(e.logger, u.def.Name, now, o.Duration, placed(u.def, o.Err), o.Err == nil)
	if d.Lacks {
		u.status.lacks()
	}
	if d.Malformed > 0 {
		u.status.reject(e.logger, u.def.Name, metric.Malformed, d.Malformed, d.Err.Error())
	}
	u.status.reject(e.logger, u.def.Name, metric.Duplicate, d.Repeated, "several rows for a metric without labels")
	u.status.reject(e.logger, u.def.Name, metric.TooMany, d.Dropped, e.tooMany())
	u.status.reject(e.logger, u.def.Name, metric.NoMemory, d.Starved, e.memory.short())
	if postgres.ReasonOf(o.Err) == postgres.Permission {
		e.wantRights()
	}
}

// applies is a collector's SQL for this server, or none and the reason noted.
func (e *Engine) applies(u *queryUnit, version, top int, role probe.Role) (string, bool) {
	e.mu.Lock()
	f := facts{extensions: e.extensions, denied: e.denied}
	e.mu.Unlock()
	sql, without, why := f.query(u.def, version, top, role)
	u.mu.Lock()
	u.skipped, u.denied = why, without
	u.mu.Unlock()
	return sql, why == ""
}
