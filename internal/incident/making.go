package incident

import (
	"slices"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/serverlog"
)

// thin is how many probes of a long outage are kept one by one; then one a minute is, and each that says something else.
const thin = 200

// making is a window that is not closed yet.
type making struct {
	Window
	saved   time.Time
	changed bool
	// joined: what an earlier run of ours kept of it was looked for.
	joined bool
	// cut: it is closed before its time, to make room; the next save writes it.
	cut bool
}

// addProbe adds a probe while there is room, of a long outage the telling ones.
func (m *making) addProbe(p Probe) {
	m.changed = true
	if n := len(m.Probes); n >= thin {
		last := m.Probes[n-1]
		for _, before := range slices.Backward(m.Probes) {
			if before.Probe == p.Probe {
				last = before
				break
			}
		}
		if same := last.Reason == p.Reason && last.Probe == p.Probe; n >= maxProbes || same && m.End.IsZero() && p.At.Sub(last.At) < time.Minute {
			m.LeftOut++
			return
		}
	}
	m.Probes = append(m.Probes, p)
}

// addEvent adds a message of the server's log that is of the incident's time.
func (m *making) addEvent(e serverlog.Event) {
	if e.At.Before(m.Start.Add(-Before)) || !m.End.IsZero() && e.At.After(m.End.Add(After)) {
		return
	}
	m.changed = true
	if len(m.Log) >= maxLog {
		m.LeftOut++
		if !telling(e) {
			return
		}
		i := slices.IndexFunc(m.Log, func(e serverlog.Event) bool { return !telling(e) })
		if i < 0 {
			return
		}
		m.Log = slices.Delete(m.Log, i, i+1)
	}
	m.Log = append(m.Log, e)
}

// telling are messages that make room for themselves: others come by the thousand, one for each login that fails.
func telling(e serverlog.Event) bool {
	switch e.Kind {
	case serverlog.NoKind, serverlog.StartingUp, serverlog.ShuttingDown,
		serverlog.TooManyConnections, serverlog.PasswordFailed, serverlog.HBARejected,
		serverlog.NoDatabase, serverlog.NoRole, serverlog.LoginFailed, serverlog.CutByCrash,
		serverlog.TerminatedByAdmin, serverlog.RecoveryConflict,
		serverlog.Deadlock, serverlog.IdleInTransaction, serverlog.LockWait:
		return false
	case serverlog.DiskFull, serverlog.OutOfMemory, serverlog.IOError:
		return e.Severity == "fatal" || e.Severity == "panic"
	}
	return true
}

// addFirst is a list with one more while there is room; what there is no room for is counted.
func addFirst[T any](m *making, list []T, x T, most int) []T {
	if m.changed = true; len(list) >= most {
		m.LeftOut++
		return list
	}
	return append(list, x)
}

// join takes over what an earlier run of ours kept of the same incident.
func (m *making) join(old Window) {
	m.joined = true
	if old.ID != m.ID {
		return
	}
	m.Was, m.Reason = old.Was, old.Reason
	m.Probes = append(old.Probes, m.Probes...)
	m.Log = append(old.Log, m.Log...)
	m.Samples = append(old.Samples, m.Samples...)
	m.Facts = append(old.Facts, m.Facts...)
	for _, kind := range old.Restarts {
		if !slices.Contains(m.Restarts, kind) {
			m.Restarts = append(m.Restarts, kind)
		}
	}
}

// lastSeen is when the newest probe in it ended.
func (w *Window) lastSeen() time.Time {
	last := w.Start
	for _, p := range w.Probes {
		if p.At.After(last) {
			last = p.At
		}
	}
	return last
}

// clone shares nothing that is written to.
func (m *making) clone() Window {
	w := m.Window
	w.Probes, w.Log = slices.Clone(w.Probes), slices.Clone(w.Log)
	w.Samples, w.Facts, w.Restarts = slices.Clone(w.Samples), slices.Clone(w.Facts), slices.Clone(w.Restarts)
	slices.SortStableFunc(w.Log, func(a, b serverlog.Event) int { return a.At.Compare(b.At) })
	return w
}
