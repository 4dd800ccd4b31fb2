package probe

import (
	"maps"
	"slices"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// outages are the books: an outage is a time in which reads or logins fail. It begins with the first
// probe that fails, when that was sent, and ends with the success that ended it.
type outages struct {
	// Count by the reason an outage began with.
	Count map[postgres.Reason]uint64 `json:"count"`
	// Seconds of downtime by the reason of each moment.
	Seconds map[postgres.Reason]float64 `json:"seconds"`
	// Recovery is the histogram of the lengths of outages that have ended.
	Recovery  histogram `json:"recovery"`
	Longest   float64   `json:"longest_seconds"`
	LastStart time.Time `json:"last_start,omitzero"`
	LastEnd   time.Time `json:"last_end,omitzero"`
	// Reached: the database was fit for use once. What can't be reached from the start may be a wrong address or password as
	// well, or we began too fast: that is no outage of the database's.
	Reached bool `json:"reached,omitempty"`
	// Open is the outage in progress.
	Open *outage `json:"open,omitempty"`
	// Recent are the newest that have ended, newest last. Copies of the books share it: it is never written to, but
	// replaced.
	Recent []Outage `json:"recent,omitempty"`

	// resumed: Open was found in the state file, and nothing has been seen since.
	resumed bool
	// ended is when this process saw the last one end: no other can have begun before.
	ended time.Time
}

// recentOutages is how many are remembered one by one.
const recentOutages = 100

// Outage is a time in which reads or logins failed.
type Outage struct {
	Start time.Time `json:"start"`
	// End is zero while it is in progress.
	End time.Time `json:"end,omitzero"`
	// Seconds it lasted, or has lasted so far.
	Seconds float64 `json:"seconds"`
	// Reason it began with.
	Reason postgres.Reason `json:"reason"`
	// Restarts of the server or its container that were seen to belong to it, each kind once.
	Restarts []RestartKind `json:"restarts,omitempty"`
}

type outage struct {
	Start time.Time `json:"start"`
	// Began is the reason it began with; earlier versions did not keep it.
	Began postgres.Reason `json:"began,omitempty"`
	// Reason that holds since Accounted.
	Reason postgres.Reason `json:"reason"`
	// Accounted: downtime is counted up to here.
	Accounted time.Time `json:"accounted"`
	// Seconds accounted so far.
	Seconds float64 `json:"seconds"`
	// Restarts as in Outage. Replaced, and never written to.
	Restarts []RestartKind `json:"restarts,omitempty"`
}

func newOutages() outages {
	return outages{
		Count: map[postgres.Reason]uint64{}, Seconds: map[postgres.Reason]float64{},
		Recovery: newHistogram(),
	}
}

// observe takes the reason that holds after a probe.
func (s *outages) observe(reason postgres.Reason, o Outcome) {
	if s.Reached = s.Reached || reason == postgres.OK; !s.Reached {
		return
	}
	if s.resumed {
		s.resumed = false
		if reason == postgres.OK {
			// It ended while nobody looked: what was seen of it counts.
			s.close()
			return
		}
	}
	switch {
	case s.Open == nil && reason != postgres.OK:
		s.open(reason, o)
		s.account(o.Ended)
	case s.Open != nil:
		s.account(o.Ended)
		if s.Open.Reason = reason; reason == postgres.OK {
			s.close()
			s.ended = o.Ended
		}
	}
}

func (s *outages) open(reason postgres.Reason, o Outcome) {
	start := o.Started
	if start.Before(s.ended) {
		start = s.ended // a login that began to hang in the outage before
	}
	s.Open = &outage{Start: start, Began: reason, Reason: reason, Accounted: start}
	s.LastStart = start
	s.Count[reason]++
}

func (s *outages) account(to time.Time) {
	d := sub(to, s.Open.Accounted).Seconds()
	s.Seconds[s.Open.Reason] += d
	s.Open.Seconds += d
	s.Open.Accounted = to
}

func (s *outages) close() {
	length := s.Open.Seconds
	s.Recovery.observe(length)
	s.Longest = max(s.Longest, length)
	// By the start's clock, so that end minus start is the length also when the system's clock was set.
	s.LastEnd = s.Open.Start.Add(seconds(length))
	ended := Outage{Start: s.Open.Start.UTC(), End: s.LastEnd.UTC(), Seconds: length, Reason: s.Open.began(), Restarts: s.Open.Restarts}
	s.Recent = append(slices.Clone(s.Recent[max(0, len(s.Recent)-recentOutages+1):]), ended)
	s.Open = nil
}

// restartSlack is how far from an outage a restart may be that belongs to it: the first probe that fails comes an
// interval after the server's end, and clocks are not quite the same.
const restartSlack = 3 * time.Second

// explain notes that a restart at that moment belongs to the outage around it, if there is one.
func (s *outages) explain(k RestartKind, at time.Time) {
	within := func(start, end time.Time) bool {
		return !at.Before(start.Add(-restartSlack)) && (end.IsZero() || !at.After(end.Add(restartSlack)))
	}
	if s.Open != nil && within(s.Open.Start, time.Time{}) {
		s.Open.Restarts = withKind(s.Open.Restarts, k)
		return
	}
	for i, o := range slices.Backward(s.Recent) {
		if within(o.Start, o.End) {
			o.Restarts = withKind(o.Restarts, k)
			s.Recent = slices.Clone(s.Recent)
			s.Recent[i] = o
			return
		}
	}
}

func withKind(list []RestartKind, k RestartKind) []RestartKind {
	if slices.Contains(list, k) {
		return list
	}
	return append(slices.Clone(list), k)
}

func (o *outage) began() postgres.Reason {
	if o.Began == "" {
		return o.Reason
	}
	return o.Began
}

// recent lists the newest outages, newest first, the one in progress among them.
func (s *outages) recent(now time.Time) []Outage {
	out := make([]Outage, 0, len(s.Recent)+1)
	if s.Open != nil {
		out = append(out, Outage{Start: s.Open.Start.UTC(), Seconds: s.lasted(now).Seconds(), Reason: s.Open.began(), Restarts: s.Open.Restarts})
	}
	for _, o := range slices.Backward(s.Recent) {
		out = append(out, o)
	}
	return out[:min(len(out), recentOutages)]
}

// lasted is how long the outage in progress has lasted.
func (s *outages) lasted(now time.Time) time.Duration {
	if s.Open == nil {
		return 0
	}
	return seconds(s.Open.Seconds) + sub(now, s.Open.Accounted)
}

func (s *outages) start() time.Time {
	if s.Open == nil {
		return time.Time{}
	}
	return s.Open.Start
}

func (s *outages) total() (n uint64) {
	for _, c := range s.Count {
		n += c
	}
	return n
}

func (s *outages) downtime() time.Duration {
	var sum float64
	for _, d := range s.Seconds {
		sum += d
	}
	return seconds(sum)
}

func (s *outages) clone() outages {
	c := *s
	c.Count, c.Seconds = maps.Clone(s.Count), maps.Clone(s.Seconds)
	c.Recovery = s.Recovery.clone()
	if s.Open != nil {
		open := *s.Open
		c.Open = &open
	}
	return c
}
