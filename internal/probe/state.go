package probe

import (
	"maps"
	"slices"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// Outcome is one probe, as the state takes it in.
type Outcome struct {
	Kind Kind
	// Started and Ended bound the probe; Ended is now.
	Started, Ended time.Time
	Reason         postgres.Reason
	// Error is the text of a failure without secrets.
	Error string
	// Server is what a successful read probe was told.
	Server Server
	// Skew is what such a probe tells of the clocks; nil where the server does not tell its time.
	Skew *Skew
	// Certificate is the server's, as a successful login met it.
	Certificate postgres.Certificate
	// Stalled is how long a read took that was slower than it may be and succeeded in time; 0 for the others.
	Stalled time.Duration
	// Skipped: the probe does not apply now, such as a write on a standby. Its last result is forgotten.
	Skipped bool
}

// odd is what keeps logins frequent.
func (o Outcome) odd() bool { return !o.Skipped && o.Reason != postgres.OK || o.Stalled > 0 }

// state is all the prober knows. What has a JSON name outlives the exporter.
type state struct {
	Identity    identity                  `json:"identity"`
	Container   *container                `json:"container,omitempty"`
	Restarts    map[RestartKind]uint64    `json:"restarts"`
	LastRestart map[RestartKind]time.Time `json:"last_restart"`
	Outages     outages                   `json:"outages"`
	// Stalled are the seconds of reads that were slow, and in time.
	Stalled float64 `json:"stalled_seconds,omitempty"`

	probes map[Kind]Result
	server Server
	skews  skews
	cert   postgres.Certificate
	fit    fitness
	maxAge map[Kind]time.Duration
	// met: the server has answered once, to this process.
	met bool
}

// fitness says whether the database is fit for use: reads and logins work.
type fitness struct {
	reason postgres.Reason
	since  time.Time
	known  bool
}

func newState() *state {
	return &state{
		Restarts: map[RestartKind]uint64{}, LastRestart: map[RestartKind]time.Time{},
		Outages: newOutages(),
		probes:  map[Kind]Result{}, server: Server{ReplayLag: UnknownLag},
		fit: fitness{reason: postgres.Other},
	}
}

// observe folds one probe into the state and names the restarts it reveals. It reads no clock and does no
// I/O, so each story a server can tell is one row in state_test.go.
func (s *state) observe(o Outcome) []RestartKind {
	if o.Skipped {
		delete(s.probes, o.Kind)
		return nil
	}
	s.probes[o.Kind] = s.probes[o.Kind].next(o)
	if o.Kind != Write {
		s.judge(o)
	}
	s.Stalled += o.Stalled.Seconds()
	if o.Kind == Login && o.Reason == postgres.OK {
		s.cert = o.Certificate
	}
	if o.Kind == Read && o.Reason == postgres.OK {
		return s.meet(o)
	}
	return nil
}

func (r Result) next(o Outcome) Result {
	n := Result{At: o.Ended, Reason: o.Reason, Since: r.Since, Error: o.Error, Latency: sub(o.Ended, o.Started)}
	if r.At.IsZero() || r.Reason != o.Reason {
		n.Since = since(o)
	}
	return n
}

// since is when what a probe found began to hold: a failure with the probe that met it, a success when it was seen.
func since(o Outcome) time.Time {
	if o.Reason == postgres.OK {
		return o.Ended
	}
	return o.Started
}

// judge decides whether the database is fit for use, and keeps the books of its outages.
func (s *state) judge(o Outcome) {
	read, login := s.probes[Read], s.probes[Login]
	reason := read.Reason
	if reason == postgres.OK && !login.At.IsZero() {
		reason = login.Reason
	}
	if read.At.IsZero() {
		reason = login.Reason
	}
	if s.fit.since.IsZero() || reason != s.fit.reason {
		s.fit.reason, s.fit.since = reason, since(o)
	}
	s.fit.known = reason != postgres.OK || !read.At.IsZero() && !login.At.IsZero()
	began := s.Outages.start()
	s.Outages.observe(reason, o)
	if now := s.Outages.start(); !now.IsZero() && !now.Equal(began) {
		s.Outages.explain(Container, s.LastRestart[Container]) // the engine may have told of it first
	}
}

// meet compares the server with the one that answered before.
func (s *state) meet(o Outcome) []RestartKind {
	is := identityOf(o.Server)
	kinds := s.Identity.changes(is)
	for _, k := range kinds {
		s.Restarts[k]++
		s.LastRestart[k] = is.at(k, o.Ended)
		s.Outages.explain(k, o.Ended) // by the prober's own clock: the answer that tells of it ends the outage
	}
	s.Identity = s.Identity.merge(is)
	if slices.Contains(kinds, Failover) {
		s.skews = nil // of another server's clock
	}
	if o.Skew != nil {
		s.skews = s.skews.add(*o.Skew)
	}
	s.server, s.met = o.Server, true
	return kinds
}

// snapshot copies what others may see.
func (s *state) snapshot() Snapshot {
	return Snapshot{
		Probes: maps.Clone(s.probes), MaxAge: s.maxAge, Reached: s.Outages.Reached,
		Reason: s.fit.reason, Known: s.fit.known, Since: s.fit.since,
		OutageStart: s.Outages.start(), Server: s.server,
		Outages: s.Outages.total(), Downtime: s.Outages.downtime(), LongestOutage: seconds(s.Outages.Longest),
		Stalled:         seconds(s.Stalled),
		LastOutageStart: s.Outages.LastStart, LastOutageEnd: s.Outages.LastEnd,
		Restarts: maps.Clone(s.Restarts), LastRestart: maps.Clone(s.LastRestart),
	}
}

// sub is the time from one moment to another, by the monotonic clock where both have it; never negative,
// because the system's clock may step back between two runs of the exporter.
func sub(to, from time.Time) time.Duration { return max(0, to.Sub(from)) }

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
