// Package pgtest runs real, throwaway PostgreSQL clusters for tests, benchmarks and the demo,
// and does to them what happens to servers: restart, crash, freeze, promotion, a lost network.
package pgtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// Superuser is the bootstrap user; it logs in over the unix socket and TCP without a password.
	Superuser = "postgres"
	// Monitor is the role users give the exporter: pg_monitor, a password, nothing else. (Names that
	// begin with pg_ are reserved.)
	Monitor = "reliability_exporter"
	// Password belongs to Monitor and to every role AddRole makes.
	Password = "correct-horse"

	startTimeout = 60 * time.Second
)

// Options of a cluster; the zero value is a small, fast server of the newest installed version.
type Options struct {
	// Install to use; zero means Find(0).
	Install Install
	// Dir for data, socket and log; empty means a new directory, removed by Close.
	Dir string
	// Settings are added to postgresql.conf and win over the defaults for tests.
	Settings map[string]string
	// Port to listen on; 0 means a free one.
	Port int
	// NoMonitorRole leaves out the role Monitor.
	NoMonitorRole bool
	// InitArgs are passed on to initdb.
	InitArgs []string
	// Env is added to the server's environment.
	Env []string
}

// Cluster is one running server with its data directory.
type Cluster struct {
	Install Install
	Dir     string // holds data/, and is the directory of the unix socket
	Port    int

	env     []string
	ownsDir bool
	mu      sync.Mutex
	cmd     *exec.Cmd
	exited  chan struct{} // closed when the postmaster of cmd is gone
}

// Start makes a cluster with initdb and starts it.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	c, err := prepare(o)
	if err != nil {
		return nil, err
	}
	if err := c.initdb(o); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if err := c.Launch(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if !o.NoMonitorRole {
		err := c.Exec(ctx, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s' IN ROLE pg_monitor", Monitor, Password))
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

func prepare(o Options) (*Cluster, error) {
	c := &Cluster{Install: o.Install, Dir: o.Dir, Port: o.Port, env: o.Env}
	var err error
	if c.Install.BinDir == "" {
		if c.Install, err = Find(0); err != nil {
			return nil, err
		}
	}
	if c.Dir == "" {
		// Short, because a unix socket's path has at most 107 bytes.
		if c.Dir, err = os.MkdirTemp("/tmp", "pgtest-"); err != nil {
			return nil, fmt.Errorf("make a directory for the cluster: %w", err)
		}
		c.ownsDir = true
	} else if err = os.MkdirAll(c.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("make a directory for the cluster: %w", err)
	}
	_, uid, gid := serverUser()
	if err = errors.Join(os.Chmod(c.Dir, 0o755), os.Chown(c.Dir, uid, gid)); err != nil {
		return nil, fmt.Errorf("hand the cluster's directory to its system user: %w", err)
	}
	if c.Port == 0 {
		if c.Port, err = FreePort(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *Cluster) initdb(o Options) error {
	if err := c.makeData(o.InitArgs); err != nil {
		return err
	}
	conf := map[string]string{
		"listen_addresses":        "'127.0.0.1'",
		"unix_socket_directories": "'" + c.Dir + "'",
		"fsync":                   "off",
		"full_page_writes":        "off",
		"shared_buffers":          "16MB",
		"max_connections":         "50",
		"log_line_prefix":         "'%m [%p] %q%u@%d/%a '",
		"log_timezone":            "UTC",
		"password_encryption":     "'scram-sha-256'",
	}
	for k, v := range o.Settings {
		conf[k] = v
	}
	hba := "local all all trust\nhost all " + Superuser + " 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n" +
		"local replication all trust\nhost replication all 127.0.0.1/32 trust\n"
	return errors.Join(c.Configure(conf), c.WriteHBA(hba))
}

// Configure appends settings to postgresql.conf; call Reload or Restart to apply them. The values
// are written as they are: quote strings.
func (c *Cluster) Configure(settings map[string]string) error {
	f, err := os.OpenFile(filepath.Join(c.DataDir(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("open postgresql.conf: %w", err)
	}
	w := bufio.NewWriter(f)
	for k, v := range settings {
		fmt.Fprintf(w, "%s = %s\n", k, v)
	}
	return errors.Join(w.Flush(), f.Close())
}

// WriteHBA replaces pg_hba.conf; call Reload to apply it.
func (c *Cluster) WriteHBA(text string) error {
	return c.WriteFile("pg_hba.conf", []byte(text))
}

// WriteFile puts a file into the data directory, readable by the server alone.
func (c *Cluster) WriteFile(name string, content []byte) error {
	path := filepath.Join(c.DataDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return err
	}
	_, uid, gid := serverUser()
	return os.Chown(path, uid, gid)
}

// DataDir is the server's data directory.
func (c *Cluster) DataDir() string { return filepath.Join(c.Dir, "data") }

// LogFile is where the server's log goes.
func (c *Cluster) LogFile() string { return filepath.Join(c.Dir, "server.log") }

// DSN is the URL for a role and database over TCP; the superuser needs no password.
func (c *Cluster) DSN(role, database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.User(role), Path: "/" + database,
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(c.Port)), RawQuery: "sslmode=disable",
	}
	if role != Superuser {
		u.User = url.UserPassword(role, Password)
	}
	return u.String()
}

// MonitorDSN connects as the role that users give the exporter.
func (c *Cluster) MonitorDSN() string { return c.DSN(Monitor, "postgres") }

// SocketDSN connects over the unix socket.
func (c *Cluster) SocketDSN(role, database string) string {
	return fmt.Sprintf("host=%s port=%d user=%s dbname=%s", c.Dir, c.Port, role, database)
}

// Connect opens a superuser's session; the caller closes it.
func (c *Cluster) Connect(ctx context.Context, database string) (*pgx.Conn, error) {
	return pgx.Connect(ctx, c.DSN(Superuser, database))
}

// Exec runs statements as the superuser in the database postgres, each on its own.
func (c *Cluster) Exec(ctx context.Context, statements ...string) error {
	return c.ExecIn(ctx, "postgres", statements...)
}

// ExecIn runs statements as the superuser in a database, each on its own.
func (c *Cluster) ExecIn(ctx context.Context, database string, statements ...string) error {
	conn, err := c.Connect(ctx, database)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, s := range statements {
		if _, err := conn.Exec(ctx, s, pgx.QueryExecModeSimpleProtocol); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

// Query returns the first column of a statement's first row as text.
func (c *Cluster) Query(ctx context.Context, database, sql string, args ...any) (string, error) {
	conn, err := c.Connect(ctx, database)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	var s *string
	if err := conn.QueryRow(ctx, "SELECT ("+sql+")::text", args...).Scan(&s); err != nil || s == nil {
		return "", err
	}
	return *s, nil
}

// Log returns what the server has logged so far.
func (c *Cluster) Log() string {
	b, err := os.ReadFile(c.LogFile())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err.Error()
	}
	return string(b)
}

// Close stops the server at once and removes the directory if Start made it.
func (c *Cluster) Close() error {
	c.mu.Lock()
	running := c.cmd != nil
	c.mu.Unlock()
	if running {
		c.Resume()
		if err := c.StopWith(syscall.SIGQUIT); err != nil {
			c.KillServer()
		}
	}
	if c.ownsDir {
		return os.RemoveAll(c.Dir)
	}
	return nil
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
