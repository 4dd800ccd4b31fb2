// Package server is how the backup programs talk to a PostgreSQL server: one place opens their sessions, one
// starts client programs on it, and both come from one connection string. Here are also the facts that go into a
// manifest, and the lock that keeps jobs apart.
package server

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgservicefile"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pg-reliability/pg_reliability_exporter/backup/cage"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/internal/dsn"
)

// Target is a server and how to log in, as libpq's keywords. Its zero value leads to libpq's defaults.
type Target struct {
	params dsn.Params
	// readOnly sessions change nothing by mistake.
	readOnly bool
	// noted is what was found out at logins; nil is nothing.
	noted *noted
	// one is what the sessions before found of the server; nil asks nobody.
	one *oneServer
	// cage holds the client programs that work on a throwaway server; nil is none.
	cage *cage.Cage
	// dial connects sessions, not client programs; nil is the usual way.
	dial pgconn.DialFunc
}

// Dialing is the same target for sessions that a function connects: as another user of this machine, say.
func (t Target) Dialing(dial pgconn.DialFunc) Target {
	t.dial = dial
	return t
}

// Caged is the same target for client programs in a cage.
func (t Target) Caged(c *cage.Cage) Target {
	t.cage = c
	return t
}

// ApplicationName of all the job's sessions, unless the connection string has another.
const ApplicationName = "pg_reliability_backup"

// Parse reads a URL or a keyword/value string. Variables are the PG* variables of the process, as
// os.Environ gives them; they fill in what the string leaves out. The error never holds the string.
func Parse(text string, environ []string) (Target, error) {
	given, err := dsn.Parse(text)
	if err != nil {
		return Target{}, failure.New(failure.Config, "connection string: %w", err)
	}
	params := dsn.FromEnviron(environ)
	for _, k := range []string{"service", "servicefile"} {
		if given[k] != "" {
			params[k] = given[k]
		}
	}
	if err := addService(params); err != nil {
		return Target{}, failure.New(failure.Config, "connection string: %w", err)
	}
	maps.Copy(params, given)
	delete(params, "service")
	delete(params, "servicefile")
	if params["application_name"] == "" {
		params["application_name"] = ApplicationName
	}
	if params["connect_timeout"] == "" {
		params["connect_timeout"] = "15"
	}
	t := Target{params: params, noted: &noted{}}
	cfg, err := t.Config("")
	if err != nil {
		return Target{}, err
	}
	if err := dsn.Check(cfg); err != nil {
		return Target{}, failure.New(failure.Config, "connection string: %w", err)
	}
	return t, nil
}

// addService puts in what the service file says: client programs get a service file of ours, and can have one only.
func addService(p dsn.Params) error {
	if p["service"] == "" {
		return nil
	}
	if p["servicefile"] == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return fmt.Errorf("find the file of services: %w. HINT: Name it with servicefile=, or PGSERVICEFILE", err)
		}
		p["servicefile"] = filepath.Join(home, ".pg_service.conf")
	}
	file, err := pgservicefile.ReadServicefile(p["servicefile"])
	if err != nil {
		return fmt.Errorf("read the file of services %s: it can't be read, or has a line that is not keyword=value", p["servicefile"])
	}
	service, err := file.GetService(p["service"])
	if err != nil {
		return fmt.Errorf("the file of services %s has no such service", p["servicefile"])
	}
	known, err := dsn.Parse(dsn.Params(service.Settings).String())
	if err != nil {
		return fmt.Errorf("the file of services %s: %w", p["servicefile"], err)
	}
	maps.Copy(p, known)
	return nil
}

// Socket leads to a server that listens in a directory and asks for no password. No PG* variable changes where it leads.
func Socket(directory, port, user, database string) Target {
	return Target{params: dsn.Params{
		"host": directory, "port": port, "user": user, "dbname": database, "application_name": ApplicationName,
		"sslmode": "disable", "password": "", "passfile": "", "options": "", "target_session_attrs": "any",
		"sslcert": "", "sslkey": "", "sslrootcert": "", "require_auth": "", "channel_binding": "disable",
	}, noted: &noted{}}
}

// Config is the target for pgx, for a database; "" is the connection string's own.
func (t Target) Config(database string) (*pgx.ConnConfig, error) {
	p := maps.Clone(t.params)
	if p == nil {
		p = dsn.Params{}
	}
	if database != "" {
		p["dbname"] = database
	}
	delete(p, "client_encoding") // sessions have their own
	// What stands in this process's variables for another server must not reach this one.
	for _, k := range []string{"password", "sslpassword", "options"} {
		if _, given := p[k]; !given {
			p[k] = ""
		}
	}
	cfg, err := p.Config()
	if err != nil {
		return nil, failure.New(failure.Config, "connection string: %w", err)
	}
	cfg.Database, cfg.User = Bytes(cfg.Database), Bytes(cfg.User)
	if t.dial != nil {
		cfg.DialFunc = t.dial
	}
	return cfg, nil
}

// ReadOnly is the same target, for sessions that change nothing.
func (t Target) ReadOnly() Target {
	t.readOnly = true
	return t
}

// With returns a copy with a keyword set; an empty value removes it.
func (t Target) With(keyword, value string) Target {
	p := maps.Clone(t.params)
	if p == nil {
		p = dsn.Params{}
	}
	if p[keyword] = value; value == "" {
		delete(p, keyword)
	}
	t.params = p
	return t
}

// Unlimited is the target without a limit of temporary files, be it the server's, a role's or a database's: to build an index
// again can take more than people's queries may have. Only a superuser may lift it. A pooler would refuse to hear of it.
func (t Target) Unlimited() Target { return t.option("temp_file_limit=-1") }

// Untriggered is the target whose sessions fire no event trigger: one on login (PostgreSQL 17 and later) may write a row, into the very
// table whose rows are compared, or refuse the login. Only a superuser may ask for it. A pooler would refuse to hear of it.
func (t Target) Untriggered(major int) Target {
	const since = 17 // that has the setting
	if major < since {
		return t
	}
	return t.option("event_triggers=off")
}

func (t Target) option(set string) Target {
	if t.noted.is() {
		return t
	}
	return t.With("options", strings.TrimSpace(t.params["options"]+" -c "+set))
}

// Database is the database the connection string names, else the user's own name, as libpq has it.
func (t Target) Database() string {
	cfg, err := t.Config("")
	if err != nil {
		return ""
	}
	if cfg.Database == "" {
		return Text(cfg.User)
	}
	return Text(cfg.Database)
}

// user is the role that logs in; "" is unknown.
func (t Target) user() string {
	cfg, err := t.Config("")
	if err != nil {
		return ""
	}
	return cfg.User
}

// String names the target without a secret: user@host:port/database.
func (t Target) String() string {
	cfg, err := t.Config("")
	if err != nil {
		return "(unusable connection string)"
	}
	return fmt.Sprintf("%s@%s:%d/%s", cfg.User, cfg.Host, cfg.Port, t.Database())
}

// mask hides the target's secrets wherever they stand in a text.
func (t Target) mask(text string) string {
	for keyword, v := range t.params {
		if secret(keyword) {
			text = Mask(text, v)
		}
	}
	return text
}

// Mask hides a password wherever it stands in a text.
func Mask(text, password string) string {
	if len(password) < 2 {
		return text
	}
	return strings.ReplaceAll(text, password, "xxxxx")
}

// secret says whether a keyword's value is one.
func secret(keyword string) bool {
	switch keyword {
	case "password", "sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret":
		return true
	}
	return false
}

// Connect opens a session in a database; "" is the connection string's own. An error is of a reason
// the server or the network gave.
func (t Target) Connect(ctx context.Context, database string) (*pgx.Conn, error) {
	cfg, err := t.Config(database)
	if err != nil {
		return nil, err
	}
	return t.open(ctx, cfg)
}
