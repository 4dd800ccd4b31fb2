package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pg-reliability/pg_reliability_exporter/internal/quiet"
)

const (
	// lateWindows is how often the wait for a sign of life begins anew because this process was late, before it is called late all the same.
	lateWindows = 10
	// sign asks for a sign of life: a Sync, which the server's process answers without running a statement or taking a snapshot.
	sign = "S\x00\x00\x00\x04"
	// lives is the answer outside of a transaction: ReadyForQuery.
	lives = "Z\x00\x00\x00\x05I"
)

// Signs are the signs of life that Attend asks a server for. The zero value asks for none.
type Signs struct {
	// Next is when to ask again, from a moment on.
	Next func(now time.Time) time.Time
	// Patience is how long an answer may take before it is late.
	Patience func() time.Duration
	// Late is called once of an answer that is late, with the moment it was asked for, put off by what this process was late by itself. It
	// is called from another goroutine, and the answer is waited for afterwards.
	Late func(asked time.Time)
	// Came takes how long an answer took, and whether Late was called of it.
	Came func(took time.Duration, late bool)
}

// rest is the part of a session that waits while nothing is asked. Wake and GiveUp are safe for concurrent use, the others are the
// session's user's. Signs of life are asked for where their time comes, without waking who waits for the answer: a process that is woken
// four times a second pays for little else.
type rest struct {
	clock *quiet.Clock // nil is Go's
	bytes [64]byte     // what was read; what is more than a sign of life is the driver's

	mu      sync.Mutex
	signs   Signs
	waiting bool
	woken   bool
	givenUp bool
	cut     bool         // the wait is being ended
	alarm   *quiet.Timer // one for the session's whole life; nil before it is needed
	due     time.Time    // what the alarm is set to

	asked    time.Time // the sign of life that is awaited; zero while there is none
	begun    time.Time // the wait for it, anew where this process was late
	patience time.Duration
	slept    time.Duration
	window   int
	told     chan struct{} // Late is called, and this closed then
	failed   error         // it could not be asked for
}

// KeepTime has Attend keep time by a clock that is cheaper than Go's timers. It is called before it.
func (s *Session) KeepTime(c *quiet.Clock) { s.rest.clock = c }

// Attend reads what comes while nothing is asked, until Wake or GiveUp, and asks for signs of life. Changed settings and notices mean
// nothing; an error is the end of the connection, with what the server said for a farewell.
func (s *Session) Attend(signs Signs) error {
	if !s.rest.begin(s, signs) {
		return nil
	}
	m := meterOf(s.conn)
	m.begin("an idle connection", idleBytes)
	err := s.attend(m)
	if s.rest.end(s) && err == nil { // with an answer still to come
		s.abort()
	}
	return err
}

func (s *Session) attend(m *meter) error {
	r := &s.rest
	plain := m.takeTurn()
	defer func() {
		if plain {
			m.giveTurn()
		}
	}()
	for {
		var ready bool
		var err error
		if plain {
			var n int
			n, err = m.read(r.bytes[:])
			ready = err == nil && string(r.bytes[:n]) == lives
			if !ready && (n > 0 || !timedOut(err)) {
				m.giveBack(r.bytes[:n], err) // for the driver, which may then have read more than it tells of: it goes on
				m.giveTurn()
				plain = false
				continue
			}
		} else {
			ready, err = s.receiveUnasked()
		}
		switch {
		case timedOut(err):
			if over, failed := r.over(s); over {
				return failed
			}
		case err != nil:
			return tidy(err)
		case ready:
			over, asked := r.came(s)
			if !asked {
				s.abort()
				return notPostgres("the server sent something that nobody had asked for")
			}
			if over {
				return nil
			}
		}
	}
}

// receiveUnasked reads one message, and says whether it is the answer to a sign of life.
func (s *Session) receiveUnasked() (ready bool, err error) {
	message, err := s.conn.ReceiveMessage(context.Background())
	if err != nil {
		return false, err
	}
	switch message.(type) {
	case *pgproto3.ParameterStatus, *pgproto3.NoticeResponse, *pgproto3.NotificationResponse:
		return false, nil
	case *pgproto3.ReadyForQuery:
		return true, nil
	}
	s.abort()
	return false, notPostgres("the server sent something that nobody had asked for")
}

// Wake ends Attend, or the next one that begins; one that waits for a sign of life ends with that. It is safe for concurrent use.
func (s *Session) Wake() {
	s.rest.mu.Lock()
	defer s.rest.mu.Unlock()
	s.rest.woken = true
	if s.rest.asked.IsZero() {
		s.rest.stop(s)
	}
}

// GiveUp ends Attend at once, and each that begins later: the session is of no use any more. It is safe for concurrent use.
func (s *Session) GiveUp() {
	s.rest.mu.Lock()
	defer s.rest.mu.Unlock()
	s.rest.givenUp = true
	s.rest.stop(s)
}

// stop ends the read that waits, with the lock held.
func (r *rest) stop(s *Session) {
	if r.waiting {
		r.cut = true
		_ = s.conn.Conn().SetReadDeadline(time.Unix(1, 0)) // long past
	}
}

// begin is false where there is nothing to wait for.
func (r *rest) begin(s *Session, signs Signs) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.woken || r.givenUp {
		r.woken = false
		return false
	}
	r.waiting, r.signs = true, signs
	r.plan(s)
	return true
}

// end says whether an answer is still to come.
func (r *rest) end(s *Session) (awaited bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	awaited = !r.asked.IsZero()
	r.waiting, r.woken, r.asked, r.told = false, false, time.Time{}, nil
	if r.alarm != nil {
		r.alarm.Stop()
	}
	if r.cut {
		r.cut = false
		_ = s.conn.Conn().SetReadDeadline(time.Time{})
	}
	return awaited
}

// over is whether a read that was ended is the end of the wait.
func (r *rest) over(s *Session) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed != nil {
		s.abort()
		return true, tidy(r.failed)
	}
	return r.givenUp || r.woken && r.asked.IsZero(), nil
}

// plan sets the alarm to the next sign of life, with the lock held.
func (r *rest) plan(s *Session) {
	if r.signs.Next != nil {
		now := time.Now()
		r.set(s, r.signs.Next(now).Sub(now))
	}
}

// set sets the alarm, with the lock held.
func (r *rest) set(s *Session, d time.Duration) {
	r.due = time.Now().Add(d)
	if r.alarm == nil {
		r.alarm = r.clock.AfterFunc(d, func() { r.alarmed(s) })
		return
	}
	r.alarm.Reset(d)
}

// alarmed asks for a sign of life, or finds that one is late.
func (r *rest) alarmed(s *Session) {
	r.mu.Lock()
	now := time.Now()
	switch {
	case !r.waiting || r.givenUp || r.told != nil || now.Before(r.due): // it was set anew while it went off
	case !r.asked.IsZero():
		r.late(s, now)
		return
	case !r.woken:
		r.ask(s, now)
		return
	}
	r.mu.Unlock()
}

// ask is called with the lock held, and gives it back: nobody waits for a connection that does not take five bytes.
func (r *rest) ask(s *Session, now time.Time) {
	r.asked, r.begun, r.slept, r.window, r.patience = now, now, 0, 1, r.signs.Patience()
	r.set(s, r.patience)
	r.mu.Unlock()
	if _, err := s.conn.Conn().Write([]byte(sign)); err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.failed = err
		r.stop(s)
	}
}

// late is called with the lock held, and gives it back.
func (r *rest) late(s *Session, now time.Time) {
	by := now.Sub(r.begun) - r.patience
	r.slept += by
	if r.window < lateWindows && (by > r.patience/2 || unread(s.conn.Conn())) {
		r.window++
		r.begun = time.Now()
		r.set(s, r.patience)
		r.mu.Unlock()
		return
	}
	told, asked, tell := make(chan struct{}), r.asked.Add(r.slept), r.signs.Late
	r.told = told
	r.mu.Unlock()
	defer close(told)
	tell(asked)
}

// came takes the answer to a sign of life; over is whether that ends the wait.
func (r *rest) came(s *Session) (over, asked bool) {
	r.mu.Lock()
	if r.asked.IsZero() {
		r.mu.Unlock()
		return false, false
	}
	took, told, signs := time.Since(r.asked), r.told, r.signs
	r.asked, r.told = time.Time{}, nil
	if over = r.woken || r.givenUp; !over {
		r.plan(s)
	}
	r.mu.Unlock()
	if told != nil {
		<-told // that it is late is told before that it came
	}
	signs.Came(took, told != nil)
	return over, true
}

func timedOut(err error) bool { return err != nil && pgconn.Timeout(err) }
