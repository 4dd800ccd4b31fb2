package probe

import (
	"context"
	"sync"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/quiet"
)

// patience is how long an attempt that is reported as timed out is left pending. A frozen server that wakes
// up answers it at once; without an end, a half-open connection to a dead host would wait for ever.
const patience = 10 * time.Second

// connector opens sessions: *postgres.Connector.
type connector interface {
	Connect(ctx context.Context) (session, error)
	Login(ctx context.Context) (postgres.Login, error)
}

// session is what the probes use of a *postgres.Session.
type session interface {
	querier
	QueryWith(ctx context.Context, sql string, more postgres.Statement, answered func(rows [][]*string, err error)) ([][]*string, error)
	Pipeline(ctx context.Context, statements []postgres.Statement, row postgres.RowFunc) ([]postgres.Outcome, error)
	// Pooled says whether a pooler in transaction mode stands in between.
	Pooled() bool
	Phases() postgres.Phases
	Certificate() postgres.Certificate
	// Attend, Wake and GiveUp are what the kept session does between queries, by the clock that KeepTime names.
	KeepTime(c *quiet.Clock)
	Attend(signs postgres.Signs) error
	Wake()
	GiveUp()
	Close()
}

// server adapts a *postgres.Connector, so that a failed Connect gives a nil session.
type server struct{ *postgres.Connector }

func (s server) Connect(ctx context.Context) (session, error) {
	sess, err := s.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return sess, nil
}

// attempt is one thing in flight: a dial, a query, a write. It belongs to the loop's goroutine.
type attempt struct {
	started   time.Time
	cancel    context.CancelFunc
	limit     *deadline
	wire      *postgres.Wire
	abandoned bool
	expired   bool // its limit has passed
}

// reason of a result. One that our own limit cut had no answer in time, whatever the network's error says.
func (a *attempt) reason(err error) postgres.Reason {
	if err != nil && a.expired {
		return postgres.Timeout
	}
	return postgres.ReasonOf(err)
}

// early is whether a failure is another clock's, such as the driver's, that has waited as long as the limit, but does not know
// how much of that time this process had no CPU: it says nothing of the server while the limit has not passed.
func (a *attempt) early(reason postgres.Reason, limit time.Duration) bool {
	return reason == postgres.Timeout && sub(time.Now(), a.started) >= limit
}

// abandon gives an attempt up: its context ends, its result is dropped.
func (a *attempt) abandon() {
	if a != nil {
		a.abandoned = true
		a.limit.stop()
		a.cancel()
	}
}

// neverReached is what to do where a server was never reached, and an attempt to connect gets no answer.
func (a *attempt) neverReached() string {
	if a == nil {
		return ""
	}
	if a.wire.Connected() {
		return ". HINT: Something takes connections there and says nothing: look whether it is a PostgreSQL server, " +
			"or another program at that port"
	}
	return ". HINT: Nothing answers at that address: compare it with the server's, and look for a firewall between"
}

// age is how long it has been under way, without what does not count of it, as deadline has it.
func (a *attempt) age() time.Duration { return sub(time.Now(), a.started) - a.limit.slept() }

// launch does work in a goroutine and then calls done on the loop, or drop if nobody waits any more. It is called on the loop.
func launch[T any](l *loop, limit time.Duration, work func(context.Context) T, done, drop func(T)) *attempt {
	ctx, cancel := context.WithCancel(l.ctx)
	a := &attempt{started: time.Now(), cancel: cancel, wire: &postgres.Wire{}}
	a.limit = l.deadline(limit, nil, func() {
		a.expired = true
		cancel()
	})
	ctx = postgres.WithWire(ctx, a.wire)
	l.running.Go(func() {
		result := work(ctx)
		cancel()
		posted := l.post(func() {
			a.limit.stop()
			if a.abandoned || l.ctx.Err() != nil { // what our own end cut is no failure
				drop(result)
				return
			}
			done(result)
		})
		if !posted {
			drop(result)
		}
	})
	return a
}

// loop runs everything that touches the prober's state on one goroutine.
type loop struct {
	ctx     context.Context
	clock   *quiet.Clock // nil is Go's timers
	events  chan func()
	ended   chan struct{} // closed when no more events are taken
	running sync.WaitGroup
	// lateness takes by how much something was noticed late.
	lateness func(time.Duration)
}

// post hands f to the loop; false when the loop has ended.
func (l *loop) post(f func()) bool {
	select {
	case l.events <- f:
		return true
	case <-l.ended:
		return false
	}
}

// after calls f on the loop in d.
func (l *loop) after(d time.Duration, f func()) {
	l.clock.AfterFunc(d, func() { l.post(f) })
}
