package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// fleetOf is how many servers DEMO_SERVERS may ask for, besides one.
const fleetOf = 3

// fleet are further servers that the same exporter watches by its list: a standby of the first one, and one of its own.
type fleet struct {
	standby *pgtest.Cluster
	other   *database
	// config is the exporter's list; empty where there is one server alone.
	config string
}

// startFleet makes the further servers. The standby is a copy of the first, which restarts for it: call it before anything watches.
func startFleet(ctx context.Context, r *room, db *database, servers int) (*fleet, error) {
	f := &fleet{}
	if servers < fleetOf {
		return f, nil
	}
	var err error
	if f.standby, err = db.StandbyIn(ctx, r.path("standby")); err != nil {
		return nil, fmt.Errorf("start the standby: %w", err)
	}
	if f.other, err = startDatabase(ctx, r, "other", db.password); err != nil {
		return nil, errors.Join(fmt.Errorf("start the third server: %w", err), f.close())
	}
	f.config = r.path("fleet.yml")
	if err := os.WriteFile(r.path("password"), []byte(db.password), 0o644); err != nil { //nolint:gosec // of a throwaway role, for the server's user
		return nil, errors.Join(err, f.close())
	}
	text := fmt.Appendf(nil, `auth_modules:
  monitoring: {user: %s, password_file: password, sslmode: disable}
targets:
  - {name: standby, address: '127.0.0.1:%d/%s', auth_module: monitoring, labels: {cluster: demo}}
  - {name: other, address: '127.0.0.1:%d/%s', auth_module: monitoring, labels: {cluster: other}}
`, pgtest.Monitor, f.standby.Port, appDatabase, f.other.Port, appDatabase)
	if err := os.WriteFile(f.config, text, 0o644); err != nil { //nolint:gosec // the exporter is another user
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

func (f *fleet) close() error {
	var errs []error
	if f.standby != nil {
		errs = append(errs, f.standby.Close())
	}
	if f.other != nil {
		errs = append(errs, f.other.Close())
	}
	return errors.Join(errs...)
}

func (f *fleet) introduce(c *console, url string) {
	if f.config == "" {
		return
	}
	c.print("  Standby     %s/probe?target=standby", url)
	c.print("  Another     %s/probe?target=other", url)
}
