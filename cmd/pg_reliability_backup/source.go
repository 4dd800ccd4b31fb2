package main

import (
	"net/url"
	"os"
	"strings"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
)

// environment looks a variable up; tests bring their own.
type environment func(name string) (string, bool)

// value is a variable, or the content of the file that NAME_FILE names.
func (e environment) value(name string) (string, error) {
	value, _ := e(name)
	file, _ := e(name + "_FILE")
	switch {
	case value != "" && file != "":
		return "", failure.New(failure.Config, "%s and %s_FILE are both set", name, name).WithHint("Keep one of them.")
	case file == "":
		return value, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", failure.New(failure.Config, "%s_FILE: %w", name, err)
	}
	if value = strings.TrimSpace(string(b)); value == "" {
		return "", failure.New(failure.Config, "%s_FILE: %s is empty", name, file)
	}
	return value, nil
}

// libpqVariables are taken over from the environment; PGPASSWORD_FILE is ours.
var libpqVariables = []string{
	"PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSFILE", "PGSERVICE", "PGSERVICEFILE", "PGOPTIONS",
	"PGAPPNAME", "PGSSLMODE", "PGSSLCERT", "PGSSLKEY", "PGSSLROOTCERT", "PGSSLCRL", "PGSSLCRLDIR", "PGSSLSNI", "PGREQUIREPEER",
	"PGSSLNEGOTIATION", "PGSSLMINPROTOCOLVERSION", "PGSSLMAXPROTOCOLVERSION", "PGCHANNELBINDING", "PGGSSENCMODE",
	"PGKRBSRVNAME", "PGCONNECT_TIMEOUT", "PGTARGETSESSIONATTRS", "PGREQUIREAUTH",
}

// target is the server named by DATA_SOURCE_NAME, by DATA_SOURCE_URI with _USER and _PASS, or by the PG* variables.
func (e environment) target() (server.Target, error) {
	dsn, err := e.connectionString()
	if err != nil {
		return server.Target{}, err
	}
	var pg []string
	for _, name := range libpqVariables {
		if v, _ := e(name); v != "" {
			pg = append(pg, name+"="+v)
		}
	}
	password, err := e.value("PGPASSWORD")
	if err != nil {
		return server.Target{}, err
	}
	if password != "" {
		pg = append(pg, "PGPASSWORD="+password)
	}
	if dsn == "" && len(pg) == 0 {
		return server.Target{}, failure.New(failure.Config, "no server is named").
			WithHint("Set DATA_SOURCE_NAME=postgres://reliability_backup@host:5432/postgres, or DATA_SOURCE_NAME_FILE to a file that holds it, or PGHOST and its like.")
	}
	return server.Parse(dsn, pg)
}

func (e environment) connectionString() (string, error) {
	name, err := e.value("DATA_SOURCE_NAME")
	if err != nil {
		return "", err
	}
	uri, err := e.value("DATA_SOURCE_URI")
	if err != nil || uri == "" {
		return name, err
	}
	if name != "" {
		return "", failure.New(failure.Config, "DATA_SOURCE_NAME and DATA_SOURCE_URI are both set").WithHint("Keep one of them.")
	}
	u, err := url.Parse("postgresql://" + uri)
	if err != nil {
		return "", failure.New(failure.Config, "DATA_SOURCE_URI can't be used: malformed").
			WithHint("Write host:5432/database?sslmode=verify-full, without a user.")
	}
	user, err := e.value("DATA_SOURCE_USER")
	if err != nil {
		return "", err
	}
	password, err := e.value("DATA_SOURCE_PASS")
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
