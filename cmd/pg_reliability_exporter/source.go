package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/pg-reliability/pg_reliability_exporter/internal/datasource"
	"github.com/pg-reliability/pg_reliability_exporter/internal/passcommand"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// environment looks a variable up; tests bring their own.
type environment func(name string) (string, bool)

// dataSource is where the connection string comes from: its variables, else the PG* variables, which pgx reads by itself.
type dataSource struct{ env environment }

var errNoServer = errors.New(
	"no server to watch is named. HINT: Set DATA_SOURCE_NAME=postgres://reliability_exporter@host:5432/postgres, " +
		"or DATA_SOURCE_NAME_FILE to a file that holds it, or PGHOST and its like; or --config.file for several servers, " +
		"or --pgbouncer.dsn for a PgBouncer alone")

// connectionString is read anew at each reload.
func (d dataSource) connectionString() (string, error) {
	dsn, err := datasource.Variables(d.env).ConnectionString()
	if err == nil && dsn == "" && !d.anyPG() {
		err = errNoServer
	}
	return dsn, err
}

func (d dataSource) anyPG() bool {
	for _, name := range []string{"PGHOST", "PGHOSTADDR", "PGSERVICE", "PGPORT", "PGUSER", "PGDATABASE"} {
		if v, _ := d.env(name); v != "" {
			return true
		}
	}
	return false
}

// connector puts the connection string, the limits of our sessions and the program for passwords together.
func (d dataSource) connector(s sessionFlags, p passwordFlags) (*postgres.Connector, error) {
	dsn, err := d.connectionString()
	if err != nil {
		return nil, err
	}
	file := datasource.Variables(d.env).PasswordFile()
	o := postgres.ConnectorOptions{DSN: dsn, PasswordFile: file, Settings: s.settings()}
	if p.command != "" {
		if file != "" {
			return nil, errors.New("--password.command and DATA_SOURCE_PASS_FILE are both set. HINT: Keep one of them")
		}
		if o.Passwords, err = d.passwords(o, p); err != nil {
			return nil, fmt.Errorf("--password.command: %w", err)
		}
	}
	return postgres.NewConnector(o)
}

// passwords has those that a program prints for logins at the server that the connection string names.
func (d dataSource) passwords(o postgres.ConnectorOptions, p passwordFlags) (*passcommand.Command, error) {
	plain, err := postgres.NewConnector(o)
	if err != nil {
		return nil, err
	}
	return passcommand.New(passcommand.Options{Command: p.command, Timeout: p.timeout, Environ: os.Environ(), Login: plain.LoginVariables()})
}

// settings are the limits of our sessions.
func (s sessionFlags) settings() postgres.Settings {
	return postgres.Settings{
		ApplicationName:          appName,
		StatementTimeout:         s.statementTimeout,
		LockTimeout:              s.lockTimeout,
		IdleInTransactionTimeout: s.idleInTransactionTimeout,
	}
}
