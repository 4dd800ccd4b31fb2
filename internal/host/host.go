// Package host tells what the machine knows of a server that runs on it: processes that the kernel killed for want of memory, how long
// others waited for memory, disk and CPU, how its container ended, and whether its processes are stopped. What can't be known is not told.
// Nothing is asked of the database but, now and then, the number of one of our own sessions' processes.
package host

import (
	"context"
	"sync"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/incident"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
)

const (
	// calm and keen are the times between two looks, while all is well and while probes fail or are late. Pressure is of ten seconds anyway.
	calm = 5 * time.Second
	keen = time.Second
	// alert is how long looks stay frequent afterwards: what stalls a server for a second comes again, and is over before its first sign is
	// there.
	alert = 30 * time.Second
	// lookFor bounds a look. Files of the kernel answer at once, but for a machine that is about to die.
	lookFor = 2 * time.Second
	// again is how long the same is not told again: an incident's window has room for a hundred facts.
	again = 10 * time.Second
	// identify is how often it is asked which process serves us.
	identify = time.Minute
)

// Options of a watcher. Tell is required.
type Options struct {
	// Proc and Cgroups are /proc and /sys/fs/cgroup where they are empty.
	Proc, Cgroups string
	// Beside: the server is known to run on this machine, by a flag that speaks of its files.
	Beside bool
	// Serving calls look with the number of the process that serves a session of ours, and the session's user and database, and keeps
	// the session meanwhile. Nil where that is never known.
	Serving func(ctx context.Context, look func(pid int, user, database string)) error
	// Tell takes each fact; it must not block.
	Tell func(incident.Fact)
}

// Watcher looks at the machine, until its context ends.
type Watcher struct {
	o    Options
	now  func() time.Time
	wake chan struct{}

	mu      sync.Mutex
	failing bool
	failed  time.Time // the newest time that one did
	local   bool

	// Of the one look that is under way at any time.
	server     process // the postmaster; zero while unknown
	identified time.Time
	kills      map[string]uint64
	told       map[told]time.Time
}

type told struct {
	kind incident.FactKind
	name string
}

// New makes a watcher. It looks at nothing yet.
func New(o Options) *Watcher {
	if o.Proc == "" {
		o.Proc = "/proc"
	}
	if o.Cgroups == "" {
		o.Cgroups = "/sys/fs/cgroup"
	}
	return &Watcher{o: o, now: time.Now, wake: make(chan struct{}, 1), local: o.Beside, kills: map[string]uint64{}, told: map[told]time.Time{}}
}

// Local says whether the server is known to run on this machine, so that facts of the machine are facts of the server's.
func (w *Watcher) Local() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.local
}

// Outcome takes what a probe saw: while they fail, looks are frequent. It never waits.
func (w *Watcher) Outcome(o probe.Outcome, _ probe.Snapshot) {
	failing := !o.Skipped && (o.Reason != postgres.OK || o.Stalled > 0)
	w.mu.Lock()
	was := w.failing
	if failing {
		w.failed = w.now()
	}
	if failing || o.Kind == probe.Read && !o.Skipped {
		w.failing = failing
	}
	changed := w.failing != was // at its end, too: the server that is back may be another process
	w.mu.Unlock()
	if changed {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// Run looks until ctx ends. A look that does not come back is waited for by nobody, and there is no other meanwhile.
func (w *Watcher) Run(ctx context.Context) {
	var looking chan struct{}
	for {
		if looking == nil {
			done := make(chan struct{})
			looking = done
			go func() { defer close(done); w.look(ctx) }()
		}
		select {
		case <-looking:
			looking = nil
		case <-time.After(lookFor):
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(w.pause()):
		case <-w.wake:
		case <-ctx.Done():
			return
		}
	}
}

func (w *Watcher) pause() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failing || w.now().Sub(w.failed) < alert {
		return keen
	}
	return calm
}

func (w *Watcher) look(ctx context.Context) {
	if w.server.pid != 0 && !w.lives() {
		w.server, w.identified = process{}, time.Time{}
	}
	if w.now().Sub(w.identified) >= identify {
		w.find(ctx)
	}
	if !w.Local() {
		return
	}
	w.oomKills()
	w.pressure()
	w.load()
	w.processes()
}

// tell says a fact, unless the same was said a moment ago.
func (w *Watcher) tell(kind incident.FactKind, name string, value float64) {
	key, now := told{kind, name}, w.now()
	if at, ok := w.told[key]; ok && now.Sub(at) < again {
		return
	}
	w.told[key] = now
	w.o.Tell(incident.Fact{At: now.UTC(), Kind: kind, Name: name, Value: value})
}

// ask bounds a question to the server, which is not asked at all while probes fail.
func (w *Watcher) find(ctx context.Context) {
	w.mu.Lock()
	failing := w.failing
	w.mu.Unlock()
	if w.o.Serving == nil || failing {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	var found process
	err := w.o.Serving(ctx, func(pid int, user, database string) { found = w.postmaster(pid, user, database) })
	if err != nil {
		return // the next look asks again
	}
	w.identified = w.now()
	w.server = found
	w.mu.Lock()
	w.local = w.o.Beside || found.pid != 0
	w.mu.Unlock()
}
