package incident

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
	"github.com/pg-reliability/pg_reliability_exporter/internal/serverlog"
	"github.com/pg-reliability/pg_reliability_exporter/internal/sqltext"
)

const (
	// What is remembered of the time before, and of one incident: the newest of the former, the first of the latter.
	maxProbes  = 400
	maxLog     = 300
	maxSamples = 300
	maxFacts   = 100

	// tick is how often it is looked whether there is something to be written, while an incident is in the making. There is none for days:
	// a timer of 1 Hz would be a tenth of what watching a server costs.
	tick    = time.Second
	resting = time.Minute
	// saveEvery is what a kill -9 of the exporter may lose of an incident.
	saveEvery = 5 * time.Second
	// slowLoad is when incidents that are not read yet are worth a line in the log, and stopTimeout how long the end may take
	// where the disk hangs.
	slowLoad    = 5 * time.Second
	stopTimeout = 2 * time.Second
)

// Options of a recorder. Target and Logger are required.
type Options struct {
	// Dir keeps incidents; empty keeps them in memory, the newest few.
	Dir string
	// Target names the server without a secret.
	Target string
	// Stall is how long reads may have been slow together before it is an incident; 0 means DefaultStall.
	Stall time.Duration
	// MaxKept incidents and MaxBytes of them are kept at the most, the newest; 0 means the constants of these names.
	MaxKept, MaxBytes int
	// LogWritten, if set, says when the server's log was last seen to grow; without, no log is followed.
	LogWritten func() time.Time
	// HostWatched, if set, says whether Host is told of the server's machine.
	HostWatched func() bool
	// Show is what of statements is kept and shown; empty masks them.
	Show   sqltext.Show
	Logger log.Logger
}

// Recorder remembers the last two minutes, and keeps a window around each incident. What feeds it never waits: nothing but memory is
// touched, and Run writes.
type Recorder struct {
	o     Options
	store *store
	now   func() time.Time
	flush chan chan struct{}
	began chan struct{} // an incident is in the making

	mu      sync.Mutex
	probes  remembered[Probe]
	log     remembered[serverlog.Event]
	samples remembered[Sample]
	facts   remembered[Fact]
	active  []*making
	// started: an outcome was seen. What the prober knew before is an earlier run's.
	started bool
	// loaded: the prober goes on with what an earlier run of ours left.
	loaded   bool
	restarts map[probe.RestartKind]uint64
	server   Server
	stall    struct {
		start, last time.Time
		sum         time.Duration
	}
	missed uint64 // incidents for which there was no room
}

// NewRecorder makes one; Run reads what an earlier run kept.
func NewRecorder(o Options) *Recorder {
	if o.Stall == 0 {
		o.Stall = DefaultStall
	}
	st := newStore(o.Dir, o.Target, o.Logger)
	st.show, st.maxKept, st.maxBytes = o.Show, cmp.Or(o.MaxKept, MaxKept), cmp.Or(o.MaxBytes, MaxBytes)
	return &Recorder{
		o: o, store: st, now: time.Now, flush: make(chan chan struct{}), began: make(chan struct{}, 1),
		restarts: map[probe.RestartKind]uint64{},
		probes:   remembered[Probe]{most: maxProbes, at: func(p Probe) time.Time { return p.At }},
		log:      remembered[serverlog.Event]{most: maxLog, at: func(e serverlog.Event) time.Time { return e.At }},
		samples:  remembered[Sample]{most: maxSamples, at: func(s Sample) time.Time { return s.At }},
		facts:    remembered[Fact]{most: maxFacts, at: func(f Fact) time.Time { return f.At }},
	}
}

// Run writes what is to be kept, until ctx ends. A disk that hangs does not hold up the end.
func (r *Recorder) Run(ctx context.Context) {
	ended := make(chan struct{})
	go func() { defer close(ended); r.run(ctx) }()
	<-ctx.Done()
	select {
	case <-ended:
	case <-time.After(stopTimeout):
	}
}

func (r *Recorder) run(ctx context.Context) {
	loaded := make(chan struct{})
	go func() { defer close(loaded); r.store.load() }()
	slow := time.AfterFunc(slowLoad, r.store.hangs)
	defer slow.Stop()
	next := time.NewTimer(tick)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			r.save(r.now(), true)
			return
		case <-loaded:
			loaded = nil
			slow.Stop()
			r.store.goOn()
			next.Reset(tick)
		case <-r.began:
			next.Reset(tick)
		case written := <-r.flush:
			r.save(r.now(), true)
			close(written)
		case <-next.C:
			r.save(r.now(), false)
			next.Reset(r.rest())
		}
	}
}

// rest is the time until it is looked again whether there is something to be written.
func (r *Recorder) rest() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.active) == 0 && len(r.store.earlier()) == 0 {
		return resting
	}
	return tick
}

// Outcome takes what a probe saw, and what the prober makes of it. It is called from the prober's goroutine.
func (r *Recorder) Outcome(o probe.Outcome, s probe.Snapshot) {
	if o.Skipped {
		return
	}
	now := r.now()
	p := Probe{
		At: o.Ended.UTC(), Probe: string(o.Kind), Reason: string(o.Reason), Seconds: max(0, o.Ended.Sub(o.Started).Seconds()), Error: o.Error,
		Stalled: o.Stalled > 0,
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.probes.add(p, now)
	r.followOutage(s)
	for _, m := range r.active {
		m.addProbe(p)
		if r.o.LogWritten != nil && m.End.IsZero() {
			if grew := r.o.LogWritten(); grew.After(m.Start.Add(time.Second)) {
				m.LogGrew = grew.UTC()
			}
		}
	}
	r.followRestarts(s, now)
	r.followStall(o)
	if is := serverOf(s.Server); o.Kind == probe.Read && o.Reason == postgres.OK {
		for _, m := range r.active {
			if m.Is != is {
				m.Is, m.changed = is, true
			}
		}
		r.server = is
	}
	r.started, r.loaded = true, r.loaded || s.Loaded
}

// Log takes what the server's log said.
func (r *Recorder) Log(e serverlog.Event) {
	hideEvent(&e, r.o.Show)
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log.add(e, now)
	for _, m := range r.active {
		m.addEvent(e)
	}
}

// Sessions takes a sample.
func (r *Recorder) Sessions(s Sample) {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.samples.add(s, now)
	for _, m := range r.active {
		m.Samples = addFirst(m, m.Samples, s, maxSamples)
	}
}

// Host takes a fact.
func (r *Recorder) Host(f Fact) {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.facts.add(f, now)
	for _, m := range r.active {
		m.Facts = addFirst(m, m.Facts, f, maxFacts)
	}
}

// Flush writes what is not written yet, at once: before something is done that may end this process, or the machine.
func (r *Recorder) Flush(ctx context.Context) error {
	written := make(chan struct{})
	select {
	case r.flush <- written:
	case <-ctx.Done():
		return fmt.Errorf("save what is known of the incident: %w", ctx.Err())
	}
	select {
	case <-written:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("save what is known of the incident: %w", ctx.Err())
	}
}

// save hands windows to the store that have changed, and closes those whose time is over. It is called by Run alone.
func (r *Recorder) save(now time.Time, all bool) {
	var ready []Window
	r.mu.Lock()
	r.active = slices.DeleteFunc(r.active, func(m *making) bool {
		if !m.joined && r.store.ready {
			m.join(r.store.unfinished[m.ID])
			delete(r.store.unfinished, m.ID)
		}
		over := m.cut || !m.End.IsZero() && now.Sub(m.End) > After
		if m.changed && (over || all || m.saved.IsZero() || now.Sub(m.saved) >= saveEvery) {
			ready = append(ready, m.clone())
			m.changed, m.saved = false, now
		}
		return over
	})
	loaded := r.loaded
	r.mu.Unlock()
	for id, w := range r.store.earlier() {
		if loaded { // it ended while nobody looked
			w.End = w.lastSeen()
			ready = append(ready, w)
			delete(r.store.unfinished, id)
		}
	}
	for _, w := range ready {
		r.store.keep(w)
	}
}
