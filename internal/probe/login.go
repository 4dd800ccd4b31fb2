package probe

import (
	"context"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

const (
	firstLoginRetry = time.Second
	// calmAfter is how long nothing odd may have been seen before logins are asked for less often: they cost a server most of all
	// that a prober does.
	calmAfter = 5 * time.Minute
	// loginTrips is how often a login crosses the network and back: to connect, for TLS (twice), and for SCRAM (three times).
	loginTrips = 6
)

// login is the login probe. While reads have no connection it rests: their dial is a login, and its result
// counts as one. While reads work and logins fail, it tries again after 1, 2, 4 s, up to its interval.
type login struct {
	p         *Prober
	connector connector

	busy    *attempt
	limit   *deadline
	overdue bool // the attempt in flight is reported as timed out
	again   bool // this attempt repeats one whose answer came too late to count
	turn    int  // counts plans, so that an old one's timer is known as such
	wait    time.Duration
	due     time.Time // what is planned
	odd     time.Time // when something odd was seen last
}

// loggedIn is the result of a login.
type loggedIn struct {
	postgres.Login
	err error
}

// learn takes the result of a login that the read probe made.
func (l *login) learn(reason postgres.Reason) {
	l.drop()
	l.again = false
	l.turn++ // what was planned is not needed any more
	if reason == postgres.OK {
		l.succeeded()
	}
}

// soon asks for a login now.
func (l *login) soon() {
	l.drop()
	l.turn++
	l.try()
}

// drop gives up what is in flight.
func (l *login) drop() {
	l.busy.abandon()
	l.busy = nil
	l.limit.stop()
}

func (l *login) succeeded() {
	l.wait, l.again = 0, false
	if time.Since(l.odd) < calmAfter {
		l.plan(l.p.o.LoginInterval)
	} else {
		l.plan(l.p.o.CalmLoginInterval)
	}
}

// unsettle notes that something odd was seen: the next login is not to be far.
func (l *login) unsettle() {
	l.odd = time.Now()
	if l.busy == nil && l.due.After(l.odd.Add(l.p.o.LoginInterval)) {
		l.plan(l.p.o.LoginInterval)
	}
}

// timeout is what a login may take: more where the server is far.
func (l *login) timeout() time.Duration {
	return l.p.o.LoginTimeout + loginTrips*min(l.p.reader.trip, time.Second)
}

func (l *login) failed() {
	l.wait = min(max(2*l.wait, firstLoginRetry), l.p.o.LoginInterval)
	l.plan(l.wait)
}

func (l *login) plan(d time.Duration) {
	l.turn++
	turn := l.turn
	l.due = time.Now().Add(d)
	l.p.loop.after(d, func() {
		if l.turn == turn && l.busy == nil && l.p.reader.kept != nil {
			l.try()
		}
	})
}

func (l *login) try() {
	l.overdue = false
	l.launch()
	began := l.busy.started
	limit := l.timeout()
	l.limit = l.p.loop.deadline(limit, func() bool { return l.busy.wire.Unread() }, func() {
		l.overdue = true
		l.report(Outcome{Started: began, Reason: postgres.Timeout, Error: "no answer within " + limit.String()})
	})
}

func (l *login) launch() {
	l.busy = launch(l.p.loop, max(patience, l.timeout()),
		func(ctx context.Context) loggedIn {
			login, err := l.connector.Login(ctx)
			return loggedIn{login, err}
		},
		l.finished, func(loggedIn) {})
}

func (l *login) finished(d loggedIn) {
	began, late, reason := l.busy.started, l.overdue, l.busy.reason(d.err)
	if !late && l.busy.early(reason, l.timeout()) {
		l.launch() // within the same limit
		return
	}
	l.busy = nil
	l.limit.stop()
	switch {
	case reason == postgres.OK && !late:
		l.p.metrics.phases(Login, d.Phases)
		l.succeeded()
		l.report(Outcome{Started: began, Reason: reason, Certificate: d.Certificate})
	case reason == postgres.OK && !l.again:
		// The server is awake again, perhaps: the next login tells.
		l.again = true
		l.try()
	case postgres.IsOwn(d.err):
		l.again = false
		l.failed()
		l.p.unasked(d.err)
	case late:
		l.again = false
		l.failed() // reported as timed out; the next login tells more
	default:
		l.again = false
		l.failed()
		l.report(Outcome{Started: began, Reason: reason, Error: d.err.Error()})
		if reason == postgres.ShuttingDown || reason == postgres.StartingUp { // the same in another language
			l.p.reader.hangUp()
		}
	}
}

func (l *login) report(o Outcome) {
	o.Kind, o.Ended = Login, time.Now()
	l.p.report(o)
}
