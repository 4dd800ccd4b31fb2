// Package pgdump is the engine on pg_dump: one archive a database, taken under an exported snapshot
// that also counts every table's rows, plus the server's roles and tablespaces. A role with
// pg_read_all_data and pg_monitor suffices; row-level security makes a dump fail, never filter.
//
// Each database is consistent in itself. Two databases of one backup are not of the same moment.
package pgdump

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/clients"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/backup/sqltext"
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
	passwordsFile   = "globals/passwords.json"
)

// Name implements engine.Engine.
func (e *Engine) Name() string { return Name }

// Restoring implements engine.Engine: it loads single databases.
func (e *Engine) Restoring() engine.Restoring { return engine.Restoring{Databases: e} }

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
		return failure.WithReason(err, failure.Dump)
	}
	programs, err := e.Finder.Find(ctx, m.Server.Major(), "pg_dump", "pg_dumpall", "pg_restore")
	if err != nil {
		return err
	}
	m.Client = catalog.Client{Program: "pg_dump", Version: programs.Version}
	names, omitted, err := server.Databases(ctx, conn, req.Databases)
	if err != nil {
		return failure.WithReason(err, failure.Dump)
	}
	m.Omit(omitted...)
	for _, dir := range []string{databasesDir, globalsDir} {
		if err := os.Mkdir(filepath.Join(d.Dir, dir), 0o700); err != nil {
			return fmt.Errorf("write the backup: %w", err)
		}
	}
	texts := &sqltext.Texts{}
	scripts, err := e.dumpGlobals(ctx, req, conn, programs, d, texts)
	if err != nil {
		return failure.WithReason(err, failure.Dump)
	}
	if !m.Globals.Passwords {
		m.Omit(catalog.Omission{
			Kind: catalog.OmittedPasswords, Why: "the job's role may not read the roles' passwords: restored roles have none",
			Remedy: "GRANT pg_read_all_data to the job's role.",
		})
	}
	template, omitted := template1(ctx, conn, req)
	m.Omit(omitted...)
	if template {
		names = append(names, "template1")
	}
	if len(names) == 0 {
		if err := noneToDump(*m); err != nil {
			return err
		}
	}
	all := &dumping{Engine: e, req: req, programs: programs, dir: d.Dir, conn: conn, texts: texts}
	if err := all.run(ctx, names, scripts); err != nil {
		return failure.WithReason(err, failure.Dump)
	}
	if err := all.enter(m); err != nil {
		return failure.WithReason(err, failure.Dump)
	}
	takesBytes, err := restoresInBytes(ctx, conn)
	if err != nil {
		return failure.WithReason(err, failure.Dump)
	}
	if !takesBytes {
		m.Omit(inBytes(m)...)
	}
	if m.RecoveryPoint.IsZero() { // no database at all: the globals are the backup
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
	names, _, err := server.Databases(ctx, conn, req.Databases)
	if err != nil {
		return 0, failure.WithReason(err, failure.Dump)
	}
	var now int64
	err = conn.QueryRow(ctx, `
		SELECT coalesce(pg_catalog.sum(pg_catalog.pg_database_size(oid)), 0)::bigint
		  FROM pg_catalog.pg_database
		 WHERE datname = ANY ($1)`, names).Scan(&now)
	if err != nil {
		return 0, failure.WithReason(fmt.Errorf("ask for the databases' size: %w", err), failure.Dump)
	}
	if last == nil || last.Manifest.ServerBytes() == 0 {
		return now / 4, nil
	}
	growth := max(1, float64(now)/float64(last.Manifest.ServerBytes()))
	return int64(float64(last.Manifest.Bytes) * growth * 1.2), nil
}

// Forget implements engine.Engine: everything is in the backup's directory.
func (e *Engine) Forget(context.Context, catalog.Backup) error { return nil }
