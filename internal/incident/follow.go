package incident

import (
	"slices"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
)

// What is here decides when an incident begins and ends, from what the prober sees. It is called with the recorder's lock held.

const (
	// DefaultStall is how long reads may have been slow together before it is kept.
	DefaultStall = 2 * time.Second
	// stallGap is how long reads must be in time again for a stall to have ended.
	stallGap = 5 * time.Second
	// maxActive is how many incidents may be in the making. Another one closes the oldest that has ended before its time.
	maxActive = 4
	// restartSlack is how far from an incident a restart may be noticed that belongs to it.
	restartSlack = 3 * time.Second
)

// followOutage opens a window with an outage, and notes its end.
func (r *Recorder) followOutage(s probe.Snapshot) {
	var going *making
	for _, m := range r.active {
		if m.Kind == Outage && m.End.IsZero() {
			going = m
		}
	}
	switch {
	case going != nil && !s.OutageStart.Equal(going.Start): // it has ended, and another may have begun
		going.End, going.changed = s.LastOutageEnd.UTC(), true
		if !s.OutageStart.IsZero() {
			r.open(Outage, s.OutageStart, string(s.Reason))
		}
	case going == nil && !s.OutageStart.IsZero():
		r.open(Outage, s.OutageStart, string(s.Reason))
	}
}

// followRestarts adds those that were counted to the incident that they belong to; a crash that none did is one of its own.
func (r *Recorder) followRestarts(s probe.Snapshot, now time.Time) {
	for kind, n := range s.Restarts {
		was := r.restarts[kind]
		r.restarts[kind] = n
		if !r.started || !s.Loaded || n <= was {
			continue
		}
		at := s.LastRestart[kind]
		m := r.around(at)
		if m == nil && kind == probe.Crash {
			m = r.open(Crash, at, "")
			if m != nil {
				m.End = now.UTC()
			}
		}
		if m != nil && !slices.Contains(m.Restarts, string(kind)) {
			m.Restarts, m.changed = append(m.Restarts, string(kind)), true
		}
	}
}

func (r *Recorder) around(at time.Time) *making {
	for _, m := range slices.Backward(r.active) {
		if !at.Before(m.Start.Add(-restartSlack)) && (m.End.IsZero() || !at.After(m.End.Add(restartSlack))) {
			return m
		}
	}
	return nil
}

// followStall adds up reads that were slow and in time.
func (r *Recorder) followStall(o probe.Outcome) {
	if o.Kind != probe.Read {
		return
	}
	st := &r.stall
	switch {
	case o.Reason != postgres.OK || o.Stalled == 0 && !st.last.IsZero() && o.Ended.Sub(st.last) > stallGap:
		r.endStall()
	case o.Stalled > 0:
		if st.start.IsZero() {
			st.start = o.Started
		}
		st.last = o.Ended
		before := st.sum
		if st.sum += o.Stalled; before < r.o.Stall && st.sum >= r.o.Stall {
			r.open(Stall, st.start, "stalled")
		}
	}
}

func (r *Recorder) endStall() {
	for _, m := range r.active {
		if m.Kind == Stall && m.End.IsZero() {
			m.End, m.changed = r.stall.last.UTC(), true
		}
	}
	r.stall.start, r.stall.last, r.stall.sum = time.Time{}, time.Time{}, 0
}

// open begins a window with what is remembered.
func (r *Recorder) open(kind Kind, start time.Time, reason string) *making {
	if !r.makeRoom() {
		r.missed++
		return nil
	}
	m := &making{changed: true, Window: Window{
		Version: windowVersion, ID: newID(start, kind), Kind: kind, Target: r.o.Target, Reason: reason, Start: start.UTC(), Was: r.server,
		LogFollowed: r.o.LogWritten != nil, HostWatched: r.o.HostWatched != nil && r.o.HostWatched(),
	}}
	from := start.Add(-Before)
	m.Probes, m.Log, m.Samples, m.Facts = r.probes.since(from), r.log.since(from), r.samples.since(from), r.facts.since(from)
	r.active = append(r.active, m)
	select {
	case r.began <- struct{}{}:
	default:
	}
	return m
}

// makeRoom closes the window of the incident that ended first, where as many are open as may be. What is closed and not written yet is
// bounded, too.
func (r *Recorder) makeRoom() bool {
	var open []*making
	for _, m := range r.active {
		if !m.cut {
			open = append(open, m)
		}
	}
	if len(open) < maxActive {
		return true
	}
	ended := slices.DeleteFunc(open, func(m *making) bool { return m.End.IsZero() })
	if len(ended) == 0 || len(r.active) >= 2*maxActive {
		return false
	}
	first := slices.MinFunc(ended, func(a, b *making) int { return a.End.Compare(b.End) })
	first.cut, first.changed = true, true
	return true
}

func serverOf(s probe.Server) Server {
	return Server{StartTime: s.StartTime.UTC(), Role: string(s.Role), SystemIdentifier: s.SystemIdentifier, Address: s.Address,
		Timeline: s.Timeline}
}
