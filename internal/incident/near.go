package incident

import (
	"slices"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
	"github.com/pg-reliability/pg_reliability_exporter/internal/serverlog"
)

// A server that crashes twice in a minute has two incidents, and the window of each reaches over the other. What is near is
// bounded by when the server was seen well between the two: lines of before tell of the former, lines of afterwards of the next.

// clockSlack is by how much the server's clock may differ from ours before a probe says that a line in its log is another incident's.
const clockSlack = 3 * time.Second

// begins are the lines with which a server's life ends; Ready ends what they began.
var begins = []serverlog.Kind{
	serverlog.ProcessKilled, serverlog.TerminatingOthers, serverlog.SmartShutdown, serverlog.FastShutdown, serverlog.ImmediateShutdown,
	serverlog.LostLockFile, serverlog.WasInterrupted, serverlog.Recovering,
}

// nearFrom is from when on a line may be of this incident.
func (w *Window) nearFrom() time.Time {
	from := w.Start.Add(-lead)
	for _, kind := range []probe.Kind{probe.Read, probe.Login} {
		var failing bool
		for _, p := range w.Probes {
			if p.Probe != string(kind) || !p.At.Before(w.Start) {
				continue
			}
			if p.ok() && failing {
				from = latest(from, p.At)
			}
			failing = !p.ok()
		}
	}
	for _, ready := range w.Log {
		if ready.Kind != serverlog.Ready && ready.Kind != serverlog.ReadyReadOnly || !ready.At.Before(w.Start) {
			continue
		}
		begunAnew := slices.ContainsFunc(w.Log, func(e serverlog.Event) bool {
			return slices.Contains(begins, e.Kind) && e.At.After(ready.At) && (w.End.IsZero() || !e.At.After(w.End.Add(trail)))
		})
		well := slices.ContainsFunc(w.Probes, func(p Probe) bool {
			return p.ok() && p.isOfReaders() && !p.At.Before(ready.At.Add(clockSlack)) && p.At.Before(w.Start)
		})
		if begunAnew || well {
			from = latest(from, ready.At.Add(1)) // what comes behind that line
		}
	}
	return from
}

// nearTo is until when. The end must be known.
func (w *Window) nearTo() time.Time {
	to, well := w.End.Add(trail), w.End
	for _, p := range w.Probes {
		switch {
		case !p.isOfReaders() || p.At.Before(w.End):
		case p.ok():
			well = latest(well, p.At)
		case p.At.After(w.End):
			if well.Before(to) {
				return well
			}
			return to
		}
	}
	return to
}

func (p Probe) ok() bool { return p.Reason == string(postgres.OK) }

// isOfReaders is whether it is of the probes that make an outage.
func (p Probe) isOfReaders() bool {
	return p.Probe == string(probe.Read) || p.Probe == string(probe.Login)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
