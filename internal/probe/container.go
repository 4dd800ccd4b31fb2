package probe

import (
	"cmp"
	"time"
)

// container is what the container engine said of the database's container last.
type container struct {
	ID           string    `json:"id"`
	RestartCount int       `json:"restart_count"`
	StartedAt    time.Time `json:"started_at"`
	// Waiting: the engine has counted a restart and has yet to make it.
	Waiting bool `json:"waiting,omitempty"`
}

// observeContainer adds the starts since the last observation to the restarts. The first one is the
// baseline. The engine's own count falls back to 0 when somebody starts the container by hand, and a
// container made anew begins its own: both have started at least once.
func (s *state) observeContainer(is container, seen time.Time) {
	was := s.Container
	if was != nil && was.ID == is.ID {
		is.StartedAt = cmp.Or(is.StartedAt, was.StartedAt)
	}
	s.Container = &is
	if was == nil {
		return
	}
	var starts int
	switch {
	case was.ID != is.ID, is.RestartCount < was.RestartCount:
		starts = 1 + is.RestartCount
	case is.RestartCount > was.RestartCount:
		starts = is.RestartCount - was.RestartCount
	case is.StartedAt.After(was.StartedAt) && !was.Waiting: // else it is the start that was counted
		starts = 1
	}
	s.Restarts[Container] += uint64(starts)
	started := is.StartedAt.After(was.StartedAt) // also the start that was counted before it was made
	if starts == 0 && !started {
		return
	}
	s.LastRestart[Container] = seen
	if started {
		s.LastRestart[Container] = is.StartedAt
	}
	s.Outages.explain(Container, s.LastRestart[Container])
}
