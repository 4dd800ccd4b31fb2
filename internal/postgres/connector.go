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
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Connector opens sessions. It is safe for concurrent use.
type Connector struct {
	passwordFile string
	settings     Settings
	*shared
}

// shared is what copies of a connector have in common.
type shared struct {
	config atomic.Pointer[pgx.ConnConfig]
	// pooler is true while start-up parameters of ours are turned down, as PgBouncer does.
	pooler atomic.Bool
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

// Connect opens a session. The error has a reason (ReasonOf) and no secret in it.
func (c *Connector) Connect(ctx context.Context) (*Session, error) {
	s, err := c.connectOnce(ctx)
	if c.turnedDown(err) {
		s, err = c.connectOnce(ctx)
	}
	return s, err
}

func (c *Connector) connectOnce(ctx context.Context) (*Session, error) {
	cfg := c.config.Load().Copy()
	if err := c.prepareConfig(cfg); err != nil {
		return nil, err
	}
	var timer dialTimer
	timer.watch(cfg)
	start := time.Now()
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, connectError(err)
	}
	total := time.Since(start)
	s, err := c.newSession(ctx, conn)
	if err != nil {
		return nil, connectError(err)
	}
	s.phases = Phases{Dial: timer.total, Auth: total - timer.total}
	return s, nil
}

// prepareConfig fills in what may differ from one attempt to the next.
func (c *Connector) prepareConfig(cfg *pgx.ConnConfig) error {
	if c.passwordFile != "" {
		password, err := readPassword(c.passwordFile)
		if err != nil {
			return &Failure{Reason: Auth, Err: err}
		}
		cfg.Password = password
	}
	if !c.pooler.Load() {
		for _, p := range c.settings.parameters() {
			cfg.RuntimeParams[p[0]] = p[1]
		}
	}
	return nil
}

// turnedDown notes that the other side does not take our start-up parameters, and says so once: the
// next attempt does without them.
func (c *Connector) turnedDown(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && strings.Contains(pg.Message, "unsupported startup parameter") &&
		c.pooler.CompareAndSwap(false, true)
}

// newSession finds out whether the server's process is ours alone. It costs one round trip.
func (c *Connector) newSession(ctx context.Context, conn *pgx.Conn) (*Session, error) {
	s := &Session{conn: conn, settings: c.settings, prepared: map[string]string{}, certificate: certificateOf(conn.PgConn().Conn())}
	rows, err := readAll(conn.PgConn().ExecParams(ctx,
		"SELECT pg_catalog.pg_backend_pid(), pg_catalog.current_setting('server_version_num')", nil, nil, nil, nil))
	if err != nil {
		s.Close()
		return nil, err
	}
	if len(rows) != 1 || rows[0][0] == nil || rows[0][1] == nil {
		s.Close()
		return nil, errors.New("the server does not tell its version: is it PostgreSQL?")
	}
	if s.version, err = strconv.Atoi(*rows[0][1]); err != nil {
		s.Close()
		return nil, fmt.Errorf("the server's version: %w", err)
	}
	// PgBouncer and its like hand out process ids of their own.
	s.pooled = *rows[0][0] != strconv.FormatUint(uint64(conn.PgConn().PID()), 10)
	if !s.pooled && c.pooler.CompareAndSwap(true, false) {
		// The address leads to a server of its own now, and this session has none of our settings.
		s.pooled = true
	}
	return s, nil
}

// connectError puts pgconn's list of attempts on one line.
func connectError(err error) error {
	if !strings.Contains(err.Error(), "\n") {
		return err
	}
	return &Failure{Reason: ReasonOf(err), Err: errors.New(ConnectText(err))}
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

// dialTimer adds up what an attempt spends on resolving and dialling, over all addresses it tries.
type dialTimer struct{ total time.Duration }

func (t *dialTimer) watch(cfg *pgx.ConnConfig) {
	lookup, dial := cfg.LookupFunc, cfg.DialFunc
	cfg.LookupFunc = func(ctx context.Context, host string) ([]string, error) {
		defer t.add(time.Now())
		return lookup(ctx, host)
	}
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		defer t.add(time.Now())
		return dial(ctx, network, addr)
	}
}

func (t *dialTimer) add(start time.Time) { t.total += time.Since(start) }
