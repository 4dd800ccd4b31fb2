// Package postgres talks to the server: every wait has a deadline, every session has limits of its own,
// and every failure has one reason of a fixed list. It works with a server and with PgBouncer
// in transaction mode, where a session is not ours to set up.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Connector opens sessions. It is safe for concurrent use.
type Connector struct {
	passwordFile *passwordFile // nil is none
	passwords    Passwords     // nil where there are none of a short life
	settings     Settings
	database     string // in place of the connection string's; empty is that one
	*shared
}

// shared is what copies of a connector have in common.
type shared struct {
	config atomic.Pointer[pgconn.Config]
	// pooler is true while start-up parameters of ours are turned down, as PgBouncer does.
	pooler atomic.Bool
	// early has the names of settings that a login makes, as the session's first statement would come too late for them.
	early sync.Map
}

// Phases of one connect.
type Phases struct {
	// Dial is name resolution and the network connection.
	Dial time.Duration
	// Auth is all from there until the server is ready for a query.
	Auth time.Duration
}

// Writable is the same connector without the read-only setting.
func (c *Connector) Writable() *Connector {
	w := *c
	w.settings.Writable = true
	return &w
}

// StatementTimeout is that of its sessions; 0 is none.
func (c *Connector) StatementTimeout() time.Duration { return c.settings.StatementTimeout }

// InDatabase is the same connector for another database of the server.
func (c *Connector) InDatabase(name string) *Connector {
	w := *c
	w.database = name
	return &w
}

// Connect opens a session. The error has a reason (ReasonOf) and no secret in it.
func (c *Connector) Connect(ctx context.Context) (*Session, error) {
	s, err := c.connectOnce(ctx)
	for range mostLessons {
		if !c.learns(err) {
			break
		}
		s, err = c.connectOnce(ctx)
	}
	return s, err
}

func (c *Connector) connectOnce(ctx context.Context) (*Session, error) {
	conn, phases, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	s, err := c.newSession(ctx, conn)
	if err != nil {
		return nil, connectError(err, GivenTo(c.config.Load()))
	}
	s.phases = phases
	return s, nil
}

// Login is what a login told.
type Login struct {
	Phases      Phases
	Certificate Certificate
}

// Login opens a session as a client does and ends it: without the round trip in which Connect makes its settings.
func (c *Connector) Login(ctx context.Context) (Login, error) {
	conn, phases, err := c.open(ctx)
	for range mostLessons {
		if !c.learns(err) {
			break
		}
		conn, phases, err = c.open(ctx)
	}
	if err != nil {
		return Login{}, err
	}
	login := Login{Phases: phases, Certificate: certificateOf(conn.Conn())}
	(&Session{conn: conn}).Close()
	return login, nil
}

// open logs in. A password that the server does not take any more costs an attempt, not the login.
func (c *Connector) open(ctx context.Context) (*pgconn.PgConn, Phases, error) {
	conn, phases, password, err := c.openOnce(ctx)
	if c.expired(password, err) {
		conn, phases, _, err = c.openOnce(ctx)
	}
	return conn, phases, err
}

// openOnce also tells which password it used.
func (c *Connector) openOnce(ctx context.Context) (_ *pgconn.PgConn, _ Phases, password string, _ error) {
	cfg := c.config.Load().Copy()
	if err := c.prepareConfig(ctx, cfg); err != nil {
		return nil, Phases{}, "", err
	}
	var timer dialTimer
	timer.watch(cfg)
	start := time.Now()
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, Phases{}, cfg.Password, connectError(err, GivenTo(cfg))
	}
	total, dial := time.Since(start), timer.total()
	return conn, Phases{Dial: dial, Auth: total - dial}, cfg.Password, nil
}

// prepareConfig fills in what may differ from one attempt to the next.
func (c *Connector) prepareConfig(ctx context.Context, cfg *pgconn.Config) (err error) {
	switch {
	case c.passwords != nil:
		cfg.Password, err = c.passwords.Password(ctx)
	case c.passwordFile != nil:
		cfg.Password, err = c.passwordFile.forLogin(ctx)
	}
	if err != nil {
		return &Failure{Reason: Auth, Err: err}
	}
	if c.database != "" {
		cfg.Database = c.database
	}
	if !c.pooler.Load() {
		for _, p := range c.settings.parameters() {
			cfg.RuntimeParams[p.name] = p.value
		}
		for _, p := range c.settings.afterLogin() {
			if _, early := c.early.Load(p.name); early {
				cfg.RuntimeParams[p.name] = p.value
			}
		}
	}
	return nil
}

// expired tells who has the passwords that the server did not take this one; true when a login with another one may do better.
func (c *Connector) expired(password string, err error) bool {
	var pg *pgconn.PgError
	return c.passwords != nil && errors.As(err, &pg) && ReasonOf(err) == Auth && c.passwords.TurnedDown(password)
}

// newSession finds out whether the server's process is ours alone, and makes the settings that a login can't have. It costs one
// round trip.
func (c *Connector) newSession(ctx context.Context, conn *pgconn.PgConn) (*Session, error) {
	s := &Session{conn: conn, settings: c.settings, prepared: map[string]string{}, certificate: certificateOf(conn.Conn())}
	meterOf(conn).begin("the session's first answer", queryBytes)
	row, err := readOne(conn.ExecParams(ctx, c.settings.firstSQL(conn.PID()), nil, nil, nil, nil))
	if err != nil {
		s.Close()
		return nil, err
	}
	if len(row) < 2 || row[0] == nil || row[1] == nil {
		s.Close()
		return nil, notPostgres("the server does not tell its version")
	}
	if s.version, err = strconv.Atoi(*row[1]); err != nil {
		s.Close()
		return nil, notPostgres("the server's version is no number")
	}
	// PgBouncer and its like hand out process ids of their own.
	s.pooled = *row[0] != strconv.FormatUint(uint64(conn.PID()), 10)
	if !s.pooled && c.pooler.CompareAndSwap(true, false) {
		// The address leads to a server of its own now, and this session has none of our settings.
		s.pooled = true
	}
	return s, nil
}

// firstSQL asks which process serves us and for its version, and makes the settings that a login can't have, where the process
// is the one the login named: behind a pooler it is somebody else's as soon as it has answered.
func (s Settings) firstSQL(pid uint32) string {
	var b strings.Builder
	b.WriteString("SELECT s.pid, s.version")
	for _, p := range s.afterLogin() {
		fmt.Fprintf(&b, ", CASE WHEN s.pid = %d AND s.version >= %d THEN pg_catalog.set_config('%s', '%s', false) END",
			pid, p.since, p.name, p.value)
	}
	b.WriteString(" FROM (SELECT pg_catalog.pg_backend_pid()::pg_catalog.int8 AS pid," +
		" pg_catalog.current_setting('server_version_num')::pg_catalog.int4 AS version OFFSET 0) AS s")
	return b.String()
}

// fits is the driver's check of target_session_attrs, made safe against a server that answers it with no row at all.
func fits(check pgconn.ValidateConnectFunc) pgconn.ValidateConnectFunc {
	if check == nil {
		return nil
	}
	return func(ctx context.Context, conn *pgconn.PgConn) (err error) {
		defer func() {
			if recover() != nil { // it takes the first column of the first row for granted
				err = notPostgres("the server does not tell whether it is a primary")
			}
		}()
		return check(ctx, conn)
	}
}

// connectError is a failure to connect with its reason, its text on one line and bounded, and of the driver's error no more than
// the server's own report.
func connectError(err error, given Given) error {
	var failure *Failure
	if errors.As(err, &failure) {
		return failure
	}
	said := &saidError{text: clean(withoutNil(ConnectText(err)), textLimit), reason: ReasonOf(err), tooMuch: errors.Is(err, ErrTooMuch),
		gone: errors.Is(err, syscall.EPIPE)}
	if hint := Remedy(said.reason, said.text, given); hint != "" {
		said.text += ". " + hint
	}
	if report := reportOf(attempts(err)); report != nil {
		said.report = tidyReport(report)
	}
	return &Failure{Reason: said.reason, Err: said}
}

// noTLS is the attempt of sslmode=prefer that the one without encryption follows.
const noTLS = "tls error: server refused TLS connection"

// ConnectText is a failure to connect on one line, of pgconn's list of attempts those that tell something: what was said
// before is not said again, and that a server has no TLS is of no interest where it was asked without, too.
func ConnectText(err error) string {
	head, list, several := strings.Cut(err.Error(), ":\n\t")
	if !several {
		return strings.Join(strings.Fields(err.Error()), " ")
	}
	var attempts []string
	for _, a := range strings.Split(list, "\n\t") {
		if !slices.ContainsFunc(attempts, func(said string) bool { return strings.HasSuffix(said, a) }) {
			attempts = append(attempts, a)
		}
	}
	attempts = slices.DeleteFunc(slices.Clone(attempts), func(a string) bool {
		address, is := strings.CutSuffix(a, noTLS)
		return is && slices.ContainsFunc(attempts, func(b string) bool { return b != a && strings.HasPrefix(b, address) })
	})
	return strings.Join(strings.Fields(head+": "+strings.Join(attempts, "; ")), " ")
}

// dialTimer adds up what an attempt spends on resolving and dialling, over all addresses it tries. The driver dials through
// it in another goroutine, too, when it asks the server to cancel a statement.
type dialTimer struct{ spent atomic.Int64 }

func (t *dialTimer) watch(cfg *pgconn.Config) {
	lookup, dial := cfg.LookupFunc, cfg.DialFunc
	cfg.LookupFunc = func(ctx context.Context, host string) ([]string, error) {
		defer t.add(time.Now())
		return lookup(ctx, host)
	}
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		defer t.add(time.Now())
		conn, err := dial(ctx, network, addr)
		if w, ok := ctx.Value(wireKey{}).(*Wire); ok && err == nil {
			w.set(conn)
		}
		return conn, err
	}
}

func (t *dialTimer) add(start time.Time)  { t.spent.Add(int64(time.Since(start))) }
func (t *dialTimer) total() time.Duration { return time.Duration(t.spent.Load()) }
