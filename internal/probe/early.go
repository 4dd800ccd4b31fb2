package probe

import (
	"slices"
	"time"
)

// mostEarly bounds what is remembered while the state is awaited.
const mostEarly = 10_000

// early is what was seen before the state of an earlier run was there: a disk may take its time, and the server is watched
// meanwhile. It is told to that state when it comes.
type early struct {
	outcomes   []Outcome
	containers []seenContainer
}

type seenContainer struct {
	container
	at time.Time
}

// add remembers an outcome; of a row of the same results, those between the first and the last tell nothing.
func (e *early) add(o Outcome) {
	if i := e.last(o.Kind, len(e.outcomes)); i >= 0 {
		j := e.last(o.Kind, i)
		if j >= 0 && same(e.outcomes[i], o) && same(e.outcomes[j], o) {
			o.Stalled += e.outcomes[i].Stalled
			e.outcomes = slices.Delete(e.outcomes, i, i+1)
		}
	}
	e.outcomes = append(e.outcomes, o)
	if n := len(e.outcomes); n > mostEarly {
		e.outcomes = slices.Delete(e.outcomes, 0, n-mostEarly)
	}
}

// last is the place of the newest outcome of a kind before a place, or -1.
func (e *early) last(k Kind, before int) int {
	for i := before - 1; i >= 0; i-- {
		if e.outcomes[i].Kind == k {
			return i
		}
	}
	return -1
}

func same(a, b Outcome) bool {
	return a.Reason == b.Reason && a.Skipped == b.Skipped && identityOf(a.Server) == identityOf(b.Server)
}

func (e *early) addContainer(c container, at time.Time) {
	if n := len(e.containers); n > 0 && e.containers[n-1].container == c {
		return
	}
	e.containers = append(e.containers, seenContainer{c, at})
	if n := len(e.containers); n > mostEarly {
		e.containers = slices.Delete(e.containers, 0, n-mostEarly)
	}
}

// tell folds it into a state, and names the restarts it reveals.
func (e *early) tell(s *state) (restarts []RestartKind) {
	for _, o := range e.outcomes {
		restarts = append(restarts, s.observe(o)...)
	}
	for _, c := range e.containers {
		s.observeContainer(c.container, c.at)
	}
	return restarts
}
