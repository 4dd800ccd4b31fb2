package main

import (
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"

	"github.com/pg-reliability/pg_reliability_exporter/deploy/sql"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

const (
	appRole     = "shop"
	appDatabase = "shop"
)

//go:embed schema.sql
var schema string

// database is the server that is watched.
type database struct {
	*pgtest.Cluster
	// password of the exporter's role.
	password string
}

// startDatabase makes a server with a shop in it and the exporter's role, as README.md tells users to make it. Its directory in the
// room is its name; an empty password is a new one.
func startDatabase(ctx context.Context, r *room, name, password string) (*database, error) {
	c, err := pgtest.Start(ctx, pgtest.Options{Dir: r.path(name), NoMonitorRole: true, Settings: map[string]string{
		"track_io_timing": "on",
		"cluster_name":    "'demo'",
		"log_checkpoints": "on",
	}})
	if err != nil {
		return nil, err
	}
	if password == "" {
		password = rand.Text()
	}
	db := &database{Cluster: c, password: password}
	err = c.Exec(ctx, sql.MonitoringRole,
		fmt.Sprintf("ALTER ROLE %s PASSWORD '%s'", pgtest.Monitor, db.password),
		"CREATE ROLE "+appRole+" LOGIN", "CREATE DATABASE "+appDatabase+" OWNER "+appRole)
	if err == nil {
		err = c.ExecIn(ctx, appDatabase, "SET ROLE "+appRole, schema, "RESET ROLE", sql.Sequences)
	}
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("fill the server: %w", err)
	}
	return db, nil
}
