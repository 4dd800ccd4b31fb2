package collector

import "time"

// HurryVisits visits databases sooner than a server should be; to be called before Run.
func (e *Engine) HurryVisits() {
	e.visits.pace = visitPace{list: time.Second, revisit: time.Second, apart: 100 * time.Millisecond}
}

// MetLongAgo makes the newest meeting of another server be too long ago to hold up the next one.
func (e *Engine) MetLongAgo() {
	e.identity.mu.Lock()
	defer e.identity.mu.Unlock()
	e.identity.acted = time.Time{}
}
