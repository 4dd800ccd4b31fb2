package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// environment looks a variable up; tests bring their own.
type environment func(name string) (string, bool)

// dataSource is where the connection string comes from: the variables postgres_exporter has, each also as NAME_FILE
// with the value in a file, else the PG* variables, which pgx reads by itself.
type dataSource struct{ env environment }

var errNoServer = errors.New("no server to watch is named. HINT: Set DATA_SOURCE_NAME=postgres://reliability_exporter@host:5432/postgres, " +
	"or DATA_SOURCE_NAME_FILE to a file that holds it, or PGHOST and its like; or --config.file for several servers")

// connectionString is read anew at each reload.
func (d dataSource) connectionString() (string, error) {
	name, err := d.value("DATA_SOURCE_NAME")
	if err != nil {
		return "", err
	}
	uri, err := d.value("DATA_SOURCE_URI")
	if err != nil {
		return "", err
	}
	switch {
	case name != "" && uri != "":
		return "", errors.New("DATA_SOURCE_NAME and DATA_SOURCE_URI are both set. HINT: Keep one of them")
	case name != "":
		return name, nil
	case uri == "":
		if d.anyPG() {
			return "", nil
		}
		return "", errNoServer
	}
	user, err := d.value("DATA_SOURCE_USER")
	if err != nil {
		return "", err
	}
	u, err := url.Parse("postgresql://" + uri)
	if err != nil {
		return "", errors.New("DATA_SOURCE_URI can't be used: malformed. HINT: Write host:5432/database?sslmode=verify-full, without a user")
	}
	password, err := d.value("DATA_SOURCE_PASS")
	if err != nil {
		return "", err
	}
	switch {
	case user != "" && password != "":
		u.User = url.UserPassword(user, password)
	case user != "":
		u.User = url.User(user)
	}
	return u.String(), nil
}

// passwordFile is read at each connect, so that a rotated password needs no reload.
func (d dataSource) passwordFile() string {
	if uri, _ := d.value("DATA_SOURCE_URI"); uri == "" {
		return ""
	}
	file, _ := d.env("DATA_SOURCE_PASS_FILE")
	return file
}

// value is a variable, or the content of the file that NAME_FILE names.
func (d dataSource) value(name string) (string, error) {
	value, _ := d.env(name)
	file, _ := d.env(name + "_FILE")
	switch {
	case value != "" && file != "":
		return "", fmt.Errorf("%s and %s_FILE are both set. HINT: Keep one of them", name, name)
	case file == "":
		return value, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("%s_FILE: %w", name, err)
	}
	value = strings.TrimSpace(string(b))
	if value == "" {
		return "", fmt.Errorf("%s_FILE: %s is empty", name, file)
	}
	return value, nil
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
	return postgres.NewConnector(postgres.ConnectorOptions{DSN: dsn, PasswordFile: d.passwordFile(), Settings: s.settings()})
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
