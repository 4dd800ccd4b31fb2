package collector

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-kit/log/level"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pg-reliability/pg_reliability_exporter/collector/definition"
	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
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
	// heavy is a query whose interval follows what it takes: it is paceTimes that, or slowestPace at the most.
	heavy       = 250 * time.Millisecond
	paceTimes   = 100
	slowestPace = time.Hour
	// sourceGrace is how long a source may take to notice that everything ends.
	sourceGrace = time.Second
	// idleCheck bounds the worker's sleep.
	idleCheck = 10 * time.Second
)

// Run refreshes cached collectors and sources until ctx ends.
func (e *Engine) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, s := range e.sources {
		all.Go(func() { e.runSource(ctx, s) })
	}
	if e.visits.options.Connect != nil {
		all.Go(func() { e.visitDatabases(ctx) })
	}
	if e.hasServer() {
		e.refreshQueries(ctx)
	}
	all.Wait()
	e.memory.share.Leave()
}

// runSource reads one source at its interval. One that hangs holds up itself alone, and not for long who waits for Run to end.
func (e *Engine) runSource(ctx context.Context, u *sourceUnit) {
	ticker := time.NewTicker(u.Interval)
	defer ticker.Stop()
	for {
		read := make(chan struct{})
		go func() {
			defer close(read)
			e.readSource(ctx, u)
		}()
		select {
		case <-read:
		case <-ctx.Done():
			select {
			case <-read:
			case <-time.After(sourceGrace):
				_ = level.Warn(e.logger).Log("msg", "a source that hangs is not waited for", "collector", u.Name())
			}
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// readSource runs a source once. One that ignores its deadline counts as failed when that is over, and is waited for:
// a second one beside it would hang as well. What one has to say when everything has ended is nobody's.
func (e *Engine) readSource(running context.Context, u *sourceUnit) {
	timeout := max(u.Interval, time.Second)
	ctx, cancel := context.WithTimeout(running, timeout)
	defer cancel()
	start := time.Now()
	overdue := time.AfterFunc(timeout+clientGrace, func() {
		u.status.record(e.logger, u.Name(), time.Now(), time.Since(start), errOverdue, false)
	})
	var sink metric.Sink
	err := u.Collect(ctx, &sink)
	overdue.Stop()
	if running.Err() != nil {
		return
	}
	now := time.Now()
	samples := sink.Samples[:min(len(sink.Samples), e.maxSamples)]
	u.mu.Lock()
	before := u.samples.Cost()
	u.mu.Unlock()
	kept, run := e.within(samples, before)
	u.keep(e.shown, kept, cost(samples))
	e.account(run)
	if errors.Is(err, probe.ErrDown) {
		u.status.down(postgres.ReasonOf(err))
	} else {
		u.status.record(e.logger, u.Name(), now, now.Sub(start), err, len(sink.Samples) > 0)
	}
	u.status.reject(e.logger, u.Name(), metric.NoMemory, len(samples)-len(kept), e.memory.short())
	u.status.reject(e.logger, u.Name(), metric.TooMany, max(0, len(sink.Samples)-e.maxSamples), e.tooMany())
}

// errOverdue is the error of a source that does not come back.
var errOverdue = &postgres.Failure{Reason: postgres.Timeout, Err: errors.New("it does not answer, and does not give up")}

// refreshQueries is the one worker for cached collectors: however many are due, they use one connection.
func (e *Engine) refreshQueries(ctx context.Context) {
	var factsAt time.Time
	for {
		wait := whileDown
		snapshot := e.prober.Snapshot()
		if down, reason := known(snapshot); down {
			e.missed(reason)
		} else {
			e.meet(snapshot.Server)
			if (time.Since(factsAt) >= factsRefresh || e.rightsWanted()) && e.readFacts(ctx) == nil {
				factsAt = time.Now()
			}
			var u *queryUnit
			if u, wait = e.due(); u != nil {
				wait = 0
				e.processors.Work(func() {
					if lost := e.refresh(ctx, u); lost {
						wait = afterLoss
					}
				})
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
		timeout = definition.DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout+clientGrace)
	defer cancel()
	u.mu.Lock()
	run := e.memory.share.Begin(u.cached.Cost())
	u.mu.Unlock()
	defer run.End()
	d, outcome, lost := e.runCached(ctx, u, timeout, run)
	now := time.Now()
	if d == nil && outcome.Err == nil { // does not apply to this server
		u.schedule(now.Add(u.interval()))
		return lost
	}
	if outcome.Err == nil {
		u.keep(e.shown, d.Samples())
		u.wanted(d.Want())
		e.account(run)
		u.mu.Lock()
		u.retry, u.every = 0, u.pace(outcome.Duration)
		u.next = now.Add(u.every)
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
func (e *Engine) runCached(ctx context.Context, u *queryUnit, timeout time.Duration, run *metric.Run) (d *definition.Decoder,
	o postgres.Outcome, lost bool) {
	lease, err := e.pool.Acquire(ctx)
	if err != nil {
		return nil, postgres.Outcome{Err: fmt.Errorf("get a connection: %w", err)}, false
	}
	defer lease.Release()
	top := e.share(u, ownDatabase)
	sql, ok := e.applies(u, lease.Version(), top, e.prober.Snapshot().Server.Role)
	if !ok {
		return nil, postgres.Outcome{}, false
	}
	rows := 0
	defer func() {
		u.mu.Lock()
		u.asked = asked{top: top, rows: rows}
		u.mu.Unlock()
	}()
	u.mu.Lock()
	before := u.cached.Len()
	u.mu.Unlock()
	d = definition.NewDecoder(u.def.MetricsFor(lease.Version()), metric.RoomFor(e.maxSamples), e.roomBeside(u)).Within(run).Expect(before)
	statement := postgres.Statement{SQL: sql, Timeout: timeout, MaxBytes: backgroundBytes, Undo: !u.def.BuiltIn}
	outcomes, err := lease.Pipeline(ctx, []postgres.Statement{statement},
		func(_ int, fields []pgconn.FieldDescription, values [][]byte) { rows++; d.Row(fields, values) })
	return d, outcomes[0], err != nil
}

// roomBeside is the room that the cached collectors leave one of them, or with nil the live ones.
func (e *Engine) roomBeside(u *queryUnit) *metric.Room {
	r := onAPage(e.maxSamples)
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, other := range e.queries {
		if other == u {
			continue
		}
		other.mu.Lock()
		r.Samples, r.Text = r.Samples-other.cached.Len(), r.Text-other.cached.Text()
		for _, p := range other.apart {
			r.Samples, r.Text = r.Samples-p.samples.Len(), r.Text-p.samples.Text()
		}
		other.mu.Unlock()
	}
	return r
}

// tooMany says in the log what there was no room for.
func (e *Engine) tooMany() string {
	return fmt.Sprintf("a collector may have %d samples, and all of a server a fifth more. HINT: Let the query return fewer rows, or raise "+
		"--collector.max-samples",
		e.maxSamples)
}

// poke wakes the background worker.
func (e *Engine) poke() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// pace is how long after a run that took so long the next one begins: a server gives a query at most a hundredth of a core.
func (u *queryUnit) pace(took time.Duration) time.Duration {
	if took < heavy {
		return u.interval()
	}
	return max(u.interval(), min(paceTimes*took, slowestPace))
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

// keep stores the samples of a background run for the pages until the next one.
func (u *queryUnit) keep(pages metric.Pages, samples []metric.Sample) {
	u.mu.Lock()
	before := u.cached
	u.mu.Unlock()
	b := pages.Batch(samples, before)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.cached = b
}

// keep stores the samples of a run for the pages until the next one.
func (u *sourceUnit) keep(pages metric.Pages, samples []metric.Sample, want int64) {
	u.mu.Lock()
	before := u.samples
	u.mu.Unlock()
	b := pages.Batch(samples, before)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.samples, u.want = b, want
}

// fresh is the cached rows, or none once they are too old to be shown.
func (u *queryUnit) fresh(now time.Time) *metric.Batch {
	u.status.mu.Lock()
	age := now.Sub(u.status.dataAt)
	u.status.mu.Unlock()
	u.mu.Lock()
	defer u.mu.Unlock()
	if tooOld(age, max(u.every, u.interval())) {
		return nil
	}
	return u.cached
}

// fresh is the newest samples, or none once they are too old to be shown.
func (u *sourceUnit) fresh(now time.Time) *metric.Batch {
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
