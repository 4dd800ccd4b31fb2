// Package pgdump is the engine on pg_dump: one archive a database, taken under an exported snapshot
// that also counts every table's rows, plus the server's roles and tablespaces. A role with
// pg_read_all_data and pg_monitor suffices; row-level security makes a dump fail, never filter.
//
// Each database is consistent in itself. Two databases of one backup are not of the same moment.
package pgdump

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/clients"
	"github.com/pg-reliability/pg_reliability_exporter/backup/contents"
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
		return asFailure(err)
	}
	programs, err := e.Finder.Find(ctx, m.Server.Major(), "pg_dump", "pg_dumpall", "pg_restore")
	if err != nil {
		return err
	}
	m.Client = catalog.Client{Program: "pg_dump", Version: programs.Version}
	names, omitted, err := server.Databases(ctx, conn, req.Databases)
	if err != nil {
		return asFailure(err)
	}
	m.Omit(omitted...)
	for _, dir := range []string{databasesDir, globalsDir} {
		if err := os.Mkdir(filepath.Join(d.Dir, dir), 0o700); err != nil {
			return fmt.Errorf("write the backup: %w", err)
		}
	}
	if m.Globals, err = e.dumpGlobals(ctx, req, conn, programs, d.Dir); err != nil {
		return asFailure(err)
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
	if err := e.dumpAll(ctx, req, conn, programs, names, d); err != nil {
		return asFailure(err)
	}
	if m.RecoveryPoint.IsZero() { // no database at all: the globals are the backup
		m.RecoveryPoint = time.Now().UTC()
	}
	say(req.Log, m.Omitted)
	return nil
}

// say logs what a backup lacks: of each kind the first ten, for the manifest has all.
func say(log log.Logger, omitted []catalog.Omission) {
	const most = 10
	n := map[catalog.OmissionKind]int{}
	for _, o := range omitted {
		l := level.Warn(log)
		if o.Kind == catalog.ExcludedDatabase {
			l = level.Info(log)
		}
		if n[o.Kind]++; n[o.Kind] <= most {
			_ = l.Log("msg", "not in the backup: "+o.String(), "hint", o.Remedy)
		} else if n[o.Kind] == most+1 {
			_ = l.Log("msg", "not in the backup: more of the kind "+string(o.Kind), "hint", "`pg_reliability_backup show` names them")
		}
	}
}

// dumpAll dumps the databases one after the other. One that can't be dumped costs itself. Only where none could be dumped is
// there no backup.
func (e *Engine) dumpAll(ctx context.Context, req engine.Request, conn *pgx.Conn, p clients.Programs, names []string, d *catalog.Draft) error {
	m := &d.Manifest
	taken := map[string]bool{}
	var first error
	held := false // a database that holds anything
	for i, name := range names {
		db, err := server.Properties(ctx, conn, name)
		if err == nil {
			db.Path = databasesDir + "/" + fileName(name, i, taken)
			db.Format = "custom"
			if above := e.ParallelAbove; db.ServerBytes > above && (above > 0 || db.ServerBytes > defaultParallelAbove) {
				db.Format = "directory"
			}
			_ = level.Debug(req.Log).Log("msg", "dumping", "database", name, "bytes", db.ServerBytes, "format", db.Format)
			var omitted []catalog.Omission
			if omitted, err = e.dump(ctx, req, p, d.Dir, &db); err == nil {
				m.Omit(omitted...)
			}
		}
		if err != nil {
			err = asFailure(fmt.Errorf("dump database %s: %w", name, err))
			if !ofDatabase(ctx, conn, err) {
				return err
			}
			first = cmp.Or(first, err)
			m.Omit(failed(name, err))
			continue
		}
		if m.RecoveryPoint.IsZero() || db.SnapshotAt.Before(m.RecoveryPoint) {
			m.RecoveryPoint = db.SnapshotAt
		}
		m.Databases = append(m.Databases, db)
		held = held || !db.Contents.Empty()
	}
	// A dump that failed, and nothing else but empty databases, is a failed run. Where a database is only closed to the job's role,
	// what is left is all that it may back up.
	if !m.Incomplete || held || first == nil && len(m.Databases) > 0 {
		return nil
	}
	if first == nil {
		for _, o := range m.Omitted {
			if o.Kind.Incomplete() {
				return failure.New(failure.Permission, "no database could be dumped: %s", o).WithHint("%s.", o.Remedy)
			}
		}
	}
	return first
}

// ofDatabase says whether a failure is that of one database: others may still be dumped.
func ofDatabase(ctx context.Context, conn *pgx.Conn, err error) bool {
	switch failure.Of(err) {
	case failure.Connection, failure.Permission, failure.LockTimeout, failure.Dump, failure.Other:
		return ctx.Err() == nil && conn.Ping(ctx) == nil
	}
	return false
}

// failed is the omission of a database that could not be dumped.
func failed(name string, err error) catalog.Omission {
	o := catalog.Omission{Kind: catalog.FailedDatabase, Database: name, Why: err.Error(), Remedy: "Mend that, or --exclude-database if it may be lost."}
	var f *failure.Error
	if errors.As(err, &f) {
		o.Why = f.Err.Error()
		if f.Hint != "" {
			o.Remedy = f.Hint
		}
	}
	return o
}

// template1 looks whether template1 holds anything of a user's: then it is dumped like other databases. Most don't, and whoever
// is in it keeps others from making databases.
func template1(ctx context.Context, maintenance *pgx.Conn, req engine.Request) (dump bool, omitted []catalog.Omission) {
	const name = "template1"
	if len(req.Databases.Only) > 0 || req.Databases.Excludes(name) {
		return false, nil
	}
	unread := func(err error) []catalog.Omission {
		return []catalog.Omission{{
			Kind: catalog.UnreadTemplate, Database: name, Why: "it could not be looked into, and may hold something: " + err.Error(),
			Remedy: "GRANT CONNECT ON DATABASE template1 to the job's role, or --exclude-database=template1.",
		}}
	}
	var there, may bool
	err := maintenance.QueryRow(ctx, `
		SELECT count(*) > 0, coalesce(bool_and(datallowconn AND has_database_privilege(oid, 'CONNECT')), false)
		  FROM pg_database WHERE datname = $1`, name).Scan(&there, &may)
	if err != nil {
		return false, unread(err)
	}
	if !there {
		return false, nil
	}
	if !may {
		return false, unread(errors.New("the job's role has no CONNECT on it, or nobody has"))
	}
	conn, err := req.Target.Connect(ctx, name)
	if err != nil {
		return false, unread(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	what, err := contents.Anything(ctx, conn)
	if err != nil {
		return false, unread(err)
	}
	var extensions int
	if err := conn.QueryRow(ctx, `SELECT count(*) FROM pg_catalog.pg_extension WHERE extname <> 'plpgsql'`).Scan(&extensions); err != nil {
		return false, unread(err)
	}
	return what != "" || extensions > 0, nil
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
