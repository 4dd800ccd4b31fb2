package probe

import (
	"context"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// writer is the write probe: one row per exporter, updated and committed, on a session of its own. A standby
// is not written to. While reads have no connection it does not dial either, and fails with their reason.
type writer struct {
	p         *Prober
	connector connector
	sql       string

	session session // nil while there is none, or while an attempt has it
	busy    *attempt
	limit   *deadline
	overdue bool
	started time.Time
}

// written is the result of an attempt.
type written struct {
	session session
	phases  *postgres.Phases // of a connect, if there was one
	took    time.Duration
	err     error
}

func (w *writer) tick() {
	read, ok := w.p.state.probes[Read]
	switch {
	case w.busy != nil:
		if w.overdue {
			w.timedOut()
		}
	case !ok:
		// Not a word from the server so far.
	case read.Reason == postgres.OK && w.p.state.server.Role == Standby:
		w.p.report(Outcome{Kind: Write, Skipped: true})
	case read.Reason != postgres.OK && w.p.reader.kept == nil:
		now := time.Now()
		w.p.report(Outcome{Kind: Write, Started: now, Ended: now, Reason: read.Reason, Error: read.Error})
	default:
		w.write()
	}
}

// again writes at once where an outage has ended: the failure of the last write is of the outage, and would look like
// one of now until the next tick.
func (w *writer) again() {
	if w.busy == nil {
		w.tick()
	}
}

func (w *writer) write() {
	w.started, w.overdue = time.Now(), false
	s := w.session
	w.session = nil
	a := launch(w.p.loop, max(patience, w.p.o.WriteTimeout),
		func(ctx context.Context) written { return w.beat(ctx, s) },
		w.finished,
		func(r written) {
			if r.session != nil {
				r.session.Close()
			}
		})
	w.busy = a
	w.limit = w.p.loop.deadline(w.p.o.WriteTimeout, a.wire.Unread, func() {
		w.overdue = true
		w.timedOut()
	})
}

// beat writes on the session, or on a new one when that has gone since the last beat.
func (w *writer) beat(ctx context.Context, s session) (r written) {
	if s != nil {
		start := time.Now()
		err := heartbeat(ctx, s, w.sql)
		if err == nil || !s.Broken() || ctx.Err() != nil {
			return written{session: s, took: time.Since(start), err: err}
		}
		s.Close()
	}
	s, err := w.connector.Connect(ctx)
	if err != nil {
		return written{err: err}
	}
	phases, start := s.Phases(), time.Now()
	err = heartbeat(ctx, s, w.sql)
	return written{session: s, phases: &phases, took: time.Since(start), err: err}
}

func (w *writer) finished(r written) {
	late, reason := w.overdue, w.busy.reason(r.err)
	late = late || w.busy.early(reason, w.p.o.WriteTimeout)
	w.busy = nil
	w.limit.stop()
	if r.session != nil && r.session.Broken() {
		r.session.Close()
		r.session = nil
	}
	w.session = r.session
	if late {
		return // reported as timed out, or not yet; the next write tells more
	}
	if postgres.IsOwn(r.err) {
		w.p.unasked(r.err)
		return
	}
	if r.phases != nil {
		w.p.metrics.phases(Write, *r.phases)
	}
	o := Outcome{Kind: Write, Started: w.started, Ended: time.Now(), Reason: reason}
	if r.err != nil {
		o.Error = r.err.Error()
	} else {
		w.p.metrics.phase(Write, phaseQuery, r.took)
	}
	w.p.report(o)
}

func (w *writer) timedOut() {
	now := time.Now()
	o := Outcome{Kind: Write, Started: w.started, Ended: now, Reason: postgres.Timeout, Error: "no answer within " +
		w.p.o.WriteTimeout.String()}
	w.started = now
	w.p.report(o)
}

// close ends the session.
func (w *writer) close() {
	w.limit.stop()
	if w.session != nil {
		w.session.Close()
	}
}
