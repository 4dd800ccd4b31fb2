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
	"time"

	"github.com/go-kit/log"
	dto "github.com/prometheus/client_model/go"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
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
	Pool   *postgres.Pool
	Prober Prober
	Logger log.Logger
	// Definitions are the collectors that run; Validate has been called on them.
	Definitions []Definition
	Sources     []ScheduledSource
	// MaxSamples is what one collector may have; 0 is DefaultMaxSamples. All together may have a fifth more.
	MaxSamples int
}

// Engine runs collectors.
type Engine struct {
	pool    *postgres.Pool
	prober  Prober
	logger  log.Logger
	sources []*sourceUnit
	flights flights
	started time.Time
	wake    chan struct{} // tells the background worker that there are other collectors
	// maxSamples is what one collector may have.
	maxSamples int

	mu         sync.Mutex
	queries    []*queryUnit
	extensions map[string]extension // nil until known
	denied     map[string]bool      // functions that the role may not call; nil until known
	askRights  bool                 // one was denied that was not known to be
}

// queryUnit is one collector written as data, with what its runs left behind.
type queryUnit struct {
	def    Definition
	status status

	mu      sync.Mutex
	cached  []sample
	next    time.Time // of the next background run
	retry   time.Duration
	skipped string   // why it does not apply to this server, empty when it does
	denied  []string // functions it does without
}

// sourceUnit is one source, with what its newest run left behind.
type sourceUnit struct {
	ScheduledSource
	status status

	mu      sync.Mutex
	samples []sample
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
	e := &Engine{pool: o.Pool, prober: o.Prober, logger: o.Logger, started: time.Now(), wake: make(chan struct{}, 1),
		maxSamples: cmp.Or(o.MaxSamples, DefaultMaxSamples)}
	for _, s := range o.Sources {
		e.sources = append(e.sources, &sourceUnit{ScheduledSource: s, status: status{since: e.started}})
	}
	e.SetDefinitions(o.Definitions)
	return e
}

// SetDefinitions replaces the collectors. One whose definition did not change keeps its data and counts.
func (e *Engine) SetDefinitions(defs []Definition) {
	e.mu.Lock()
	defer e.mu.Unlock()
	old := map[string]*queryUnit{}
	for _, u := range e.queries {
		old[u.def.Name] = u
	}
	e.queries = make([]*queryUnit, 0, len(defs))
	for _, d := range defs {
		u := &queryUnit{def: d, status: status{since: e.started}}
		if before, ok := old[d.Name]; ok && sameDefinition(&before.def, &d) {
			u = before
		}
		e.queries = append(e.queries, u)
	}
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// sameDefinition ignores where a definition is written.
func sameDefinition(a, b *Definition) bool {
	return fmt.Sprintf("%+v", withoutPlace(*a)) == fmt.Sprintf("%+v", withoutPlace(*b))
}

func withoutPlace(d Definition) Definition {
	d.File, d.Line = "", 0
	d.Queries, d.Metrics = slices.Clone(d.Queries), slices.Clone(d.Metrics)
	for i := range d.Queries {
		d.Queries[i].Line = 0
	}
	for i := range d.Metrics {
		d.Metrics[i].Line = 0
	}
	return d
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

// Select checks what a scrape asks for with collect[] and exclude[].
func (e *Engine) Select(include, exclude []string) (Selection, error) {
	names := e.Names()
	for _, n := range slices.Concat(include, exclude) {
		if !slices.Contains(names, n) {
			return Selection{}, fmt.Errorf("no collector %q is running. HINT: Choose among %s", n, strings.Join(names, ", "))
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
func (e *Engine) Gather(ctx context.Context, sel Selection) []*dto.MetricFamily {
	units := e.units(sel)
	out := newFamilies(onAPage(e.maxSamples))
	results, missing := e.live(ctx, sel, units)
	answered := map[*queryUnit]bool{}
	for _, r := range results {
		e.show(out, r.unit, r.samples)
		answered[r.unit] = true
	}
	now := time.Now()
	for _, u := range units {
		if !u.isLive() && !answered[u] { // one that moved to the background while it was awaited is on the page once
			e.show(out, u, u.fresh(now))
		}
	}
	for _, s := range e.sources {
		if sel.has(s.Name()) {
			e.showSource(out, s, now)
		}
	}
	out.room = roomFor(maxOwnSamples) // what the engine says of itself has its place at any rate
	e.selfMetrics(out, sel, units, missing, now)
	return out.list()
}

// maxOwnSamples bounds what the engine says of itself.
const maxOwnSamples = 10_000

func (e *Engine) show(out *families, u *queryUnit, samples []sample) {
	e.add(out, &u.status, u.def.Name, samples)
}

func (e *Engine) showSource(out *families, u *sourceUnit, now time.Time) {
	e.add(out, &u.status, u.Name(), u.fresh(now))
}

// add shows samples and counts those that can't be shown.
func (e *Engine) add(out *families, st *status, name string, samples []sample) {
	problems, first := map[errorReason]int{}, map[errorReason]string{}
	for _, s := range samples {
		if problem := out.add(s); problem != "" {
			if problems[problem]++; problems[problem] == 1 {
				first[problem] = s.describe()
			}
		}
	}
	for problem, n := range problems {
		st.reject(e.logger, name, problem, n, first[problem])
	}
}

// describe names a sample for the log.
func (s sample) describe() string {
	return shortened([]byte(fmt.Sprintf("%s%q", s.desc.Name, s.labels)), 5*shownText)
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
	switch r.Reason {
	case postgres.OK, postgres.TooManyConnections, postgres.Auth:
		return false, postgres.OK
	}
	return true, r.Reason
}
