package metrics

import (
	"maps"
	"slices"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

const (
	// Patience is how long whoever asks waits for a reading that is under way. On a healthy disk none takes so long.
	Patience = 2 * time.Second
	// maxAge is how old a reading may be that stands for the repository while a newer one hangs.
	maxAge = time.Minute
)

// Reading is what the repository held at one moment. It is never written to again.
type Reading struct {
	At    time.Time
	All   []catalog.Backup // without tables, newest first
	State catalog.State
	// Servers says which backups are of one line of servers.
	Servers catalog.Servers
	Err     error // why the repository can't be read

	repo    *catalog.Repository
	free    *int64
	running bool // somebody holds the lock, or that can't be told
	// attended says by a schedule's lock whether its daemon lives, where that can be told.
	attended map[catalog.DaemonLock]bool
}

// errHangs is the error of a repository that does not answer: a call into a dead network file system never returns.
var errHangs = failure.New(failure.Timeout, "the repository does not answer").WithHint("Is its disk or network mount alive?")

// Read reads the repository in the background and waits for that, but no longer than told. Of a repository that hangs it returns the
// reading before, and an error instead once that is old. At most one reading is under way, however many ask.
func (c *Collector) Read(wait time.Duration) Reading {
	c.mu.Lock()
	done := c.flight
	if done == nil {
		done = make(chan struct{})
		c.flight = done
		go c.fly(done)
	}
	c.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil || c.now().Sub(c.last.At) > maxAge && c.flight == done {
		return Reading{At: c.now(), Err: errHangs}
	}
	return *c.last
}

// fly makes one reading. It may never come back.
func (c *Collector) fly(done chan struct{}) {
	at := c.now()
	r := c.read()
	r.At = at
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last, c.flight = &r, nil
	close(done)
}

// read reads the repository. A run that was killed is counted as what it is, though nobody has written that down yet. Only one
// goroutine is in here.
func (c *Collector) read() Reading {
	if c.repo == nil || c.repo.Present() != nil {
		repo, err := catalog.Open(c.dir)
		if err != nil {
			return Reading{Err: err}
		}
		c.repo = repo
	}
	r := Reading{repo: c.repo}
	// The journal before the list: a run that is published in between is in both, not in neither.
	state, err := stateOf(c.repo)
	if err != nil {
		return Reading{Err: err}
	}
	if r.All, err = c.repo.Brief(); err != nil {
		return Reading{Err: err}
	}
	r.Servers, _ = c.repo.Servers(r.All) // the manifests say it, too; a run refuses a file that can't be read
	busy, known := c.repo.Busy()
	if known && !busy {
		if again, err := stateOf(c.repo); err == nil { // it may have ended between the two questions
			state = again
		}
		settled := c.repo.Settled(state)
		if busy, known = c.repo.Busy(); known && !busy { // else another has begun meanwhile, and what was found is its own
			state = settled
		}
	}
	r.State, r.running = state, busy || !known
	r.attended = attended(c.repo, state)
	if free, err := catalog.FreeBytes(c.repo.Dir()); err == nil {
		r.free = &free
	}
	return r
}

// attended asks for the daemon of each schedule whether it lives.
func attended(repo *catalog.Repository, s catalog.State) map[catalog.DaemonLock]bool {
	out := map[catalog.DaemonLock]bool{}
	plans := slices.Collect(maps.Values(s.Schedules))
	if s.Schedule != nil {
		plans = append(plans, *s.Schedule)
	}
	for _, p := range plans {
		if alive, known := repo.Attended(&p); known {
			out[p.Lock] = alive
		}
	}
	return out
}
