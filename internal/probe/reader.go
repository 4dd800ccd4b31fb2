package probe

import (
	"context"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// reader is the read probe on its kept session. At any time at most one thing is in flight: a query on the
// session, or the one dial for a new session. A probe that has no answer in time is reported as such at once
// and again with each interval, but what is in flight is not multiplied.
type reader struct {
	p         *Prober
	connector connector

	session   session // nil while there is none
	interview *interview
	fresh     bool // the session was dialled for the probe in flight
	busy      *attempt
	dialing   bool
	// started is when the probe in flight began; after each report of a timeout, when that was.
	started time.Time
	overdue bool // the probe in flight is reported as timed out
	turn    int  // counts deadlines, so that an old one's timer is known as such
	// login is the result of this probe's dial, told together with the probe's.
	login *Outcome
}

// dialed is the result of a dial.
type dialed struct {
	session session
	err     error
}

// answer is the result of a query.
type answer struct {
	server Server
	asked  time.Time
	took   time.Duration
	err    error
}

// tick begins a probe with each interval.
func (r *reader) tick() {
	switch {
	case r.busy == nil:
		r.started, r.overdue = time.Now(), false
		r.limit()
		if r.session != nil {
			r.ask()
		} else {
			r.dial()
		}
	case r.overdue:
		r.timedOut()
	}
}

// limit sets the deadline of the step that begins.
func (r *reader) limit() {
	r.turn++
	turn := r.turn
	r.p.loop.after(r.p.o.ReadTimeout, func() {
		if r.turn == turn && r.busy != nil && !r.overdue {
			r.late()
		}
	})
}

// late reports the timeout. A session that does not answer is given up for the one new dial.
func (r *reader) late() {
	r.overdue = true
	if !r.dialing {
		r.busy.abandon() // closes the connection
		r.session = nil
		r.p.o.OnConnectionLost()
		r.timedOut()
		r.dial()
		return
	}
	r.timedOut()
}

func (r *reader) timedOut() {
	now := time.Now()
	o := Outcome{Kind: Read, Started: r.started, Ended: now, Reason: postgres.Timeout, Error: "no answer within " + r.p.o.ReadTimeout.String()}
	r.started = now
	if r.dialing && r.busy != nil && now.Sub(r.busy.started) >= r.p.o.LoginTimeout {
		r.login = &Outcome{
			Kind: Login, Started: r.busy.started, Ended: now, Reason: postgres.Timeout,
			Error: "no answer within " + r.p.o.LoginTimeout.String(),
		}
	}
	r.report(o)
}

func (r *reader) dial() {
	r.dialing = true
	r.busy = launch(r.p.loop, max(patience, r.p.o.ReadTimeout, r.p.o.LoginTimeout),
		func(ctx context.Context) dialed {
			s, err := r.connector.Connect(ctx)
			return dialed{session: s, err: err}
		},
		r.dialed,
		func(d dialed) {
			if d.session != nil {
				d.session.Close()
			}
		})
}

func (r *reader) dialed(d dialed) {
	now := time.Now()
	began := r.busy.started
	inTime := now.Sub(began) < r.p.o.LoginTimeout
	r.busy, r.dialing = nil, false
	if d.err != nil {
		reason := postgres.ReasonOf(d.err)
		if r.overdue && reason == postgres.Timeout && !inTime {
			r.dial() // still no answer; the next tick says so
			return
		}
		r.login = &Outcome{Kind: Login, Started: began, Ended: now, Reason: reason, Error: d.err.Error()}
		r.report(Outcome{Kind: Read, Started: r.started, Ended: now, Reason: reason, Error: d.err.Error()})
		return
	}
	r.session, r.interview, r.fresh = d.session, newInterview(), true
	if inTime {
		r.login = &Outcome{Kind: Login, Started: began, Ended: now, Reason: postgres.OK, Certificate: d.session.Certificate()}
		r.p.metrics.phases(Login, d.session.Phases())
	} else {
		// Too late to count as a login. The server is awake now: ask it for another.
		r.p.login.soon()
	}
	if r.overdue {
		r.started, r.overdue = now, false
	}
	r.limit()
	r.ask()
}

func (r *reader) ask() {
	s, interview := r.session, r.interview
	r.busy = launch(r.p.loop, patience+r.p.o.ReadTimeout,
		func(ctx context.Context) answer {
			start := time.Now()
			server, err := interview.ask(ctx, s)
			return answer{server: server, asked: start, took: time.Since(start), err: err}
		},
		r.answered,
		func(answer) { s.Close() })
}

func (r *reader) answered(a answer) {
	now := time.Now()
	r.busy = nil
	o := Outcome{Kind: Read, Started: r.started, Ended: now, Reason: postgres.OK, Server: a.server}
	if a.err != nil {
		o.Reason, o.Error, o.Server = postgres.ReasonOf(a.err), a.err.Error(), Server{}
	}
	if a.err != nil && r.session.Broken() {
		fresh := r.fresh
		r.session.Close()
		r.session = nil
		if !fresh {
			// A server that is back already was not down: what counts is whether it takes us now.
			r.p.o.OnConnectionLost()
			r.dial()
			return
		}
	}
	if a.err == nil {
		if !a.server.Clock.IsZero() {
			skew := skewOf(a.server.Clock, a.asked, a.took)
			o.Skew = &skew
		}
		r.p.metrics.phase(Read, phaseQuery, a.took)
	}
	r.fresh = false
	r.report(o)
}

// report tells the probe's result, and the login's where the probe was one.
func (r *reader) report(o Outcome) {
	outcomes := []Outcome{o}
	if r.login != nil {
		r.p.login.learn(r.login.Reason)
		outcomes = append(outcomes, *r.login)
		r.login = nil
	}
	r.p.report(outcomes...)
}

// close ends the session.
func (r *reader) close() {
	if r.session != nil && r.busy == nil {
		r.session.Close()
	}
}
