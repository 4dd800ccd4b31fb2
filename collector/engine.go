// Package collector measures: metrics/*.yml say what to ask the server and what the answers become, the engine
// runs them, and sources measure what is not SQL. A scrape costs the server one round trip on a
// connection that is open already; what takes longer is refreshed in the background.
package collector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/collector/definition"
	"github.com/pg-reliability/pg_reliability_exporter/internal/dsn"
	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
	"github.com/pg-reliability/pg_reliability_exporter/internal/quiet"
)

// Prober tells the engine whether it is worth asking the server.
type Prober interface {
	Snapshot() probe.Snapshot
}

// ScheduledSource is a source and how often it is read.
type ScheduledSource struct {
	Source
	Interval time.Duration
}

// Options of an engine.
type Options struct {
	// Pool and Prober lead to the server; both nil where there is none, and sources are all that is measured.
	Pool   *postgres.Pool
	Prober Prober
	Logger log.Logger
	// Definitions are the collectors that run; Validate has been called on them.
	Definitions []definition.Definition
	Sources     []ScheduledSource
	// Databases are visited beside the connection's own; the zero value is none.
	Databases Databases
	// MaxSamples is what one collector may have; 0 is DefaultMaxSamples. All together may have a fifth more.
	MaxSamples int
	// Budget is the memory that the samples of all engines may have; nil has no bound.
	Budget *metric.Budget
	// Processors are all to be used by work in the background; nil leaves that to the runtime.
	Processors *quiet.Processors
}

// Engine runs collectors.
type Engine struct {
	pool     *postgres.Pool
	prober   Prober
	logger   log.Logger
	sources  []*sourceUnit
	visits   visits
	flights  flights
	identity identity
	started  time.Time
	pages    atomic.Int64 // collected so far
	shown    metric.Pages
	wake     chan struct{} // tells the background worker that there are other collectors
	// maxSamples is what one collector may have.
	maxSamples int
	memory     memory
	processors *quiet.Processors

	// mu may be held, and so may the visits', while that of a unit is taken, and each of them while that of a status is; none is taken
	// the other way round.
	mu         sync.Mutex
	queries    []*queryUnit
	extensions map[string]definition.Extension // nil until known
	denied     map[string]bool                 // functions that the role may not call; nil until known
	askRights  bool                            // one was denied that was not known to be
}

// queryUnit is one collector written as data, with what its runs left behind.
type queryUnit struct {
	def    *definition.Definition // which other engines have, too
	status status

	mu      sync.Mutex
	cached  *metric.Batch
	want    int64 // memory of the newest run's samples, those left out for want of it among them, in bytes
	asked   asked
	apart   map[string]portion // of the databases that are visited, by name
	next    time.Time          // of the next background run
	retry   time.Duration
	every   time.Duration // from the newest run that succeeded to the next
	skipped string        // why it does not apply to this server, empty when it does
	denied  []string      // functions it does without
}

// sourceUnit is one source, with what its newest run left behind.
type sourceUnit struct {
	ScheduledSource
	status status

	mu      sync.Mutex
	samples *metric.Batch
	want    int64
}

// Selection is what one scrape asks for; the zero value is everything.
type Selection struct {
	include []string // nil is all
	exclude []string
}

func (s Selection) has(name string) bool {
	return (s.include == nil || slices.Contains(s.include, name)) && !slices.Contains(s.exclude, name)
}

func (s Selection) key() string {
	return strings.Join(s.include, ",") + "\xff" + strings.Join(s.exclude, ",")
}

// New makes an engine; Run starts its background work.
func New(o Options) *Engine {
	e := &Engine{pool: o.Pool, prober: o.Prober, logger: o.Logger, started: time.Now(), shown: metric.NewPages(), wake: make(chan struct{}, 1),
		visits:     visits{options: o.Databases, pace: visitPace{list: listEvery, revisit: firstRevisit, apart: perVisit}},
		maxSamples: cmp.Or(o.MaxSamples, DefaultMaxSamples),
		processors: o.Processors}
	for _, s := range o.Sources {
		e.sources = append(e.sources, &sourceUnit{ScheduledSource: s, status: status{since: e.started}})
	}
	e.SetDefinitions(o.Definitions)
	e.memory = memory{budget: o.Budget, share: o.Budget.Join(e.shrink)}
	return e
}

// hasServer is false where sources are all there is.
func (e *Engine) hasServer() bool { return e.pool != nil }

// SetDefinitions replaces the collectors. One whose definition did not change keeps its data and counts. Without a server there are none.
// The engine keeps them: they are not to be changed any more.
func (e *Engine) SetDefinitions(defs []definition.Definition) {
	if !e.hasServer() {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	old := map[string]*queryUnit{}
	for _, u := range e.queries {
		old[u.def.Name] = u
	}
	e.queries = make([]*queryUnit, 0, len(defs))
	for i := range defs {
		d := &defs[i]
		u := &queryUnit{def: d, status: status{since: e.started}}
		if before, ok := old[d.Name]; ok && (before.def == d || before.def.Same(d)) {
			u = before
		}
		e.queries = append(e.queries, u)
	}
	e.askRights = true // they may need extensions and functions that nobody has asked for so far
	e.poke()
}

// SourcesRead is whether each source has been read once, or has failed to be.
func (e *Engine) SourcesRead() bool {
	return !slices.ContainsFunc(e.sources, func(s *sourceUnit) bool { return !s.status.newest().ran })
}

// Names lists the collectors, sorted.
func (e *Engine) Names() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	names := map[string]struct{}{}
	for _, u := range e.queries {
		names[u.def.Name] = struct{}{}
	}
	for _, s := range e.sources {
		names[s.Name()] = struct{}{}
	}
	return slices.Sorted(maps.Keys(names))
}

// likeIt names the collectors that may be meant, of too many to name all.
func likeIt(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "Like it are " + strings.Join(names, ", ") + "; "
}

// Select checks what a scrape asks for with collect[] and exclude[].
func (e *Engine) Select(include, exclude []string) (Selection, error) {
	names := e.Names()
	for _, n := range slices.Concat(include, exclude) {
		if !slices.Contains(names, n) {
			return Selection{}, fmt.Errorf("no collector %.80q is running. HINT: %spg_reliability_collector_success has the names of all that do", n,
				likeIt(dsn.Like(n, names)))
		}
	}
	if len(include) > 0 && len(exclude) > 0 {
		return Selection{}, errors.New("collect[] and exclude[] don't go together. HINT: Use one of them")
	}
	s := Selection{}
	if len(include) > 0 {
		s.include = sortedCopy(include)
	}
	s.exclude = sortedCopy(exclude)
	return s, nil
}

func sortedCopy(names []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(names)))
}

// units are the collectors of a selection.
func (e *Engine) units(sel Selection) []*queryUnit {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []*queryUnit
	for _, u := range e.queries {
		if sel.has(u.def.Name) {
			out = append(out, u)
		}
	}
	return out
}

// Gather answers one scrape: live queries in one round trip, cached rows, sources, and the state of each collector.
// It never returns later than ctx's deadline, never opens a connection, and does not wait for a
// server that is known to be down. Scrapes at the same time share one collection.
func (e *Engine) Gather(ctx context.Context, sel Selection) []*metric.Family {
	began := time.Now()
	units := e.units(sel)
	out := e.shown.Page(onAPage(e.maxSamples))
	if e.hasServer() {
		e.meet(e.prober.Snapshot().Server)
	}
	results, missing := e.live(ctx, sel, units)
	answered := map[*queryUnit]bool{}
	for _, r := range results {
		e.add(out, &r.unit.status, r.unit.def.Name, r.samples)
		answered[r.unit] = true
	}
	now := time.Now()
	told := e.tell(units, answered, now)
	for _, u := range units {
		if !u.isLive() && !answered[u] { // one that moved to the background while it was awaited is on the page once
			e.show(out, &u.status, u.def.Name, append([]*metric.Batch{u.fresh(now)}, u.freshApart(now)...)...)
		}
	}
	for _, s := range e.sources {
		if sel.has(s.Name()) {
			e.show(out, &s.status, s.Name(), s.fresh(now))
		}
	}
	out.Room = metric.RoomFor(maxOwnSamples) // what the engine says of itself has its place at any rate
	e.selfMetrics(out, sel, units, missing, told, began, now)
	return out.List()
}

// maxOwnSamples bounds what the engine says of itself.
const maxOwnSamples = 10_000

// add shows the samples of a live collector.
func (e *Engine) add(out *metric.Page, st *status, name string, samples []metric.Sample) {
	var w wrong
	for _, s := range samples {
		if problem := out.Add(s); problem != "" {
			w.note(s, problem)
		}
	}
	e.reject(st, name, w)
}

// show shows what the background has left.
func (e *Engine) show(out *metric.Page, st *status, name string, batches ...*metric.Batch) {
	var w wrong
	for _, b := range batches {
		out.AddBatch(b, w.note)
	}
	e.reject(st, name, w)
}

// wrong counts samples that can't be shown, and keeps the first of each kind.
type wrong struct {
	n     map[metric.Problem]int
	first map[metric.Problem]string
}

func (w *wrong) note(s metric.Sample, problem metric.Problem) {
	if w.n == nil {
		w.n, w.first = map[metric.Problem]int{}, map[metric.Problem]string{}
	}
	if w.n[problem]++; w.n[problem] == 1 {
		w.first[problem] = described(s)
	}
}

func (e *Engine) reject(st *status, name string, w wrong) {
	for problem, n := range w.n {
		st.reject(e.logger, name, problem, n, w.first[problem])
	}
}

// described names a sample for the log, in not too many bytes.
func described(s metric.Sample) string {
	const most = 300
	text := s.String()
	return text[:min(len(text), most)]
}

// isLive is whether a collector's queries belong to the scrape.
func (u *queryUnit) isLive() bool { return u.def.Live() && !u.status.isDemoted() }

// known says that the prober has seen the server down, so that asking it is in vain, and why. A server that only takes
// no new logins is not down: connections that are open go on working.
func known(s probe.Snapshot) (down bool, reason postgres.Reason) {
	r, ok := s.Probes[probe.Read]
	if !ok || r.At.IsZero() {
		return false, postgres.OK
	}
	if r.Reason == postgres.OK || r.Reason.OnlyLogins() {
		return false, postgres.OK
	}
	return true, r.Reason
}
