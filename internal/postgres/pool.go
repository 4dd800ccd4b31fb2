package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	firstBackoff = time.Second
	maxBackoff   = 30 * time.Second
	// backoffJitter spreads the attempts of many exporters over time.
	backoffJitter = 0.2
	// refillPeriod is how often the pool looks whether a connection is missing.
	refillPeriod = 500 * time.Millisecond
	// idleWait is how often a scrape looks again for a connection that a background query has in use.
	idleWait = 2 * time.Millisecond
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

// Pool keeps connections open in the background, so that who asks for data never waits for a login.
// It reconnects by itself: 1 s, 2 s, 4 s ... 30 s apart, with jitter, for ever.
type Pool struct {
	connector *Connector
	pool      *pgxpool.Pool
	logger    log.Logger
	end       context.CancelFunc // of the background work

	mu        sync.Mutex
	suspended Reason // OK while dialling is allowed
	wait      *backoff.ExponentialBackOff
	nextDial  time.Time
	lastErr   error
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
	cfg, err := pgxpool.ParseConfig("") // the connection string's own is put in below
	if err != nil {
		return nil, fmt.Errorf("set up the pool: %w", err)
	}
	p := &Pool{connector: o.Connector, logger: o.Logger, suspended: OK, wait: &backoff.ExponentialBackOff{
		InitialInterval: firstBackoff, RandomizationFactor: backoffJitter, Multiplier: 2, MaxInterval: maxBackoff,
	}}
	p.wait.Reset()
	cfg.ConnConfig = o.Connector.config.Load().Copy()
	cfg.ConnConfig.Tracer = connectTracer{p}
	cfg.MaxConns = int32(o.Max - o.Apart)
	cfg.MinConns = min(int32(o.Min), cfg.MaxConns)
	cfg.MinIdleConns = 1
	cfg.MaxConnLifetime = 0 // a kept connection still works when the server takes no new ones
	cfg.HealthCheckPeriod = refillPeriod
	cfg.BeforeConnect = p.beforeConnect
	cfg.AfterConnect = p.afterConnect
	cfg.PrepareConn = isAlive
	cfg.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false } // a round trip
	if p.pool, err = pgxpool.NewWithConfig(context.Background(), cfg); err != nil {
		return nil, fmt.Errorf("set up the pool: %w", err)
	}
	var ctx context.Context
	ctx, p.end = context.WithCancel(context.Background())
	go p.weed(ctx)
	return p, nil
}

// Lease is a session on loan.
type Lease struct {
	*Session
	conn *pgxpool.Conn
}

// Release gives the session back; a broken one is replaced in the background.
func (l *Lease) Release() { l.conn.Release() }

// Acquire lends a session, opening one if need be: for work in the background.
func (p *Pool) Acquire(ctx context.Context) (*Lease, error) {
	conn, err := p.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	return lease(conn), nil
}

// AcquireIdle lends a session that is open already, and never opens one: for scrapes. While all are
// lent it waits; while there is none it fails at once with the reason.
func (p *Pool) AcquireIdle(ctx context.Context) (*Lease, error) {
	ctx = context.WithValue(ctx, neverDial{}, true)
	for {
		conn, err := p.pool.Acquire(ctx)
		if err == nil {
			return lease(conn), nil
		}
		if !errors.Is(err, errNoIdle) {
			return nil, err
		}
		if p.pool.Stat().AcquiredConns() == 0 {
			return nil, p.whyNone()
		}
		select {
		case <-ctx.Done():
			return nil, &Failure{Reason: Timeout, Err: errors.New("all connections of the pool are busy")}
		case <-time.After(idleWait):
		}
	}
}

func lease(conn *pgxpool.Conn) *Lease {
	session, _ := conn.Conn().PgConn().CustomData()[sessionKey].(*Session)
	return &Lease{Session: session, conn: conn}
}

// Suspend stops dialling while somebody else knows that it is in vain; Resume starts again at once.
func (p *Pool) Suspend(reason Reason) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.suspended = reason
}

// Resume ends Suspend and forgets the backoff.
func (p *Pool) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.suspended = OK
	p.nextDial = time.Time{}
	p.wait.Reset()
}

// Reset closes every connection, those on loan when they come back: after a restart of the server.
func (p *Pool) Reset() { p.pool.Reset() }

// Close ends the pool; it waits for leases to come back.
func (p *Pool) Close() {
	p.end()
	p.pool.Close()
}

// Open is how many connections wait for work, and how many are lent. One that is being opened is neither.
func (p *Pool) Open() (idle, lent int) {
	s := p.pool.Stat()
	return int(s.IdleConns()), int(s.AcquiredConns())
}

const sessionKey = "session"

// neverDial marks the context of one who must not wait for a login.
type neverDial struct{}

var errNoIdle = errors.New("no open connection")

func (p *Pool) beforeConnect(ctx context.Context, cfg *pgx.ConnConfig) error {
	if ctx.Value(neverDial{}) != nil {
		return errNoIdle
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.suspended != OK:
		return &Failure{Reason: p.suspended, Err: fmt.Errorf("the server is down: %s", p.suspended)}
	case time.Now().Before(p.nextDial):
		return &Failure{Reason: ReasonOf(p.lastErr), Err: fmt.Errorf("waiting to connect again: %w", p.lastErr)}
	}
	if p.lastErr != nil {
		p.nextDial = time.Now().Add(cfg.ConnectTimeout) // one attempt at a time, until this one has ended
	}
	current := p.connector.config.Load().Copy() // an update's password and certificates
	current.Tracer = cfg.Tracer
	*cfg = *current
	return p.connector.prepareConfig(cfg)
}

func (p *Pool) afterConnect(ctx context.Context, conn *pgx.Conn) error {
	session, err := p.connector.newSession(ctx, conn)
	if err != nil {
		p.connected(err)
		return connectError(err)
	}
	conn.PgConn().CustomData()[sessionKey] = session
	p.connected(nil)
	return nil
}

// connected folds the end of an attempt into the backoff. One line a change, not one a failure.
func (p *Pool) connected(err error) {
	if p.connector.turnedDown(err) {
		return
	}
	if err != nil {
		err = connectError(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	before := ReasonOf(p.lastErr)
	p.lastErr = err
	if err == nil {
		p.wait.Reset()
		p.nextDial = time.Time{}
		if before != OK {
			_ = level.Info(p.logger).Log("msg", "pool connected again", "after", before)
		}
		return
	}
	pause := p.wait.NextBackOff()
	p.nextDial = time.Now().Add(pause)
	if reason := ReasonOf(err); reason != before {
		_ = level.Warn(p.logger).Log("msg", "pool can't connect", "reason", reason, "retry_in", pause.Round(time.Millisecond), "err", err)
	}
}

// whyNone is the error of a scrape that finds no connection.
func (p *Pool) whyNone() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.suspended != OK:
		return &Failure{Reason: p.suspended, Err: fmt.Errorf("the server is down: %s", p.suspended)}
	case p.lastErr != nil:
		return &Failure{Reason: ReasonOf(p.lastErr), Err: fmt.Errorf("no connection: %w", p.lastErr)}
	}
	return &Failure{Reason: Other, Err: errors.New("no connection yet: the pool is opening one")}
}

// isAlive turns away a connection that the server has ended meanwhile, and reads what it said while nobody asked; it sends nothing.
func isAlive(_ context.Context, conn *pgx.Conn) (bool, error) {
	pg := conn.PgConn()
	if silent(pg.Conn()) {
		return true, nil
	}
	meterOf(pg).begin("an idle connection", idleBytes)
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	for {
		message, err := pg.ReceiveMessage(ctx)
		if err != nil {
			return pgconn.Timeout(err), nil
		}
		switch message.(type) {
		case *pgproto3.ParameterStatus, *pgproto3.NoticeResponse, *pgproto3.NotificationResponse:
		default: // a farewell, such as that of idle_session_timeout, or nonsense
			return false, nil
		}
	}
}

// weed takes connections out that ended while they were idle, so that no scrape meets them; the pool makes others in their place.
func (p *Pool) weed(ctx context.Context) {
	ticker := time.NewTicker(refillPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			for _, conn := range p.pool.AcquireAllIdle(ctx) {
				conn.Release()
			}
		}
	}
}

// connectTracer tells the pool of attempts that fail before there is a connection.
type connectTracer struct{ pool *Pool }

func (t connectTracer) TraceConnectStart(ctx context.Context, _ pgx.TraceConnectStartData) context.Context {
	return ctx
}

func (t connectTracer) TraceConnectEnd(_ context.Context, data pgx.TraceConnectEndData) {
	if data.Err != nil {
		t.pool.connected(data.Err)
	}
}

// TraceQueryStart and TraceQueryEnd are there because pgx wants a tracer to have them.
func (t connectTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (t connectTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
