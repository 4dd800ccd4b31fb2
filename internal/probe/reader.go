package probe

import (
	"context"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// step is what the reader does.
type step int

const (
	// idle: nothing is in flight. With a session, it is watched: its end begins the next probe at once.
	idle step = iota
	// dialling: a new session is asked for, and the probe in flight is not too late yet.
	dialling
	// asking: a query is under way on the session, and not too late yet. One that is gets given up, and the step is overdue.
	asking
	// overdue: the probe in flight is reported as timed out, and with each interval again, while a dial is left pending.
	overdue
)

// reader is the read probe on its kept session. At any time at most one thing is in flight: a query on the
// session, or the one dial for a new session. A probe that has no answer in time is reported as such at once
// and again with each interval, but what is in flight is not multiplied.
type reader struct {
	p         *Prober
	connector connector

	step      step
	session   session // nil while there is none
	interview *interview
	fresh     bool // the session was dialled for the probe in flight
	busy      *attempt
	limit     *deadline
	// started is when the probe in flight began; after each report of a timeout, when that was.
	started time.Time
	// login is the result of this probe's dial, told together with the probe's.
	login *Outcome

	// asked counts queries, so that what comes in on the session is known as an answer or as something else.
	asked int
	// watched is the session that is watched.
	watched session
	// stirred: the probe was begun because something came in. What goes on stirring is asked with the interval alone.
	stirred bool
	// failing is when the newest row of failed dials began; zero while there is none. tries counts them.
	failing time.Time
	tries   int
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
	switch r.step {
	case idle:
		r.stirred = false
		r.begin()
	case overdue:
		r.timedOut()
	}
}

func (r *reader) begin() {
	r.started = time.Now()
	r.tries++
	if r.session != nil {
		r.ask()
	} else {
		r.dial()
	}
}

// within sets the deadline of the step that begins.
func (r *reader) within() {
	r.limit.stop()
	r.limit = r.p.loop.deadline(r.p.o.ReadTimeout, func() bool { return r.busy.wire.Unread() }, r.late)
}

// late reports the timeout. A session that does not answer is given up for the one new dial.
func (r *reader) late() {
	if r.step == asking {
		r.busy.abandon() // closes the connection
		r.session = nil
		r.step = overdue
		r.p.o.OnConnectionLost()
		r.timedOut()
		r.launchDial()
		return
	}
	r.step = overdue
	r.timedOut()
}

func (r *reader) timedOut() {
	now := time.Now()
	o := Outcome{Kind: Read, Started: r.started, Ended: now, Reason: postgres.Timeout, Error: "no answer within " + r.p.o.ReadTimeout.String()}
	r.started = now
	if !r.busy.abandoned && r.busy.age() >= r.p.o.LoginTimeout {
		r.login = &Outcome{
			Kind: Login, Started: r.busy.started, Ended: now, Reason: postgres.Timeout,
			Error: "no answer within " + r.p.o.LoginTimeout.String(),
		}
	}
	r.report(o)
}

func (r *reader) dial() {
	r.step = dialling
	r.launchDial()
	r.within()
}

func (r *reader) launchDial() {
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
	inTime := r.busy.age() < r.p.o.LoginTimeout
	if d.err != nil {
		reason := r.busy.reason(d.err)
		if r.step == overdue && reason == postgres.Timeout && !inTime {
			r.launchDial() // still no answer; the next tick says so
			return
		}
		if r.step == dialling && r.busy.early(reason, r.p.o.ReadTimeout) {
			r.launchDial() // within the same limit
			return
		}
		r.rest()
		r.login = &Outcome{Kind: Login, Started: began, Ended: now, Reason: reason, Error: d.err.Error()}
		r.report(Outcome{Kind: Read, Started: r.started, Ended: now, Reason: reason, Error: d.err.Error()})
		r.retry(reason)
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
	if r.step == overdue {
		r.started = now
	}
	r.ask()
}

const (
	// For the first second of a row of failures the next dial follows soon, and for half a minute not much later: a restart
	// of 0.3 s is an outage of 0.3 s, and the end of a longer one is seen when it is. Afterwards the interval must do.
	soonFor, soon     = time.Second, 50 * time.Millisecond
	fairlyFor, fairly = 30 * time.Second, 200 * time.Millisecond
)

// retry plans the next dial before the interval's.
func (r *reader) retry(reason postgres.Reason) {
	if r.failing.IsZero() {
		r.failing = time.Now()
	}
	wait, tries := soon, r.tries
	switch since := time.Since(r.failing); {
	case !cheap(reason) || !r.p.state.Outages.Reached || since >= fairlyFor:
		return
	case since >= soonFor:
		wait = fairly
	}
	r.p.loop.after(wait, func() {
		if r.step == idle && r.session == nil && r.tries == tries {
			r.begin()
		}
	})
}

// cheap is a failure that costs a server nothing: it is not there, or says that it starts or stops. A password that is
// wrong is not tried 20 times a second.
func cheap(reason postgres.Reason) bool {
	return reason == postgres.Refused || reason == postgres.StartingUp || reason == postgres.ShuttingDown
}

func (r *reader) ask() {
	s, interview := r.session, r.interview
	r.step = asking
	r.asked++
	r.busy = launch(r.p.loop, patience+r.p.o.ReadTimeout,
		func(ctx context.Context) answer {
			start := time.Now()
			server, err := interview.ask(ctx, s)
			return answer{server: server, asked: start, took: time.Since(start), err: err}
		},
		r.answered,
		func(answer) { s.Close() })
	r.within()
}

// rest ends the step.
func (r *reader) rest() {
	r.step, r.busy = idle, nil
	r.limit.stop()
}

func (r *reader) answered(a answer) {
	now := time.Now()
	slept, reason := r.limit.slept(), r.busy.reason(a.err)
	r.rest()
	o := Outcome{Kind: Read, Started: r.started, Ended: now, Reason: postgres.OK, Server: a.server}
	if a.err != nil {
		o.Reason, o.Error, o.Server = reason, a.err.Error(), Server{}
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
		if took := sub(now, a.asked) - slept; took >= r.p.o.StallThreshold {
			o.Stalled = took
		}
		r.p.metrics.phase(Read, phaseQuery, a.took)
		r.failing = time.Time{}
	}
	r.fresh = false
	r.report(o)
	if r.session == nil {
		r.retry(o.Reason)
		return
	}
	if !r.stirred {
		r.watch()
	}
}

// watch begins a probe as soon as something comes in on the idle session: most likely its end.
func (r *reader) watch() {
	if r.watched == r.session {
		return // that of before still waits
	}
	s, asked := r.session, r.asked
	r.watched = s
	s.Watch(func() {
		r.p.loop.post(func() {
			if r.session != s {
				return
			}
			r.watched = nil
			switch {
			case r.step != idle:
				// The end of the probe under way watches again.
			case r.asked != asked:
				r.watch() // it was that probe's answer
			default:
				r.stirred = true
				r.begin()
			}
		})
	})
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
	r.limit.stop()
	if r.session != nil && r.step == idle {
		r.session.Close()
	}
}
