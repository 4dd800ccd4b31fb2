package probe

import (
	"context"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

const firstLoginRetry = time.Second

// login is the login probe. While reads have no connection it rests: their dial is a login, and its result
// counts as one. While reads work and logins fail, it tries again after 1, 2, 4 s, up to its interval.
type login struct {
	p         *Prober
	connector connector

	busy    *attempt
	limit   *deadline
	overdue bool // the attempt in flight is reported as timed out
	again   bool // the attempt in flight was made because one before came too late
	turn    int  // counts plans, so that an old one's timer is known as such
	wait    time.Duration
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
	l.plan(l.p.o.LoginInterval)
}

func (l *login) failed() {
	l.wait = min(max(2*l.wait, firstLoginRetry), l.p.o.LoginInterval)
	l.plan(l.wait)
}

func (l *login) plan(d time.Duration) {
	l.turn++
	turn := l.turn
	l.p.loop.after(d, func() {
		if l.turn == turn && l.busy == nil && l.p.reader.session != nil {
			l.try()
		}
	})
}

func (l *login) try() {
	l.overdue = false
	l.launch()
	began := l.busy.started
	l.limit = l.p.loop.deadline(l.p.o.LoginTimeout, func() bool { return l.busy.wire.Unread() }, func() {
		l.overdue = true
		l.report(Outcome{Started: began, Reason: postgres.Timeout, Error: "no answer within " + l.p.o.LoginTimeout.String()})
	})
}

func (l *login) launch() {
	l.busy = launch(l.p.loop, max(patience, l.p.o.LoginTimeout),
		func(ctx context.Context) dialed {
			s, err := l.connector.Connect(ctx)
			if err == nil {
				s.Close()
			}
			return dialed{session: s, err: err}
		},
		l.finished, func(dialed) {})
}

func (l *login) finished(d dialed) {
	began, late, reason := l.busy.started, l.overdue, l.busy.reason(d.err)
	if !late && l.busy.early(reason, l.p.o.LoginTimeout) {
		l.launch() // within the same limit
		return
	}
	l.busy = nil
	l.limit.stop()
	switch {
	case reason == postgres.OK && !late:
		l.p.metrics.phases(Login, d.session.Phases())
		l.succeeded()
		l.report(Outcome{Started: began, Reason: reason, Certificate: d.session.Certificate()})
	case reason == postgres.OK && !l.again:
		// The server is awake again, perhaps: the next login tells.
		l.again = true
		l.try()
	case late:
		l.again = false
		l.failed() // reported as timed out; the next login tells more
	default:
		l.again = false
		l.failed()
		l.report(Outcome{Started: began, Reason: reason, Error: d.err.Error()})
	}
}

func (l *login) report(o Outcome) {
	o.Kind, o.Ended = Login, time.Now()
	l.p.report(o)
}
