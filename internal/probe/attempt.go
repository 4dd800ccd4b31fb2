package probe

import (
	"context"
	"sync"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// patience is how long an attempt that is reported as timed out is left pending. A frozen server that wakes
// up answers it at once; without an end, a half-open connection to a dead host would wait for ever.
const patience = 10 * time.Second

// connector opens sessions: *postgres.Connector.
type connector interface {
	Connect(ctx context.Context) (session, error)
}

// session is what the probes use of a *postgres.Session.
type session interface {
	querier
	Phases() postgres.Phases
	Certificate() postgres.Certificate
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
	abandoned bool
}

// abandon gives an attempt up: its context ends, its result is dropped.
func (a *attempt) abandon() {
	if a != nil {
		a.abandoned = true
		a.cancel()
	}
}

// launch does work in a goroutine and then calls done on the loop, or drop if nobody waits any more.
func launch[T any](l *loop, limit time.Duration, work func(context.Context) T, done, drop func(T)) *attempt {
	ctx, cancel := context.WithTimeout(l.ctx, limit)
	a := &attempt{started: time.Now(), cancel: cancel}
	l.running.Go(func() {
		result := work(ctx)
		cancel()
		posted := l.post(func() {
			if a.abandoned {
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
	events  chan func()
	ended   chan struct{} // closed when no more events are taken
	running sync.WaitGroup
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
	time.AfterFunc(d, func() { l.post(f) })
}
