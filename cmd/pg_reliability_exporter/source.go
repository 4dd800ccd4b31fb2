package main

import (
	"errors"

	"github.com/pg-reliability/pg_reliability_exporter/internal/datasource"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// environment looks a variable up; tests bring their own.
type environment func(name string) (string, bool)

// dataSource is where the connection string comes from: its variables, else the PG* variables, which pgx reads by itself.
type dataSource struct{ env environment }

var errNoServer = errors.New("no server to watch is named. HINT: Set DATA_SOURCE_NAME=postgres://reliability_exporter@host:5432/postgres, " +
	"or DATA_SOURCE_NAME_FILE to a file that holds it, or PGHOST and its like; or --config.file for several servers")

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

// connector puts the connection string and the limits of our sessions together.
func (d dataSource) connector(s sessionFlags) (*postgres.Connector, error) {
	dsn, err := d.connectionString()
	if err != nil {
		return nil, err
	}
	return postgres.NewConnector(postgres.ConnectorOptions{DSN: dsn, PasswordFile: datasource.Variables(d.env).PasswordFile(), Settings: s.settings()})
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
