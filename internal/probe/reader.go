package probe

import (
	"context"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// step is what the reader does.
type step int

const (
	// idle: nothing is in flight but perhaps a sign of life. The session's end begins the next probe at once.
	idle step = iota
	// dialling: a new session is asked for, and the probe in flight is not too late yet.
	dialling
	// asking: a query is under way on the session, or a sign of life that takes long, and not too late yet. One that is gets given
	// up, and the step is overdue.
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

	step  step
	kept  *kept // nil while there is no session
	fresh bool  // the session was dialled for the probe in flight
	dials *attempt
	trip  time.Duration // what an answer takes of late, at the least
	limit *deadline
	// started is when the probe in flight began; after each report of a timeout, when that was.
	started time.Time
	// since is when the server was first asked for the answer that is awaited.
	since time.Time
	// missed is when the server stopped answering, if it did before then.
	missed time.Time
	// pulsed: what is awaited is a sign of life, and the query follows it.
	pulsed bool
	// lost is why the session ended on which the probe in flight began; empty while that session lives. slept is what this process was
	// late by until the new one was there.
	lost  postgres.Reason
	slept time.Duration
	// login is the result of this probe's dial, told together with the probe's.
	login *Outcome

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
	over   bool // the session is of no use any more
}

// tick begins a probe with each interval.
func (r *reader) tick() {
	switch r.step {
	case idle:
		r.begin()
	case overdue:
		r.timedOut()
	}
}

func (r *reader) begin() {
	r.started, r.lost, r.slept = time.Now(), "", 0
	r.tries++
	if r.kept != nil {
		r.ask()
	} else {
		r.dial()
	}
}

// within sets the deadline of the step that begins.
func (r *reader) within() {
	r.limit.stop()
	r.limit = r.p.loop.deadline(r.p.o.ReadTimeout, func() bool {
		if r.step == asking {
			return r.kept.wire.Unread()
		}
		return r.dials.wire.Unread()
	}, r.late)
	r.limit.each = r.look
}

// look has the server dialled beside a query or sign of life that the network seems to have lost: what is lost is sent again ever
// later, and a new connection tells at once that the network is whole.
func (r *reader) look() {
	if r.step == asking && r.dials == nil && r.kept.wire.Unacked() {
		r.launchDial()
	}
}

// late reports the timeout. A session that does not answer is given up for the one new dial.
func (r *reader) late() {
	if r.step == asking {
		if r.missed.Before(r.started) {
			r.started = r.missed
		}
		r.kept.end()
		r.kept, r.step = nil, overdue
		r.p.o.OnConnectionLost()
		r.timedOut()
		if r.dials == nil {
			r.launchDial()
		}
		return
	}
	r.step = overdue
	r.timedOut()
}

func (r *reader) timedOut() {
	now := time.Now()
	o := Outcome{Kind: Read, Started: r.started, Ended: now, Reason: postgres.Timeout, Error: "no answer within " + r.p.o.ReadTimeout.String()}
	if !r.p.state.Outages.Reached {
		o.Error += r.dials.neverReached()
	}
	r.started = now
	if r.dials != nil && r.dials.age() >= r.p.login.timeout() {
		r.login = &Outcome{
			Kind: Login, Started: r.dials.started, Ended: now, Reason: postgres.Timeout,
			Error: "no answer within " + r.p.login.timeout().String(),
		}
	}
	r.report(o)
}

func (r *reader) dial() {
	r.step = dialling
	r.dials.abandon()
	r.launchDial()
	r.within()
}

func (r *reader) launchDial() {
	again := func(ctx context.Context) context.Context { return ctx }
	if start := r.p.state.Outages.start(); r.p.state.Outages.Reached && (start.IsZero() || time.Since(start) < fairlyFor) {
		again = func(ctx context.Context) context.Context { return postgres.WithRedial(ctx, redial) }
	}
	r.dials = launch(r.p.loop, max(patience, r.p.o.ReadTimeout, r.p.o.LoginTimeout),
		func(ctx context.Context) dialed {
			s, err := r.connector.Connect(again(ctx))
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
	began := r.dials.started
	inTime := r.dials.age() < r.p.login.timeout()
	if r.step == asking {
		r.replace(d, inTime)
		return
	}
	if postgres.IsOwn(d.err) { // the next tick asks again
		r.rest()
		r.login = nil
		r.p.unasked(d.err)
		return
	}
	if d.err != nil {
		reason := r.dials.reason(d.err)
		if r.step == overdue && reason == postgres.Timeout && !inTime {
			r.launchDial() // still no answer; the next tick says so
			return
		}
		if r.step == dialling && r.dials.early(reason, r.p.o.ReadTimeout) {
			r.launchDial() // within the same limit
			return
		}
		r.rest()
		r.login = &Outcome{Kind: Login, Started: began, Ended: now, Reason: reason, Error: d.err.Error()}
		r.report(Outcome{Kind: Read, Started: r.started, Ended: now, Reason: reason, Error: d.err.Error()})
		r.retry(reason)
		return
	}
	r.take(d.session, inTime)
	if r.step == overdue {
		r.started = now
	}
	r.ask()
}

// take begins with a session that was dialled.
func (r *reader) take(s session, inTime bool) {
	r.kept, r.fresh = r.keep(s, r.dials.wire), true
	if inTime {
		r.login = &Outcome{Kind: Login, Started: r.dials.started, Ended: time.Now(), Reason: postgres.OK, Certificate: s.Certificate()}
		r.p.metrics.phases(Login, s.Phases())
	} else {
		// Too late to count as a login. The server is awake now: ask it for another.
		r.p.login.soon()
	}
	r.dials = nil
}

// replace takes a dial made beside a session that the network seemed to have lost: the probe goes on where the server answers. A dial
// that failed is made again as long as that session does not answer.
func (r *reader) replace(d dialed, inTime bool) {
	if d.err != nil {
		r.dials = nil
		return
	}
	r.kept.end()
	r.p.o.OnConnectionLost()
	r.take(d.session, inTime)
	r.pulsed = false
	r.kept.ask()
}

const (
	// For the first second of a row of failures the next dial follows soon, and for half a minute not much later: a restart
	// of 0.3 s is an outage of 0.3 s, and the end of a longer one is seen when it is. Afterwards the interval must do.
	soonFor, soon = time.Second, 50 * time.Millisecond
	// redial is how often a network that swallows everything is asked for a connection in that half minute.
	redial            = 100 * time.Millisecond
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
		if r.step == idle && r.kept == nil && r.tries == tries {
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
	r.step, r.since, r.pulsed = asking, time.Now(), false
	r.missed = r.kept.missed(r.since)
	if r.lost != "" { // nobody was served from then on
		r.since, r.missed, r.slept = r.started, r.started, r.limit.slept()
	}
	r.kept.ask()
	r.within()
}

// hangUp ends the sessions of ours: a server that was told to stop once everybody has left (a smart shutdown) serves those that it has for
// as long as they stay, and lets nobody in.
func (r *reader) hangUp() {
	if r.kept == nil || r.step != idle {
		return // the next login tells it again
	}
	r.kept.end()
	r.kept = nil
	if w := r.p.writer; w != nil && w.session != nil {
		w.session.Close()
		w.session = nil
	}
	r.p.o.OnConnectionLost()
}

// rest ends the step.
func (r *reader) rest() {
	r.dials.abandon()
	r.step, r.dials = idle, nil
	r.limit.stop()
}

func (r *reader) answered(a answer) {
	now, slept := time.Now(), r.slept+r.limit.slept()
	if r.rest(); a.err == nil { // what this process slept through is no latency of the server's
		r.started = r.started.Add(min(slept, sub(now, r.started)))
		a.took -= min(slept, a.took)
	}
	o := Outcome{Kind: Read, Started: r.started, Ended: now, Reason: postgres.OK, Server: a.server}
	if a.err != nil {
		o.Reason, o.Error, o.Server = postgres.ReasonOf(a.err), a.err.Error(), Server{}
	}
	if a.over {
		r.kept = nil
		if a.err != nil && !r.fresh {
			r.redial(o.Reason)
			return
		}
	}
	if a.err == nil {
		if !a.server.Clock.IsZero() {
			skew := skewOf(a.server.Clock, a.asked, a.took)
			o.Skew = &skew
		}
		o.Stalled = r.stalled(now, slept)
		o = r.restarted(o)
		if r.kept != nil {
			r.trip = time.Duration(r.kept.trip.Load())
		}
		r.p.metrics.phase(Read, phaseQuery, a.took)
		r.failing = time.Time{}
	}
	r.fresh = false
	r.report(o)
	if r.kept == nil {
		r.retry(o.Reason)
	}
}

// stalled is how long the server stood still, of a read that succeeds in time: nothing while its answer took no longer than the
// threshold on top of the way, and from between the last sign of life and the first one missed otherwise.
func (r *reader) stalled(now time.Time, slept time.Duration) time.Duration {
	if r.kept == nil {
		return 0
	}
	way := time.Duration(r.kept.trip.Load())
	if r.lost != "" {
		way += loginTrips * min(r.trip, time.Second)
	}
	if sub(now, r.since)-slept < r.p.o.StallThreshold+way {
		return 0
	}
	return sub(now, r.missed) - slept
}

// restarted takes a read that was slow because its session ended, and whose answer tells that the server has started since: that was
// no slow read, but an outage, even if no dial was turned down.
func (r *reader) restarted(o Outcome) Outcome {
	if r.lost == "" || o.Stalled == 0 || !r.p.state.Identity.began(identityOf(o.Server)) {
		return o
	}
	r.p.report(Outcome{Kind: Read, Started: r.started, Ended: o.Ended, Reason: r.lost, Error: "the connection was cut, and a new one took " +
		o.Stalled.Round(time.Millisecond).String()})
	o.Stalled = 0
	return o
}

// redial goes on with the probe on a new session, the old one having ended for a reason: a server that is back already was not down,
// what counts is whether it takes us now, and how long that takes.
func (r *reader) redial(reason postgres.Reason) {
	r.p.login.unsettle()
	r.p.o.OnConnectionLost()
	r.lost = reason
	r.dial()
}

// broke takes the end of the session while nothing was asked but a sign of life.
func (r *reader) broke(err error) {
	r.kept = nil
	if r.step == idle {
		r.started = time.Now()
		r.tries++
	}
	reason := postgres.ReasonOf(err)
	if reason == postgres.OK { // it ended without a word
		reason = postgres.Refused
	}
	r.redial(reason)
}

// hangs takes a sign of life that does not come: the probe that is due, and has begun already, is the one that finds out.
func (r *reader) hangs(since time.Time) {
	if r.step == idle {
		r.step, r.started, r.since, r.pulsed = asking, since, since, true
		r.tries++
		r.within()
	} else if since.Before(r.since) {
		r.since = since
	}
	r.missed = r.kept.missed(r.since)
	r.look()
}

// woke takes a sign of life that came late: the query follows, and what both took counts.
func (r *reader) woke() {
	if r.pulsed {
		r.pulsed = false
		r.kept.ask()
	}
}

// report tells the probe's result, and the login's where the probe was one.
func (r *reader) report(o Outcome) {
	r.lost, r.slept = "", 0
	outcomes := []Outcome{o}
	if r.login != nil {
		r.p.login.learn(r.login.Reason)
		outcomes = append(outcomes, *r.login)
		r.login = nil
	}
	r.p.report(outcomes...)
}

// close ends what is planned; the session ends with the loop.
func (r *reader) close() { r.limit.stop() }
