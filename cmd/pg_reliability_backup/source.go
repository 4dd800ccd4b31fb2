package main

import (
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/internal/datasource"
	"github.com/pg-reliability/pg_reliability_exporter/internal/dsn"
)

// environment looks a variable up; tests bring their own.
type environment func(name string) (string, bool)

// value is a variable, or the content of the file that NAME_FILE names.
func (e environment) value(name string) (string, error) {
	value, err := datasource.Variables(e).Value(name)
	if err != nil {
		return "", failure.New(failure.Config, "%w", err)
	}
	return value, nil
}

// target is the server named by DATA_SOURCE_NAME, by DATA_SOURCE_URI with _USER and _PASS, or by the PG* variables.
func (e environment) target() (server.Target, error) {
	text, err := datasource.Variables(e).ConnectionString()
	if err != nil {
		return server.Target{}, failure.New(failure.Config, "%w", err)
	}
	var pg []string
	for _, name := range dsn.Variables() {
		if v, _ := e(name); v != "" && name != "PGPASSWORD" { // PGPASSWORD_FILE is ours
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
	if text == "" && len(pg) == 0 {
		return server.Target{}, failure.New(failure.Config, "no server is named").
			WithHint("Set DATA_SOURCE_NAME=postgres://reliability_backup@host:5432/postgres, or DATA_SOURCE_NAME_FILE to a file that holds it, " +
				"or PGHOST and its like.")
	}
	return server.Parse(text, pg)
}
