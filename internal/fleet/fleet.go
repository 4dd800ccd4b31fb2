// Package fleet watches many servers from one exporter. Those listed in the configuration are watched all the time, so that
// each outage and restart is counted whether somebody scrapes or not; others only where a rule allows it, and for as
// long as somebody scrapes them. A password is sent to nobody else, and one server that is dead holds up none of the others.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pg-reliability/pg_reliability_exporter/collector"
	"github.com/pg-reliability/pg_reliability_exporter/collector/definition"
	"github.com/pg-reliability/pg_reliability_exporter/internal/incident"
	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
	"github.com/pg-reliability/pg_reliability_exporter/internal/smallfile"
)

// sweepEvery is how often idle targets are looked for.
const sweepEvery = time.Second

// forgetTimeout bounds the removal of a state, and with it how long a target that was dropped keeps its place.
const forgetTimeout = 2 * time.Second

// meetTimeout is how long who asks for a target that is not watched yet waits for the files of its auth module.
const meetTimeout = 5 * time.Second

// Options of a fleet; all but StateDir and Budget are required. What they say holds for each target.
type Options struct {
	Config   *Config
	Settings postgres.Settings
	// PoolMin and PoolMax bound the connections to each target.
	PoolMin, PoolMax int
	// Probe has intervals and timeouts.
	Probe probe.Options
	// StateDir keeps each target's counts in a directory below targets/; empty keeps nothing.
	StateDir    string
	Definitions []definition.Definition
	MaxSamples  int
	Budget      *metric.Budget
	Databases   Databases
	// Stories say how incidents of listed targets are told; Dir, Target, bounds and Logger are filled in.
	Stories incident.Options
	// More, if set, are metrics beside the prober's on each listed server's page.
	More func(name string) []prometheus.Collector
	// Environ has the variables, NAME=value, that programs which print passwords get.
	Environ []string
	Logger  log.Logger
}

// Fleet keeps targets. It is safe for concurrent use.
type Fleet struct {
	o       Options
	metrics *metrics
	running sync.WaitGroup // targets

	mu          sync.Mutex
	started     bool
	closed      bool
	config      *Config
	definitions []definition.Definition
	byName      map[string]*watched
	byAddress   map[string]*watched // listed ones
	onDemand    map[string]*watched // by address and auth module

	reading sync.Map // by the name of an auth module: the *smallfile.Turn of who reads its files
}

// watched is a target with its place in the fleet.
type watched struct {
	*Target
	config   TargetConfig
	module   AuthModule // as it was when the target was made
	registry *prometheus.Registry

	ctx    context.Context
	cancel context.CancelFunc
	ended  chan struct{} // closed when the state is saved
	gone   chan struct{} // closed when a target that the file does not list has ended, and another may take its place

	// Held by Fleet.mu.
	launched bool
	leaving  bool
	using    int // scrapes under way
	lastUsed time.Time
}

// New makes the listed targets; Run begins to watch them.
func New(o Options) (*Fleet, error) {
	f := &Fleet{
		o: o, config: o.Config, definitions: o.Definitions,
		byName: map[string]*watched{}, byAddress: map[string]*watched{}, onDemand: map[string]*watched{},
	}
	f.metrics = newMetrics()
	for _, t := range o.Config.Targets {
		w, err := f.build(t, true, nil)
		if err != nil {
			f.stop(f.all()...)
			return nil, fmt.Errorf("target %s: %w", t.Name, err)
		}
		f.byName[t.Name], f.byAddress[t.Address.String()] = w, w
	}
	return f, nil
}

// build makes a target that does not run yet; connector is what leads to it, where that is made already.
func (f *Fleet) build(t TargetConfig, listed bool, connector *postgres.Connector) (*watched, error) {
	module := f.config.AuthModules[t.AuthModule]
	var err error
	if connector == nil {
		if connector, err = module.connector(t.Address, f.o.Settings, f.o.Environ); err != nil {
			return nil, err
		}
	}
	w := &watched{
		config: t, module: module, registry: prometheus.NewRegistry(), ended: make(chan struct{}), gone: make(chan struct{}),
		lastUsed: time.Now(),
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	if t.Kind == PgBouncer {
		w.Target = NewPgBouncer(connector, f.o.MaxSamples, f.o.Budget, log.With(f.o.Logger, "pgbouncer", t.Name))
		return w, nil
	}
	options := TargetOptions{
		Connector: connector, PoolMin: f.o.PoolMin, PoolMax: f.o.PoolMax, Probe: f.o.Probe, Definitions: f.definitions,
		MaxSamples: f.o.MaxSamples, Budget: f.o.Budget,
		Databases: f.o.Databases, Logger: log.With(f.o.Logger, "server", t.Name),
	}
	if !listed { // who asks for one database is shown that one
		options.Databases = Databases{}
	}
	options.Probe.StateDir = stateDir(f.o.StateDir, t, listed)
	if w.Target, err = NewTarget(options); err != nil {
		w.cancel()
		return nil, err
	}
	w.registry.MustRegister(w.Prober.Metrics())
	if !listed { // whoever may ask for targets must not fill the disk, nor the memory
		return w, nil
	}
	stories := f.o.Stories
	stories.Dir, stories.Target, stories.Logger = options.Probe.StateDir, connector.Target(), options.Logger
	stories.MaxKept, stories.MaxBytes = storiesKept, storiesBytes
	w.KeepStories(stories)
	if f.o.More != nil {
		w.registry.MustRegister(f.o.More(t.Name)...)
	}
	return w, nil
}

// launch begins to watch a target, some time from now.
func (f *Fleet) launch(w *watched, after time.Duration) {
	w.launched = true
	f.running.Go(func() {
		defer w.cancel()
		select {
		case <-w.ctx.Done():
		case <-time.After(after):
		}
		w.Run(w.ctx) // also when stopped already: it lets go of the state
		close(w.ended)
		w.Close()
	})
}

// Run watches until ctx ends, and returns when everything is saved and closed.
func (f *Fleet) Run(ctx context.Context) {
	f.mu.Lock()
	f.started = true
	for name, w := range f.byName {
		f.launch(w, f.startOf(name, len(f.byName)))
	}
	f.mu.Unlock()
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			f.mu.Lock()
			f.closed = true
			f.stop(f.all()...)
			f.mu.Unlock()
			f.running.Wait()
			return
		case <-ticker.C:
			f.sweep()
		}
	}
}

// startCost is what the start of one target may take of a machine: a login for the prober and one for the pool, and the first
// run of each collector, here and on the servers.
const startCost = 30 * time.Millisecond

// startOf is how long the start of one of n targets waits. A target has its own place among them, by its name, and keeps it:
// their probes and refreshes don't all come at once, then and ever after, also when some are made anew.
func (f *Fleet) startOf(name string, n int) time.Duration {
	interval := f.o.Probe.ReadInterval
	if interval == 0 {
		interval = probe.DefaultReadInterval
	}
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(name))
	over := max(interval, time.Duration(n)*startCost)
	return time.Duration(sum.Sum64() % uint64(over)) //nolint:gosec // positive
}

// stop ends targets and does not wait for them.
func (f *Fleet) stop(targets ...*watched) {
	for _, w := range targets {
		w.cancel()
		if !w.launched {
			f.launch(w, 0)
		}
	}
}

func (f *Fleet) all() []*watched {
	out := make([]*watched, 0, len(f.byName)+len(f.onDemand))
	for _, w := range f.byName {
		out = append(out, w)
	}
	for _, w := range f.onDemand {
		out = append(out, w)
	}
	return out
}

// sweep drops targets that nobody has asked for in a long time.
func (f *Fleet) sweep() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, w := range f.onDemand {
		if idle := time.Since(w.lastUsed); w.using == 0 && !w.leaving && idle > f.config.IdleTimeout {
			level.Info(f.o.Logger).Log("msg", "nobody scrapes this server any more: it is no longer watched", "server", w.config.Name, "idle",
				idle.Round(time.Second))
			f.drop(key, w)
		}
	}
}

// drop ends a target that is not listed. It keeps its place until its state is saved: another one there before would
// find the state in use.
func (f *Fleet) drop(key string, w *watched) {
	if w.leaving {
		return
	}
	w.leaving = true
	f.metrics.dropped.WithLabelValues().Inc()
	f.stop(w)
	f.running.Go(func() {
		<-w.ended
		within(forgetTimeout, w.Prober.Discard) // whoever may ask for targets must not fill the disk with names
		f.mu.Lock()
		delete(f.onDemand, key)
		f.mu.Unlock()
		close(w.gone)
	})
}

// within does something that may hang, and waits for it, but not for long.
func within(limit time.Duration, do func()) {
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	select {
	case <-done:
	case <-time.After(limit):
	}
}

// Scrape is a target on loan.
type Scrape struct {
	w       *watched
	release func()
}

// Select checks names of collectors.
func (s *Scrape) Select(include, exclude []string) (collector.Selection, error) {
	return s.w.Select(include, exclude)
}

// Gather answers before ctx's deadline. The first scrapes of a target wait until its state is known.
func (s *Scrape) Gather(ctx context.Context, sel collector.Selection) []*metric.Family {
	return s.w.Gather(ctx, sel)
}

// Always is what the prober counts.
func (s *Scrape) Always() prometheus.Gatherer { return s.w.registry }

// Release gives the target back; it is called once.
func (s *Scrape) Release() { s.release() }

// Problem is why a target can't be scraped.
type Problem string

const (
	// Malformed: the request is none.
	Malformed Problem = "malformed"
	// UnknownModule: no auth module has that name.
	UnknownModule Problem = "unknown_module"
	// Denied: the target is neither listed nor allowed.
	Denied Problem = "denied"
	// Full: as many targets are watched as may be.
	Full Problem = "full"
)

// Error is a Problem with a sentence for who asked; no secret is in it.
type Error struct {
	Problem Problem
	Text    string
}

func (e *Error) Error() string { return e.Text }

// Scrape lends the target of a name in the configuration, or of an address; the error is an *Error.
func (f *Fleet) Scrape(target, module string) (*Scrape, error) {
	w, err := f.take(target, module)
	if e := (&Error{}); errors.As(err, &e) {
		f.metrics.rejected.WithLabelValues(string(e.Problem)).Inc()
		return nil, err
	}
	return &Scrape{w: w, release: func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		w.using--
		w.lastUsed = time.Now()
	}}, nil
}

func (f *Fleet) take(target, module string) (*watched, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var made *met
	for {
		w, wanted, err := f.find(target, module)
		if err == nil && wanted != nil {
			w, err = f.meet(wanted, made)
		}
		switch {
		case err != nil:
			return nil, err
		case w == nil:
			f.mu.Unlock()
			made, err = f.prepareToMeet(wanted)
			f.mu.Lock()
			if err != nil {
				return nil, err
			}
		case w.leaving:
			f.mu.Unlock()
			<-w.gone
			f.mu.Lock()
		default:
			w.using++
			w.lastUsed = time.Now()
			return w, nil
		}
	}
}

// stranger is a target that is not watched yet.
type stranger struct {
	key     string
	address Address
	name    string // of the auth module
	module  AuthModule
}

// find returns a target that is watched, or one that may have to be.
func (f *Fleet) find(target, module string) (*watched, *stranger, error) {
	if target == "" {
		return nil, nil, &Error{Malformed, "the parameter target is missing. HINT: Ask for /probe?target=NAME of a target in --config.file, or " +
			"/probe?target=host:port/database&auth_module=NAME"}
	}
	if w := f.byName[target]; w != nil {
		return w, nil, mustBeOwn(w, module)
	}
	address, err := ParseAddress(target)
	if err != nil {
		return nil, nil, &Error{Malformed, err.Error()}
	}
	if w := f.byAddress[address.String()]; w != nil && mustBeOwn(w, module) == nil {
		return w, nil, nil
	}
	if module == "" {
		return nil, nil, &Error{Malformed, fmt.Sprintf("no target in the configuration is called so or has the address %s. HINT: List it in "+
			"--config.file, or add &auth_module=NAME where a rule of allow lets it be probed", address)}
	}
	m, ok := f.config.AuthModules[module]
	if !ok {
		return nil, nil, &Error{UnknownModule, fmt.Sprintf("no auth module is called %.63q. HINT: Name one of auth_modules in --config.file, "+
			"and reload after changing it", module)}
	}
	key := address.String() + "@" + module
	if w := f.onDemand[key]; w != nil {
		return w, nil, nil
	}
	return nil, &stranger{key: key, address: address, name: module, module: m}, nil
}

func mustBeOwn(w *watched, module string) error {
	if module == "" || module == w.config.AuthModule {
		return nil
	}
	return &Error{Malformed, fmt.Sprintf("target %s has an auth module of its own in the configuration, and it is not %.63q. HINT: Leave "+
		"out auth_module", w.config.Name, module)}
}

// met is what was read for a target that is to be watched.
type met struct {
	module    AuthModule
	connector *postgres.Connector
}

// prepareToMeet reads the files of a target's auth module, which may hang, without holding the lock.
func (f *Fleet) prepareToMeet(s *stranger) (*met, error) {
	turn, _ := f.reading.LoadOrStore(s.name, &smallfile.Turn{})
	ctx, cancel := context.WithTimeout(context.Background(), meetTimeout)
	defer cancel()
	connector, err := smallfile.Within(ctx, turn.(*smallfile.Turn), "what auth module "+s.name+" names", func() (*postgres.Connector, error) {
		return s.module.connector(s.address, f.o.Settings, f.o.Environ)
	})
	if err != nil {
		return nil, f.unfit(s, err)
	}
	return &met{s.module, connector}, nil
}

// unfit logs why a target can't be watched, and is what who asked is told.
func (f *Fleet) unfit(s *stranger, err error) error {
	level.Error(f.o.Logger).Log("msg", "a server can't be watched", "server", s.address, "err", err)
	return &Error{Malformed, fmt.Sprintf("%s can't be watched with auth module %s; the exporter's log says why", s.address, s.name)}
}

// meet begins to watch a target that is not listed, if a rule allows it; nil where its files are to be read first.
func (f *Fleet) meet(s *stranger, made *met) (*watched, error) {
	address, module := s.address, s.name
	if !f.allowed(address, module) {
		return nil, &Error{Denied, fmt.Sprintf("%s may not be probed with auth module %s: no password is sent to servers that the "+
			"configuration does not name. HINT: List it under targets in --config.file, or write a rule of allow for its host, port, database "+
			"and auth module", address, module)}
	}
	if f.closed {
		return nil, &Error{Full, "the exporter is shutting down"}
	}
	if n := len(f.byName) + len(f.onDemand); n >= f.config.MaxTargets {
		return nil, &Error{Full, fmt.Sprintf("%d servers are watched already, as many as max_targets allows. HINT: Raise max_targets in "+
			"--config.file, or wait %s for one that is not scraped any more to be dropped", n, f.config.IdleTimeout)}
	}
	if made == nil || !made.module.same(s.module) { // a reload may have come between
		return nil, nil
	}
	w, err := f.build(TargetConfig{Name: address.String(), Kind: Postgres, Address: address, AuthModule: module}, false, made.connector)
	if err != nil {
		return nil, f.unfit(s, err)
	}
	f.onDemand[s.key] = w
	f.launch(w, 0)
	return w, nil
}

func (f *Fleet) allowed(address Address, module string) bool {
	for _, rule := range f.config.Allow {
		if rule.allows(address, module) {
			return true
		}
	}
	return false
}

// Listed are the targets of the configuration, in its order.
func (f *Fleet) Listed() []TargetConfig {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.config.Targets
}
