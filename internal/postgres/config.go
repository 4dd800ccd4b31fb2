package postgres

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pg-reliability/pg_reliability_exporter/internal/dsn"
	"github.com/pg-reliability/pg_reliability_exporter/internal/quiet"
)

const (
	// DefaultConnectTimeout bounds one attempt to connect where the connection string has no connect_timeout.
	DefaultConnectTimeout = 5 * time.Second

	keepAliveIdle     = 15 * time.Second
	keepAliveInterval = 5 * time.Second
	keepAliveCount    = 3
)

// Settings are what every session of ours runs with, so that nothing we do can hold up the server.
type Settings struct {
	ApplicationName string
	// StatementTimeout ends a query in the server; 0 means none.
	StatementTimeout time.Duration
	// LockTimeout ends the wait for a lock; 0 means none.
	LockTimeout time.Duration
	// IdleInTransactionTimeout ends a session left inside a transaction; 0 means none.
	IdleInTransactionTimeout time.Duration
	// Writable sessions are not made read-only.
	Writable bool
}

// setting is one of PostgreSQL's settings.
type setting struct {
	name, value string
	since       int // the first server_version_num that knows it; 0 is each we work with
}

// parameters are sent with the login, in a fixed order.
func (s Settings) parameters() []setting {
	return []setting{
		{name: "statement_timeout", value: milliseconds(s.StatementTimeout)},
		{name: "lock_timeout", value: milliseconds(s.LockTimeout)},
		{name: "idle_in_transaction_session_timeout", value: milliseconds(s.IdleInTransactionTimeout)},
		{name: "search_path", value: "pg_catalog"},
		{name: "jit", value: "off"}, // compiling a catalogue query takes longer than running it
	}
}

// afterLogin are set by the session's first statement: those that not every version knows, which would turn a login down for
// them, and the one that the driver's check of target_session_attrs looks at.
func (s Settings) afterLogin() []setting {
	readOnly := "on"
	if s.Writable {
		readOnly = "off"
	}
	return []setting{
		{name: readOnlySetting, value: readOnly},
		// Our connections are idle between scrapes by design, and our statements have a limit of their own.
		{name: idleLimit, value: "0", since: 140000},
		{name: transactionLimit, value: "0", since: 170000},
	}
}

const (
	readOnlySetting  = "default_transaction_read_only"
	idleLimit        = "idle_session_timeout"
	transactionLimit = "transaction_timeout"
)

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// ConnectorOptions say where the server is and how sessions on it behave.
type ConnectorOptions struct {
	// DSN is a URL or keyword string as libpq takes it; what it leaves out comes from the PG* environment
	// variables, the password file and the service file, as everywhere.
	DSN string
	// PasswordFile, if set, is read at each connect, so that a rotated password needs no restart. While it hangs, the password read last
	// is used.
	PasswordFile string
	// Passwords, if set, is asked for the password of each login.
	Passwords Passwords
	Settings  Settings
}

// Passwords has passwords that live short.
type Passwords interface {
	// Password is one for a login of now; it waits no longer than ctx.
	Password(ctx context.Context) (string, error)
	// TurnedDown says that the server did not take one, or the newest where it is empty; true when another one is to be had.
	TurnedDown(password string) bool
}

// NewConnector checks the options. Its error never contains the connection string.
func NewConnector(o ConnectorOptions) (*Connector, error) {
	c := &Connector{passwords: o.Passwords, settings: o.Settings, shared: &shared{}}
	cfg, err := c.parse(o.DSN)
	if err != nil {
		return nil, err
	}
	if o.PasswordFile != "" {
		c.passwordFile = passwordFileAt(o.PasswordFile)
		if _, err := c.passwordFile.fresh(context.Background()); err != nil {
			return nil, err
		}
	}
	c.config.Store(cfg)
	return c, nil
}

// Take uses the login of another connector, which leads to the same server and database. Sessions that are open stay as they are.
func (c *Connector) Take(o *Connector) { c.config.Store(o.config.Load()) }

// Prepare checks a new connection string for the same server and database: a rotated password or certificate. Nothing changes until take is
// called; sessions that are open stay as they are.
func (c *Connector) Prepare(dsn string) (take func(), err error) {
	cfg, err := c.parse(dsn)
	if err != nil {
		return nil, err
	}
	if c.passwordFile != nil {
		if _, err := c.passwordFile.fresh(context.Background()); err != nil {
			return nil, err
		}
	}
	if now, then := target(cfg), c.Target(); now != then {
		return nil, fmt.Errorf("the connection string leads to %s now, no longer to %s. HINT: Restart the exporter to watch another server", now,
			then)
	}
	return func() { c.config.Store(cfg) }, nil
}

func (c *Connector) parse(text string) (*pgconn.Config, error) {
	params, err := dsn.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("the connection string can't be used: %w", err)
	}
	parsed, err := params.Config()
	if err == nil {
		err = dsn.Check(parsed)
	}
	if err != nil {
		return nil, fmt.Errorf("the connection string can't be used: %w", err)
	}
	cfg := &parsed.Config // the rest is for what we don't use: types, and caches of statements
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = DefaultConnectTimeout
	}
	// A parameter of ours in the connection string would silently undo what we promise.
	for _, p := range append(c.settings.parameters(), c.settings.afterLogin()...) {
		delete(cfg.RuntimeParams, p.name)
	}
	cfg.RuntimeParams["application_name"] = c.settings.ApplicationName
	cfg.RuntimeParams["TimeZone"] = "UTC"
	dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount,
	}}
	cfg.DialFunc = impatient(func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return quiet.Conn(conn), nil
	})
	metered(cfg)
	cfg.ValidateConnect = fits(cfg.ValidateConnect)
	return cfg, nil
}

// Target names the server and database without a secret: host:port/database.
func (c *Connector) Target() string { return target(c.config.Load()) }

func target(cfg *pgconn.Config) string {
	database := cfg.Database
	if database == "" {
		database = cfg.User // as libpq does
	}
	return net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port))) + "/" + database
}

// User is the role of the sessions.
func (c *Connector) User() string { return c.config.Load().User }

// LoginVariables name the server, database and role of the sessions in the variables that clients of PostgreSQL know, without a secret.
func (c *Connector) LoginVariables() []string {
	cfg := c.config.Load()
	return []string{"PGHOST=" + cfg.Host, "PGPORT=" + strconv.Itoa(int(cfg.Port)), "PGUSER=" + cfg.User, "PGDATABASE=" + cfg.Database}
}
