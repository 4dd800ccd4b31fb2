package collector

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-kit/log/level"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

const (
	// clientGrace is what we wait longer than the server's statement_timeout, so that the server ends a slow
	// query and the connection stays.
	clientGrace = 2 * time.Second
	// keepFactor refreshes may fail before cached rows are too old to show.
	keepFactor = 5
	// keepAtLeast is how long cached rows are shown at any rate.
	keepAtLeast = 5 * time.Minute
	// firstRetry after a failed refresh; doubled up to the collector's own interval.
	firstRetry = time.Second
	// whileDown is how often the worker looks whether the server is back.
	whileDown = 200 * time.Millisecond
	// factsRefresh is how often it is read which extensions are installed and which functions the role may call.
	factsRefresh = time.Minute
	// afterLoss is how long the worker rests when a query cost it its connection.
	afterLoss = 2 * time.Second
	// idleCheck bounds the worker's sleep.
	idleCheck = 10 * time.Second
)

// Run refreshes cached collectors and sources until ctx ends.
func (e *Engine) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, s := range e.sources {
		all.Go(func() { e.runSource(ctx, s) })
	}
	all.Go(func() { e.refreshQueries(ctx) })
	all.Wait()
}

// runSource reads one source at its interval. One that hangs holds up itself alone.
func (e *Engine) runSource(ctx context.Context, u *sourceUnit) {
	ticker := time.NewTicker(u.Interval)
	defer ticker.Stop()
	for {
		e.readSource(ctx, u)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// readSource runs a source once. One that ignores its deadline counts as failed when that is over, and is waited for:
// a second one beside it would hang as well.
func (e *Engine) readSource(ctx context.Context, u *sourceUnit) {
	timeout := max(u.Interval, time.Second)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	start := time.Now()
	overdue := time.AfterFunc(timeout+clientGrace, func() {
		u.status.record(e.logger, u.Name(), time.Now(), time.Since(start), errOverdue, false)
	})
	var sink Sink
	err := u.Collect(ctx, &sink)
	overdue.Stop()
	now := time.Now()
	u.mu.Lock()
	u.samples = sink.samples[:min(len(sink.samples), e.maxSamples)]
	u.mu.Unlock()
	u.status.record(e.logger, u.Name(), now, now.Sub(start), err, len(sink.samples) > 0)
	u.status.reject(e.logger, u.Name(), tooManySamples, max(0, len(sink.samples)-e.maxSamples), e.tooMany())
}

// errOverdue is the error of a source that does not come back.
var errOverdue = &postgres.Failure{Reason: postgres.Timeout, Err: errors.New("it does not answer, and does not give up")}

// refreshQueries is the one worker for cached collectors: however many are due, they use one connection.
func (e *Engine) refreshQueries(ctx context.Context) {
	var factsAt time.Time
	for {
		wait := whileDown
		if down, reason := known(e.prober.Snapshot()); down {
			e.missed(reason)
		} else {
			if (time.Since(factsAt) >= factsRefresh || e.rightsWanted()) && e.readFacts(ctx) == nil {
				factsAt = time.Now()
			}
			var u *queryUnit
			if u, wait = e.due(); u != nil {
				wait = 0
				if lost := e.refresh(ctx, u); lost {
					wait = afterLoss
				}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-e.wake:
		case <-time.After(wait):
		}
	}
}

// due is the background collector that waits longest, or how long until there is one.
func (e *Engine) due() (*queryUnit, time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var first *queryUnit
	var at time.Time
	for _, u := range e.queries {
		if u.isLive() {
			continue
		}
		u.mu.Lock()
		next := u.next
		u.mu.Unlock()
		if first == nil || next.Before(at) {
			first, at = u, next
		}
	}
	if first == nil {
		return nil, idleCheck
	}
	if wait := time.Until(at); wait > 0 {
		return nil, min(wait, idleCheck)
	}
	return first, 0
}

// missed marks collectors whose refresh is due as failing, and keeps them due: they run when the server is back.
func (e *Engine) missed(reason postgres.Reason) {
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, u := range e.queries {
		u.mu.Lock()
		overdue := !now.Before(u.next) && !u.isLive()
		if overdue && u.retry == 0 {
			u.status.down(reason) // once an outage
			u.retry = firstRetry
		}
		u.mu.Unlock()
	}
}

// refresh runs one cached collector, and says whether that cost the connection.
func (e *Engine) refresh(ctx context.Context, u *queryUnit) (lost bool) {
	timeout := u.def.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout+clientGrace)
	defer cancel()
	d, outcome, lost := e.runCached(ctx, u, timeout)
	now := time.Now()
	if d == nil && outcome.Err == nil { // does not apply to this server
		u.schedule(now.Add(u.interval()))
		return lost
	}
	if outcome.Err == nil {
		u.mu.Lock()
		u.cached, u.retry, u.next = d.sink.samples, 0, now.Add(u.interval())
		u.mu.Unlock()
	} else {
		u.mu.Lock()
		u.retry = min(max(2*u.retry, firstRetry), u.interval())
		if errors.Is(outcome.Err, postgres.ErrTooMuch) {
			u.retry = u.interval() // it will be as much a second later
		}
		u.next = now.Add(u.retry)
		u.mu.Unlock()
	}
	if d == nil {
		u.status.down(postgres.ReasonOf(outcome.Err)) // no connection: the pool has logged why
		return lost
	}
	e.finish(u, d, now, outcome)
	if u.def.Live() && u.status.recovered(outcome.Duration, outcome.Err) {
		_ = level.Info(e.logger).Log("msg", "collector is quick again and live", "collector", u.def.Name)
	}
	return lost
}

// runCached returns a nil decoder without an error when the collector does not apply.
func (e *Engine) runCached(ctx context.Context, u *queryUnit, timeout time.Duration) (d *rowDecoder, o postgres.Outcome, lost bool) {
	lease, err := e.pool.Acquire(ctx)
	if err != nil {
		return nil, postgres.Outcome{Err: fmt.Errorf("get a connection: %w", err)}, false
	}
	defer lease.Release()
	sql, ok := e.applies(u, lease.Version(), e.prober.Snapshot().Server.Role)
	if !ok {
		return nil, postgres.Outcome{}, false
	}
	d = newRowDecoder(u.def.MetricsFor(lease.Version()), roomFor(e.maxSamples), e.roomBeside(u))
	outcomes, err := lease.Pipeline(ctx, []postgres.Statement{{SQL: sql, Timeout: timeout, MaxBytes: backgroundBytes}},
		func(_ int, fields []pgconn.FieldDescription, values [][]byte) { d.row(fields, values) })
	return d, outcomes[0], err != nil
}

// roomBeside is the room that the cached collectors leave one of them, or with nil the live ones.
func (e *Engine) roomBeside(u *queryUnit) *room {
	r := onAPage(e.maxSamples)
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, other := range e.queries {
		if other == u {
			continue
		}
		other.mu.Lock()
		r.samples -= len(other.cached)
		for _, s := range other.cached {
			for _, label := range s.labels {
				r.text -= len(label)
			}
		}
		other.mu.Unlock()
	}
	return r
}

// tooMany says in the log what there was no room for.
func (e *Engine) tooMany() string {
	return fmt.Sprintf("a collector may have %d samples, and all of a server a fifth more. HINT: Let the query return fewer rows, or raise --collector.max-samples",
		e.maxSamples)
}

// poke wakes the background worker.
func (e *Engine) poke() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (u *queryUnit) interval() time.Duration {
	if u.def.Live() {
		return demotedRefresh
	}
	return u.def.Refresh
}

func (u *queryUnit) schedule(at time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.next = at
}

// fresh is the cached rows, or none once they are too old to be shown.
func (u *queryUnit) fresh(now time.Time) []sample {
	u.status.mu.Lock()
	age := now.Sub(u.status.dataAt)
	u.status.mu.Unlock()
	u.mu.Lock()
	defer u.mu.Unlock()
	if tooOld(age, u.interval()) {
		return nil
	}
	return u.cached
}

// fresh is the newest samples, or none once they are too old to be shown.
func (u *sourceUnit) fresh(now time.Time) []sample {
	u.status.mu.Lock()
	age := now.Sub(u.status.dataAt)
	u.status.mu.Unlock()
	u.mu.Lock()
	defer u.mu.Unlock()
	if tooOld(age, u.Interval) {
		return nil
	}
	return u.samples
}

func tooOld(age, interval time.Duration) bool { return age > max(keepFactor*interval, keepAtLeast) }
