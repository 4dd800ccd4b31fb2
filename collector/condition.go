package collector

import (
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// Condition is how one collector fares.
type Condition struct {
	Name string
	// Error is why its newest run failed, or had to leave samples out (too_many, no_memory); empty when that succeeded, when it has
	// not run yet, and while it can't run because the server is down, which is no fault of its own.
	Error postgres.Reason
	// DataAt is when its newest data was read; zero when there never was any.
	DataAt time.Time
}

// Conditions lists the collectors that apply to the server. It asks the server nothing.
func (e *Engine) Conditions() []Condition {
	e.mu.Lock()
	queries := e.queries
	e.mu.Unlock()
	out := make([]Condition, 0, len(queries)+len(e.sources))
	for _, u := range queries {
		u.mu.Lock()
		applies := u.skipped == ""
		u.mu.Unlock()
		if applies {
			out = append(out, u.status.condition(u.def.Name))
		}
	}
	for _, s := range e.sources {
		out = append(out, s.status.condition(s.Name()))
	}
	return out
}

func (s *status) condition(name string) Condition {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := Condition{Name: name, DataAt: s.dataAt}
	if s.ran && !s.success && !s.unreached {
		c.Error = postgres.Reason(s.lastErr)
	} else if s.success {
		c.Error = postgres.Reason(s.leftOut)
	}
	return c
}
