package fleet

import (
	"maps"
	"strconv"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/dsn"
	"github.com/pg-reliability/pg_reliability_exporter/internal/passcommand"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// AuthModule is who logs in, and how. It is never printed.
type AuthModule struct {
	User     string
	Password string
	// PasswordFile is read at each login.
	PasswordFile string
	// PasswordCommand is run for logins; CommandTimeout is how long it may take, zero is passcommand's own bound.
	PasswordCommand string
	CommandTimeout  time.Duration
	// Options are parameters of libpq's: those of authOptions.
	Options map[string]string
}

// authOptions are the options a module may have, and what holds without them. All are named in each connection string, so
// that no PG* variable of the exporter's own server reaches another one.
var authOptions = map[string]string{
	"sslmode": "prefer", "sslrootcert": "", "sslcert": "", "sslkey": "", "sslnegotiation": "postgres",
	"connect_timeout": "", "channel_binding": "prefer",
	// Who answers at an address may ask for the password itself, or for an MD5 hash, of which it can be guessed, and with which
	// one can log in. Neither is given to anybody who did not prove who he is.
	"require_auth": "scram-sha-256,none",
}

// fileOptions are those that name a file.
var fileOptions = []string{"sslrootcert", "sslcert", "sslkey"}

// connector leads to an address as this module's user; environ is for the password command.
func (m AuthModule) connector(a Address, s postgres.Settings, environ []string) (*postgres.Connector, error) {
	o := postgres.ConnectorOptions{DSN: m.dsn(a), PasswordFile: m.PasswordFile, Settings: s}
	c, err := postgres.NewConnector(o)
	if err != nil || m.PasswordCommand == "" {
		return c, err
	}
	o.Passwords, err = passcommand.New(passcommand.Options{
		Command: m.PasswordCommand, Timeout: m.CommandTimeout, Environ: environ, Login: c.LoginVariables(),
	})
	if err != nil {
		return nil, err
	}
	return postgres.NewConnector(o)
}

func (m AuthModule) dsn(a Address) string {
	params := dsn.Params{
		"host": a.Host, "port": strconv.Itoa(a.Port), "dbname": a.Database, "user": m.User, "password": m.Password,
		"passfile": "", "target_session_attrs": "any", "options": "",
	}
	for name, value := range authOptions {
		if own, ok := m.Options[name]; ok {
			value = own
		} else if name == "require_auth" && m.Options["sslmode"] == "verify-full" {
			value = ""
		}
		if value != "" || name != "connect_timeout" {
			params[name] = value
		}
	}
	return params.String()
}

// sameButPassword is whether two modules differ in nothing but the password, which sessions to come may simply use.
func (m AuthModule) sameButPassword(o AuthModule) bool {
	return m.User == o.User && m.PasswordFile == o.PasswordFile && m.PasswordCommand == o.PasswordCommand &&
		m.CommandTimeout == o.CommandTimeout &&
		maps.Equal(m.Options, o.Options)
}

// same is whether two modules are the same.
func (m AuthModule) same(o AuthModule) bool { return m.Password == o.Password && m.sameButPassword(o) }
