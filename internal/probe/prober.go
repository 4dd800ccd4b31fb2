// Package probe asks a server without pause whether it is fit for use, and keeps the books: every outage,
// every lost second, every restart and its kind. Probe, fold into state, publish a snapshot: reader.go,
// login.go and writer.go probe, state.go folds, this file publishes. No probe waits for another, and
// nobody who reads the snapshot or the metrics waits at all.
package probe

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-kit/log/level"
	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/quiet"
	"github.com/pg-reliability/pg_reliability_exporter/internal/sessions"
)

const (
	// saveInterval in an outage: what a kill -9 of the exporter may lose of it.
	saveInterval = 5 * time.Second
	// historyInterval is how often the history is saved: what a kill -9 may lose of it.
	historyInterval = time.Minute
	// stopTimeout bounds the last save.
	stopTimeout = 5 * time.Second
)

// Prober probes one server. Snapshot, ObserveContainer and the metrics are safe for concurrent use.
type Prober struct {
	o       Options
	loop    *loop
	store   *store
	history *history
	metrics *metrics
	// sessions knows what the server's sessions do.
	sessions *sessions.Sampler
	changed  []func(old, now Snapshot)
	told     []func(Outcome, Snapshot)

	// Only the loop touches these.
	state *state
	// loaded: the state is what an earlier run has left, and what was seen since. Until then what is seen is kept in early.
	loaded bool
	early  early
	reader *reader
	login  *login
	writer *writer
	// saved and historySaved are when that was last done because it was time to.
	saved, historySaved time.Time
	// starved: the newest attempt to connect failed for want of something of our own.
	starved bool

	published atomic.Pointer[view]

	mu         sync.Mutex
	containers []container // observed and not yet folded
	wake       chan struct{}
}

// view is what readers see.
type view struct {
	Snapshot
	outages   outages
	skew      Skew // zero before the first
	cert      postgres.Certificate
	container bool
	met       bool
}

// New checks the options. The state of an earlier run is read when Run begins, beside the first probes.
func New(o Options) (*Prober, error) {
	return newProber(o, server{o.Connector}, func() connector { return server{o.Connector.Writable()} })
}

func newProber(o Options, read connector, write func() connector) (*Prober, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	p := &Prober{o: o, wake: make(chan struct{}, 1)}
	p.loop = &loop{events: make(chan func()), ended: make(chan struct{})}
	p.history = newHistory(2*max(o.ReadInterval, o.ReadTimeout) + gapSlack)
	p.store = newStore(o.StateDir, o.Target, o.Logger)
	p.state, p.loaded = newState(), o.StateDir == ""
	p.state.maxAge = o.maxAges()
	p.sessions = sessions.NewSampler()
	p.metrics = newMetrics(p, o.Write)
	p.loop.lateness = p.metrics.late
	p.reader = &reader{p: p, connector: read}
	p.login = &login{p: p, connector: read}
	if o.Write {
		p.writer = &writer{p: p, connector: write(), sql: heartbeatSQL(o.Instance)}
	}
	p.publish()
	return p, nil
}

// OnChange registers a function that is called from the prober's goroutine after each change of the reason, the
// read probe's reason, the role or the restarts. It must not block, and be registered before Run.
func (p *Prober) OnChange(f func(old, now Snapshot)) { p.changed = append(p.changed, f) }

// OnOutcome registers a function that is called from the prober's goroutine with each probe's outcome, and with what the state is
// then. It must not block, and be registered before Run.
func (p *Prober) OnOutcome(f func(Outcome, Snapshot)) { p.told = append(p.told, f) }

// Snapshot is the newest state.
func (p *Prober) Snapshot() Snapshot {
	s := p.published.Load().Snapshot
	s.Keeping = p.store.keeping(time.Now())
	return s
}

// Outages lists the newest 100, newest first; the one in progress has no End.
func (p *Prober) Outages(now time.Time) []Outage { return p.published.Load().outages.recent(now) }

// Observable says whether a kind of restart can be told with what the server tells; known is false while that is not
// known either.
func (p *Prober) Observable(k RestartKind) (observable, known bool) {
	return p.published.Load().observable(k)
}

// Sessions are the samples of what the server's sessions do, one with each read.
func (p *Prober) Sessions() *sessions.Sampler { return p.sessions }

// ObserveContainer takes what the container engine says of the database's container. Starts since the last
// observation, also by an earlier run of the exporter, count as restarts of kind Container. waiting says that the
// newest restart is counted and has yet to happen.
func (p *Prober) ObserveContainer(id string, restartCount int, startedAt time.Time, waiting bool) {
	p.mu.Lock()
	p.containers = append(p.containers, container{ID: id, RestartCount: restartCount, StartedAt: startedAt.UTC(), Waiting: waiting})
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Run probes until ctx ends, then saves the state. It may be called once.
func (p *Prober) Run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	p.loop.ctx = ctx
	if p.o.Connector != nil { // there is a server, and not a script of a test
		p.loop.clock = quiet.NewClock()
		defer p.loop.clock.Close()
	}
	go p.store.run(func(s *state, h *history) { p.loop.post(func() { p.restore(s, h) }) }, newHistory(p.history.maxGap))
	p.work(ctx)
	cancel()
	close(p.loop.ended)
	p.loop.running.Wait() // their contexts have ended
	p.reader.close()
	if p.writer != nil {
		p.writer.close()
	}
	if p.loaded {
		p.store.save(p.state, time.Now())
		p.store.saveHistory(p.history)
	}
	p.store.stop(p.loaded, stopTimeout)
}

func (p *Prober) work(ctx context.Context) {
	due := time.Now().Add(p.o.ReadInterval)
	var tick func()
	plan := func() { p.loop.after(time.Until(due), tick) }
	tick = func() {
		late := sub(time.Now(), due)
		p.loop.lateness(late)
		due = due.Add(late - late%p.o.ReadInterval + p.o.ReadInterval) // what was slept through is not made up for
		plan()
		p.saveDue()
		p.reader.tick()
	}
	p.saved, p.historySaved = time.Now(), time.Now()
	plan()
	var writes <-chan time.Time
	if p.writer != nil {
		t := time.NewTicker(p.o.WriteInterval)
		defer t.Stop()
		writes = t.C
	}
	p.login.odd = time.Now() // what it is like is yet to be seen
	p.reader.tick()
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-p.loop.events:
			f()
		case <-writes:
			p.writer.tick()
		case <-p.wake:
			p.foldContainers()
		}
	}
}

// report folds outcomes into the state and tells those who want to know.
func (p *Prober) report(outcomes ...Outcome) {
	identity := p.state.Identity
	var restarts []RestartKind
	p.starved = false
	for _, o := range outcomes {
		if !p.loaded {
			p.early.add(o)
		}
		before := p.state.Outages.start()
		restarts = append(restarts, p.state.observe(o)...)
		if p.state.Outages.Reached {
			p.history.record(o, before, p.state.Outages.start())
		}
		p.metrics.count(o)
	}
	if len(restarts) > 0 || slices.ContainsFunc(outcomes, Outcome.odd) {
		p.login.unsettle()
	}
	old, now := p.publish()
	p.logChanges(old, now, restarts)
	if len(restarts) > 0 || identity != p.state.Identity || !old.OutageStart.Equal(now.OutageStart) || old.Outages != now.Outages {
		p.save()
	}
	p.notify(old, now, len(restarts) > 0)
	for _, f := range p.told {
		for _, o := range outcomes {
			f(o, now)
		}
	}
	if p.writer != nil && (!old.OutageStart.IsZero() && now.OutageStart.IsZero() || !old.Reached && now.Reached) {
		p.writer.again()
	}
}

// unasked takes an attempt to connect that failed for want of something of our own: it says nothing of the server. When that lasts, the
// newest reports become too old, and the state unknown.
func (p *Prober) unasked(err error) {
	if !p.starved {
		p.starved = true
		level.Error(p.o.Logger).Log("msg", "the server can't be asked: this process or its machine has nothing left to connect with. "+
			"HINT: Is its limit of open files high enough (LimitNOFILE, ulimit -n)? Who holds so many connections?",
			"target", p.o.Target, "err", err)
	}
}

// restore goes on with the state of an earlier run, which is told what was seen since this one began.
func (p *Prober) restore(s *state, h *history) {
	if p.loaded {
		return // nothing is kept
	}
	s.maxAge = p.state.maxAge
	restarts := p.early.tell(s)
	p.state, p.loaded, p.early = s, true, early{}
	p.history.join(h)
	old, now := p.publish()
	p.logChanges(old, now, restarts)
	p.save()
	p.notify(old, now, len(restarts) > 0)
}

// save hands the state over, once it is whole.
func (p *Prober) save() {
	if p.loaded {
		p.store.save(p.state, time.Now())
	}
}

// saveDue saves what is worth it by time alone. It is called with each read's turn: between two, nothing changes of it.
func (p *Prober) saveDue() {
	now := time.Now()
	if p.state.Outages.Open != nil && now.Sub(p.saved) >= saveInterval {
		p.saved = now
		p.save()
	}
	if p.loaded && now.Sub(p.historySaved) >= historyInterval {
		p.historySaved = now
		p.store.saveHistory(p.history)
	}
}

// Discard removes the state of a server that never answered, and that no earlier run knew. It is called after Run.
func (p *Prober) Discard() {
	if p.Snapshot().Server.Version == 0 {
		p.store.discard()
	}
}

func (p *Prober) notify(old, now Snapshot, restarted bool) {
	if !restarted && old.Reason == now.Reason && old.Probes[Read].Reason == now.Probes[Read].Reason && old.Server.Role == now.Server.Role {
		return
	}
	for _, f := range p.changed {
		f(old, now)
	}
}

func (p *Prober) foldContainers() {
	p.mu.Lock()
	observed := p.containers
	p.containers = nil
	p.mu.Unlock()
	was, before := p.state.Container, p.state.Restarts[Container]
	for _, c := range observed {
		if !p.loaded {
			p.early.addContainer(c, time.Now())
		}
		p.state.observeContainer(c, time.Now())
	}
	old, now := p.publish()
	if was == nil || *was != *p.state.Container {
		p.save()
	}
	if n := p.state.Restarts[Container] - before; n > 0 {
		level.Warn(p.o.Logger).Log("msg", "the database's container was started again", "target", p.o.Target, "times", n)
		p.notify(old, now, true)
	}
}

func (p *Prober) publish() (old, now Snapshot) {
	if v := p.published.Load(); v != nil {
		old = v.Snapshot
	}
	v := &view{
		Snapshot: p.state.snapshot(), outages: p.state.Outages.clone(), skew: p.state.skews.best(), cert: p.state.cert,
		container: p.state.Container != nil, met: p.state.met,
	}
	v.Loaded = p.loaded
	v.Skew, v.ChainEnd = v.skew, v.cert.ChainNotAfter
	if c := p.o.Connector; c != nil {
		v.User = pgx.Identifier{c.User()}.Sanitize()
	}
	p.published.Store(v)
	return old, v.Snapshot
}

// logChanges writes one line per change, not per probe.
func (p *Prober) logChanges(old, now Snapshot, restarts []RestartKind) {
	logger := p.o.Logger
	for _, k := range restarts {
		level.Warn(logger).Log("msg", restartMessage(k), "kind", k, "target", p.o.Target, "role", now.Server.Role,
			"at", now.LastRestart[k].UTC().Format(time.RFC3339Nano))
	}
	switch {
	case now.Since.IsZero(): // a state was read before a probe had reported
	case old.Reason == now.Reason && !old.Since.IsZero():
	case now.Reason != postgres.OK:
		level.Error(logger).Log("msg", "the database is not fit for use", "target", p.o.Target, "reason", now.Reason,
			"probe", failing(now), "err", errorText(now))
	case !old.OutageStart.IsZero():
		level.Info(logger).Log("msg", "the database is fit for use again", "target", p.o.Target,
			"outage", now.LastOutageEnd.Sub(now.LastOutageStart).Round(time.Millisecond))
	default:
		level.Info(logger).Log("msg", "the database is fit for use", "target", p.o.Target, "role", now.Server.Role,
			"version", now.Server.Version)
	}
	if now.Server.Sight == PartialSight && old.Server.Sight != PartialSight {
		level.Warn(logger).Log("msg", "values are incomplete: the role lacks pg_monitor. HINT: GRANT pg_monitor TO "+now.User, "target",
			p.o.Target)
	}
	p.logWrites(old.Probes[Write], now.Probes[Write])
}

func (p *Prober) logWrites(old, now Result) {
	if old.Reason == now.Reason || now.At.IsZero() {
		return
	}
	if now.Reason == postgres.OK {
		level.Info(p.o.Logger).Log("msg", "the write probe succeeds", "target", p.o.Target)
		return
	}
	level.Error(p.o.Logger).Log("msg", "the write probe fails", "target", p.o.Target, "reason", now.Reason, "err", now.Error)
}

func failing(s Snapshot) Kind {
	if s.Answers() {
		return Login
	}
	return Read
}

func errorText(s Snapshot) string { return s.Probes[failing(s)].Error }

func restartMessage(k RestartKind) string {
	switch k {
	case Restart:
		return "the server was restarted"
	case Crash:
		return "a server process crashed, and the server recovered"
	case Failover:
		return "the address leads to another server"
	case Promotion:
		return "the standby was promoted"
	case Demotion:
		return "the primary became a standby"
	}
	return "the server was started again"
}
