package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
)

const (
	firstBackoff = time.Second
	maxBackoff   = 30 * time.Second
	// backoffJitter spreads the attempts of many exporters over time.
	backoffJitter = 0.2
	// refillAfter is how long the last connection may be lent before another is opened beside it.
	refillAfter = 500 * time.Millisecond
	// openTimeout is when a server that neither takes nor turns down a session is asked anew.
	openTimeout = time.Minute
)

// PoolOptions bound the connections of one exporter on one server.
type PoolOptions struct {
	Connector *Connector
	// Min connections are kept open for scrapes; at least 1.
	Min int
	// Max connections exist at once, those of the prober among them.
	Max int
	// Apart is how many of them are the prober's: the one it keeps, a login, and the write probe's where there is one.
	Apart  int
	Logger log.Logger
}

// Pool keeps connections open in the background, so that who asks for data never waits for a login. One goroutine opens them
// all, one after the other; who asks takes what is there. Each idle connection is waited on, so that its end is noticed at once.
// It reconnects by itself: 1 s, 2 s, 4 s ... 30 s apart, with jitter, for ever.
type Pool struct {
	connector *Connector
	logger    log.Logger
	min, max  int
	end       context.CancelFunc
	kick      chan struct{} // something may be to do for the goroutine that opens
	ended     chan struct{} // it has ended

	mu        sync.Mutex
	idle      []*idleSession // newest last
	lent      int
	changed   chan struct{} // closed, and made anew, when a connection or the reason for its absence is there
	age       int           // Reset makes what is of an earlier age go
	closed    bool
	suspended Reason // OK while dialling is allowed
	wait      *backoff.ExponentialBackOff
	nextDial  time.Time
	emptied   time.Time // when the last idle connection was lent; zero while there is one
	lastErr   error
}

// idleSession is one that nobody uses, and the goroutine that waits on it.
type idleSession struct {
	*Lease
	done chan struct{} // closed when the goroutine has let go of it; err is set then
	err  error
}

// NewPool starts filling the pool in the background and never waits for the server.
func NewPool(o PoolOptions) (*Pool, error) {
	if o.Max <= o.Apart {
		return nil, fmt.Errorf("the pool's upper bound is %d, too few: the prober needs %d connections for itself. HINT: Allow at least %d",
			o.Max, o.Apart, o.Apart+1)
	}
	if o.Min < 1 || o.Min > o.Max {
		return nil, fmt.Errorf("the pool's lower bound is %d. HINT: Choose 1 to the upper bound, %d", o.Min, o.Max)
	}
	p := &Pool{
		connector: o.Connector, logger: o.Logger, max: o.Max - o.Apart, min: min(o.Min, o.Max-o.Apart), suspended: OK,
		kick: make(chan struct{}, 1), ended: make(chan struct{}), changed: make(chan struct{}),
		wait: &backoff.ExponentialBackOff{
			InitialInterval: firstBackoff, RandomizationFactor: backoffJitter, Multiplier: 2, MaxInterval: maxBackoff,
		},
	}
	p.wait.Reset()
	var ctx context.Context
	ctx, p.end = context.WithCancel(context.Background())
	go p.fill(ctx)
	return p, nil
}

// Lease is a session on loan.
type Lease struct {
	*Session
	pool *Pool
	age  int
}

// Release gives the session back; a broken one is replaced in the background.
func (l *Lease) Release() {
	p := l.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lent--
	p.putBack(l)
}

// Acquire lends a session as AcquireIdle does, but waits while one is being opened: for work in the background.
func (p *Pool) Acquire(ctx context.Context) (*Lease, error) { return p.acquire(ctx, true) }

// AcquireIdle lends a session that is open already: for scrapes, for which none is ever opened. While all are lent it waits;
// while there is none it fails at once with the reason.
func (p *Pool) AcquireIdle(ctx context.Context) (*Lease, error) { return p.acquire(ctx, false) }

func (p *Pool) acquire(ctx context.Context, patient bool) (*Lease, error) {
	for {
		lease, changed, err := p.take(patient)
		if lease != nil || err != nil {
			return lease, err
		}
		select {
		case <-ctx.Done():
			return nil, &Failure{Reason: Timeout, Err: errors.New("all connections of the pool are busy")}
		case <-changed:
		}
	}
}

// take lends an idle session, or returns what to wait for, or why there is none.
func (p *Pool) take(patient bool) (*Lease, <-chan struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.idle) > 0 {
		i := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		i.Wake()
		<-i.done
		if i.err != nil {
			p.poke()
			continue
		}
		if p.lent++; len(p.idle) == 0 && p.lent < p.max {
			p.emptied = time.Now()
			p.poke()
		}
		return i.Lease, nil, nil
	}
	opens := patient && !p.closed && p.suspended == OK && (p.lastErr == nil || !time.Now().Before(p.nextDial))
	if p.lent == 0 && !opens {
		return nil, nil, p.whyNone()
	}
	return nil, p.changed, nil
}

// Suspend stops dialling while somebody else knows that it is in vain; Resume starts again at once.
func (p *Pool) Suspend(reason Reason) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.suspended = reason
	p.tell()
}

// Resume ends Suspend and forgets the backoff.
func (p *Pool) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.suspended = OK
	p.nextDial = time.Time{}
	p.wait.Reset()
	p.poke()
}

// Reset closes every connection, those on loan when they come back: after a restart of the server.
func (p *Pool) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.age++
	p.closeIdle()
	p.poke()
}

// Age is how often it was Reset: sessions of one age have seen the same run of the server.
func (p *Pool) Age() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.age
}

// Close ends the pool; it waits for leases to come back.
func (p *Pool) Close() {
	p.end()
	<-p.ended
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.closeIdle()
	p.tell()
	for p.lent > 0 {
		changed := p.changed
		p.mu.Unlock()
		<-changed
		p.mu.Lock()
	}
}

// Open is how many connections wait for work, and how many are lent. One that is being opened is neither.
func (p *Pool) Open() (idle, lent int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle), p.lent
}

// closeIdle, putBack, poke and tell are called with the lock held.
func (p *Pool) closeIdle() {
	for _, i := range p.idle {
		i.Wake()
		<-i.done
		i.Close()
	}
	p.idle = nil
}

// putBack makes a session idle, and has it waited on.
func (p *Pool) putBack(l *Lease) {
	defer p.tell()
	if l.Broken() || l.age != p.age || p.closed {
		l.Close()
		p.poke()
		return
	}
	i := &idleSession{Lease: l, done: make(chan struct{})}
	p.idle = append(p.idle, i)
	p.emptied = time.Time{}
	go func() {
		i.err = l.Attend(Signs{})
		close(i.done)
		if i.err != nil {
			p.gone(i)
		}
	}()
}

// gone takes out a session that ended while it was idle, so that no scrape meets it.
func (p *Pool) gone(i *idleSession) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = slices.DeleteFunc(p.idle, func(o *idleSession) bool { return o == i })
	i.Close()
	p.poke()
}

func (p *Pool) poke() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

func (p *Pool) tell() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// fill opens connections, one at a time, whenever one is missing.
func (p *Pool) fill(ctx context.Context) {
	defer close(p.ended)
	for ctx.Err() == nil {
		due, needed := p.due()
		if needed && due <= 0 {
			p.open(ctx)
			continue
		}
		var timer <-chan time.Time
		if needed {
			timer = time.After(due)
		}
		select {
		case <-ctx.Done():
		case <-p.kick:
		case <-timer:
		}
	}
}

// due is in what time a connection is to be opened; needed is false while none is.
func (p *Pool) due() (in time.Duration, needed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	switch total := len(p.idle) + p.lent; {
	case p.suspended != OK:
		return 0, false
	case total < p.min:
		return p.nextDial.Sub(now), true
	case len(p.idle) == 0 && total < p.max:
		return max(p.nextDial.Sub(now), p.emptied.Add(refillAfter).Sub(now)), true
	}
	return 0, false
}

func (p *Pool) open(ctx context.Context) {
	p.mu.Lock()
	age := p.age
	p.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	session, err := p.connector.Connect(limited)
	if ctx.Err() != nil {
		if session != nil {
			session.Close()
		}
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.connected(err)
	if err != nil {
		p.tell()
		return
	}
	p.putBack(&Lease{Session: session, pool: p, age: age})
}

// connected folds the end of an attempt into the backoff. One line a change, not one a failure.
func (p *Pool) connected(err error) {
	before := ReasonOf(p.lastErr)
	p.lastErr = err
	if err == nil {
		p.wait.Reset()
		p.nextDial = time.Time{}
		if before != OK {
			_ = level.Debug(p.logger).Log("msg", "pool connected again", "after", before)
		}
		return
	}
	pause := p.wait.NextBackOff()
	p.nextDial = time.Now().Add(pause)
	if reason := ReasonOf(err); reason != before { // the prober tells people, once and with the remedy
		_ = level.Debug(p.logger).Log("msg", "pool can't connect", "reason", reason, "retry_in", pause.Round(time.Millisecond), "err", err)
	}
}

// whyNone is the error of one who finds no connection.
func (p *Pool) whyNone() error {
	switch {
	case p.suspended != OK:
		return &Failure{Reason: p.suspended, Err: fmt.Errorf("the server is down: %s", p.suspended)}
	case p.lastErr != nil:
		return &Failure{Reason: ReasonOf(p.lastErr), Err: fmt.Errorf("no connection: %w", p.lastErr)}
	}
	return &Failure{Reason: Other, Err: errors.New("no connection yet: the pool is opening one")}
}
