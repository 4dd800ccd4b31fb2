package collector

import (
	"sync"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/collector/definition"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
)

// identity is which server answers, and since when it runs.
type identity struct {
	mu      sync.Mutex
	system  string
	started time.Time
	acted   time.Time
}

// meetEvery bounds what an address costs that leads to one server now and to another then, such as a pooler's.
const meetEvery = 10 * time.Second

// meet takes note of the server that answers. What was read of another one, whose place it has taken, is not shown as this one's; and
// what is of the whole server is read anew at once where it was started anew, for its version and settings may be others.
func (e *Engine) meet(s probe.Server) {
	e.identity.mu.Lock()
	defer e.identity.mu.Unlock()
	id := &e.identity
	another := id.system != "" && s.SystemIdentifier != "" && s.SystemIdentifier != id.system
	anew := !id.started.IsZero() && !s.StartTime.IsZero() && !s.StartTime.Equal(id.started)
	if (another || anew) && time.Since(id.acted) < meetEvery {
		return // a later probe is met with it
	}
	if s.SystemIdentifier != "" {
		id.system = s.SystemIdentifier
	}
	if !s.StartTime.IsZero() {
		id.started = s.StartTime
	}
	if !another && !anew {
		return
	}
	id.acted = time.Now()
	e.mu.Lock()
	e.askRights = true
	e.mu.Unlock()
	for _, u := range e.units(Selection{}) {
		if another {
			u.forget()
		} else if u.def.Scope != definition.ScopeDatabase {
			u.schedule(time.Time{})
		}
	}
	e.poke()
}

// forget lets go of all rows, and makes the collector due.
func (u *queryUnit) forget() {
	u.status.mu.Lock()
	u.status.dataAt, u.status.ran, u.status.success = time.Time{}, false, false
	u.status.mu.Unlock()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.cached, u.want, u.apart, u.next, u.retry = nil, 0, nil, time.Time{}, 0
}
