// Package pgdump is the engine on pg_dump: one archive a database, taken under an exported snapshot
// that also counts every table's rows, plus the server's roles and tablespaces. A role with
// pg_read_all_data and pg_monitor suffices; row-level security makes a dump fail, never filter.
//
// Each database is consistent in itself. Two databases of one backup are not of the same moment.
package pgdump

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/go-kit/log/level"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/clients"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
)

// Name of the engine in manifests.
const Name = "pg_dump"

// Engine makes and restores archives of pg_dump.
type Engine struct {
	// Finder finds the client programs.
	Finder clients.Finder
	// Jobs is how many tables are dumped or restored at once where the format allows; 0 means 2.
	Jobs int
	// ParallelAbove is the database size in bytes from which the directory format with Jobs is
	// used instead of one file; 0 means 5 GiB.
	ParallelAbove int64
	// Compress is gzip's level, 0 to 9; nil leaves it to pg_dump, which takes 6.
	Compress *int
}

const (
	defaultJobs          = 2
	defaultParallelAbove = 5 << 30

	databasesDir    = "databases"
	globalsDir      = "globals"
	rolesFile       = "globals/roles.sql"
	tablespacesFile = "globals/tablespaces.sql"
)

// Name implements engine.Engine.
func (e *Engine) Name() string { return Name }

func (e *Engine) jobs() int {
	if e.Jobs > 0 {
		return e.Jobs
	}
	return defaultJobs
}

// Backup implements engine.Engine.
func (e *Engine) Backup(ctx context.Context, req engine.Request, d *catalog.Draft) error {
	conn, err := req.Target.Connect(ctx, "")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	m := &d.Manifest
	if m.Server, err = server.Facts(ctx, conn); err != nil {
		return asFailure(err)
	}
	programs, err := e.Finder.Find(ctx, m.Server.Major(), "pg_dump", "pg_dumpall", "pg_restore")
	if err != nil {
		return err
	}
	m.Client = catalog.Client{Program: "pg_dump", Version: programs.Version}
	names, err := server.Databases(ctx, conn, req.Databases)
	if err != nil {
		return asFailure(err)
	}
	for _, dir := range []string{databasesDir, globalsDir} {
		if err := os.Mkdir(filepath.Join(d.Dir, dir), 0o700); err != nil {
			return fmt.Errorf("write the backup: %w", err)
		}
	}
	if m.Globals, err = e.dumpGlobals(ctx, req, conn, programs, d.Dir); err != nil {
		return asFailure(err)
	}
	taken := map[string]bool{}
	for i, name := range names {
		db, err := server.Properties(ctx, conn, name)
		if err != nil {
			return asFailure(err)
		}
		db.Path = databasesDir + "/" + fileName(name, i, taken)
		db.Format = "custom"
		if above := e.ParallelAbove; db.ServerBytes > above && (above > 0 || db.ServerBytes > defaultParallelAbove) {
			db.Format = "directory"
		}
		_ = level.Debug(req.Log).Log("msg", "dumping", "database", name, "bytes", db.ServerBytes, "format", db.Format)
		if err := e.dump(ctx, req, programs, d.Dir, &db); err != nil {
			return asFailure(fmt.Errorf("dump database %s: %w", name, err))
		}
		if m.RecoveryPoint.IsZero() || db.SnapshotAt.Before(m.RecoveryPoint) {
			m.RecoveryPoint = db.SnapshotAt
		}
		m.Databases = append(m.Databases, db)
	}
	if len(names) == 0 { // a server with templates only: its globals are the backup
		m.RecoveryPoint = time.Now().UTC()
	}
	return nil
}

// Estimate implements engine.Engine: the last dump's size, scaled by how the databases grew, and a
// fifth more. Without a last dump a quarter of the databases' size: compressed dumps are smaller as
// a rule, and a first backup that fills the disk does no harm but to itself.
func (e *Engine) Estimate(ctx context.Context, req engine.Request, last *catalog.Backup) (int64, error) {
	conn, err := req.Target.Connect(ctx, "")
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	names, err := server.Databases(ctx, conn, req.Databases)
	if err != nil {
		return 0, asFailure(err)
	}
	var now int64
	err = conn.QueryRow(ctx, `
		SELECT coalesce(pg_catalog.sum(pg_catalog.pg_database_size(oid)), 0)::bigint
		  FROM pg_catalog.pg_database
		 WHERE datname = ANY ($1)`, names).Scan(&now)
	if err != nil {
		return 0, asFailure(fmt.Errorf("ask for the databases' size: %w", err))
	}
	if last == nil || last.Manifest.ServerBytes() == 0 {
		return now / 4, nil
	}
	growth := max(1, float64(now)/float64(last.Manifest.ServerBytes()))
	return int64(float64(last.Manifest.Bytes) * growth * 1.2), nil
}

// Forget implements engine.Engine: everything is in the backup's directory.
func (e *Engine) Forget(context.Context, catalog.Backup) error { return nil }

var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)

// fileName names a database's archive: readable where the name allows, by number where not.
func fileName(database string, i int, taken map[string]bool) string {
	name := database + ".dump"
	if !plainName.MatchString(database) || taken[name] {
		for name = fmt.Sprintf("database-%d.dump", i); taken[name]; i++ {
			name = fmt.Sprintf("database-%d.dump", i)
		}
	}
	taken[name] = true
	return name
}

// asFailure gives an error without a reason the reason it has by what caused it, or Dump.
func asFailure(err error) error {
	var f *failure.Error
	if err == nil || errors.As(err, &f) {
		return err
	}
	if r := failure.Of(err); r != failure.Other {
		return &failure.Error{Reason: r, Err: err}
	}
	return &failure.Error{Reason: failure.Dump, Err: err}
}
