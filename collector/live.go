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
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-pageReserve))
		defer cancel()
	}
	fl := e.flights.join(ctx, sel.key(), func(ctx context.Context, fl *flight) { e.collectLive(ctx, live, fl) })
	ticker := time.NewTicker(downCheck)
	defer ticker.Stop()
	for {
		select {
		case <-fl.done:
			results, _, _ = fl.soFar()
			return results, nil
		case <-ctx.Done():
			return e.cutShort(fl, live)
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

// cutShort is a page that has to go out before all answers are there. The collector that is awaited while others have been
// answered is the one that holds the page up, and moves to the background.
func (e *Engine) cutShort(fl *flight, live []*queryUnit) (results []liveResult, missing map[*queryUnit]bool) {
	results, ended, asking := fl.soFar()
	missing = map[*queryUnit]bool{}
	for _, u := range live {
		if !ended[u] {
			missing[u] = true
			u.status.missed()
		}
	}
	if asking != nil && len(ended) > 0 && asking.status.demote() {
		asking.schedule(time.Now())
		_ = level.Warn(e.logger).Log("msg", "live collector held up a page and moves to the background", "collector", asking.def.Name,
			"missing", len(missing), "refresh", demotedRefresh)
		e.poke()
	}
	return results, missing
}

// collectLive sends all live queries as one pipeline and tells fl of each that has ended.
func (e *Engine) collectLive(ctx context.Context, units []*queryUnit, fl *flight) {
	units = slices.Clone(units)
	lease, err := e.pool.AcquireIdle(ctx)
	if err != nil {
		for _, u := range units {
			u.status.down(postgres.ReasonOf(err)) // the pool or the prober has logged why
			fl.end(u, nil)
		}
		return
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
	page := e.roomBeside(nil)
	for _, u := range units {
		sql, ok := e.applies(u, lease.Version(), role)
		if !ok {
			fl.end(u, nil)
			continue
		}
		queries = append(queries, query{u, newRowDecoder(u.def.MetricsFor(lease.Version()), roomFor(e.maxSamples), page)})
		statements = append(statements, postgres.Statement{SQL: sql, MaxBytes: int64(liveBytes / len(units))})
	}
	if len(queries) == 0 {
		return
	}
	fl.ask(queries[0].unit)
	cut := 0
	_, lost := lease.Stream(ctx, statements, func(i int, fields []pgconn.FieldDescription, values [][]byte) {
		queries[i].decoder.row(fields, values)
	}, func(i int, o postgres.Outcome) {
		u, d := queries[i].unit, queries[i].decoder
		if lease.Broken() {
			if cut++; cut == 1 {
				e.brokeOff(u, d, o)
			} else {
				u.status.down(postgres.ReasonOf(o.Err))
			}
			fl.end(u, nil)
			return
		}
		e.answered(u, d, o, i > 0) // the first one's duration has the round trip in it
		if o.Err == nil {
			fl.end(u, nonNil(d.sink.samples))
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
			"collectors_without_data", cut, "err", lost)
	}
}

func nonNil(s []sample) []sample {
	if s == nil {
		return []sample{}
	}
	return s
}

// answered folds a live collector's run in.
func (e *Engine) answered(u *queryUnit, d *rowDecoder, o postgres.Outcome, timed bool) {
	now := time.Now()
	e.finish(u, d, now, o)
	switch {
	case u.isLive():
		if timed && u.status.timing(o.Duration) {
			u.schedule(now)
			_ = level.Warn(e.logger).Log("msg", "live collector is slow and moves to the background", "collector", u.def.Name,
				"took", o.Duration.Round(time.Millisecond), "refresh", demotedRefresh)
			e.poke()
		}
	case o.Err == nil: // moved to the background while it was awaited: the next page has what has come
		u.mu.Lock()
		u.cached, u.next = d.sink.samples, now.Add(u.interval())
		u.mu.Unlock()
	}
}

// brokeOff folds in the run that a connection ended in. Was it cut off because there was no end of it, or no answer in all the time
// there is, then the next connection would end the same way: it moves to the background.
func (e *Engine) brokeOff(u *queryUnit, d *rowDecoder, o postgres.Outcome) {
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
func (e *Engine) finish(u *queryUnit, d *rowDecoder, now time.Time, o postgres.Outcome) {
	u.status.record(e.logger, u.def.Name, now, o.Duration, o.Err, o.Err == nil)
	if d.malformed > 0 {
		u.status.reject(e.logger, u.def.Name, malformedSample, d.malformed, d.err.Error())
	}
	u.status.reject(e.logger, u.def.Name, duplicateSample, d.repeated, "several rows for a metric without labels")
	u.status.reject(e.logger, u.def.Name, tooManySamples, d.dropped, e.tooMany())
	if postgres.ReasonOf(o.Err) == postgres.Permission {
		e.wantRights()
	}
}

// applies is a collector's SQL for this server, or none and the reason noted.
func (e *Engine) applies(u *queryUnit, version int, role probe.Role) (string, bool) {
	why := ""
	sql, ok := u.def.SQLFor(version)
	need := u.def.Requires
	e.mu.Lock()
	installed, denied := e.extensions, e.denied
	e.mu.Unlock()
	sql, usable := need.withExtension(sql, installed)
	sql, without := u.def.optionalFor(version).without(sql, denied)
	switch {
	case !ok:
		why = "version"
	case need.Role != "" && role != probe.UnknownRole && need.Role != string(role):
		why = "role"
	case !usable:
		why = "extension"
	}
	u.mu.Lock()
	u.skipped, u.denied = why, without
	u.mu.Unlock()
	return sql, why == ""
}
