package pgdump

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/go-kit/log/level"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/clients"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/backup/sqltext"
)

const (
	// smallBytes is the size up to which a database is dumped beside a larger one: an empty one has half of that, and to dump it
	// costs sessions and the start of programs, no reading.
	smallBytes = 16 << 20
	// sessionsBeside is how many sessions that takes at the most: the run's two, and for each of two dumps three, and one of
	// pg_dump's before that has not quite ended.
	sessionsBeside = 10
)

// dumping is the dump of all databases of a backup. They are dumped one after the other, but small ones, and the scripts for
// people, while larger ones are. One that can't be dumped costs itself.
type dumping struct {
	*Engine
	req      engine.Request
	programs clients.Programs
	dir      string
	results  []dumped

	mu    sync.Mutex // of what both ways use
	conn  *pgx.Conn
	texts *sqltext.Texts
}

// dumped is what came of one database.
type dumped struct {
	db      catalog.Database
	path    string // of its archive
	omitted []catalog.Omission
	err     error
}

// run dumps the databases. An error ends all of it; one that is a database's alone is in its result.
func (d *dumping) run(ctx context.Context, names []string, scripts func(context.Context) error) error {
	d.results = make([]dumped, len(names))
	taken := map[string]bool{}
	for i, name := range names {
		d.results[i].db.Name, d.results[i].path = name, databasesDir+"/"+fileName(name, i, taken)
	}
	small := d.small(ctx, names)
	if small == nil {
		if err := scripts(ctx); err != nil {
			return err
		}
		scripts = func(context.Context) error { return nil }
	}
	group, beside := errgroup.WithContext(ctx)
	besides := make(chan struct{}) // closed when all that is done beside is done
	scriptsAgain := false
	group.Go(func() error {
		ctx := beside
		defer close(besides)
		if err := scripts(ctx); failure.LacksLocks(err) {
			scriptsAgain = true
		} else if err != nil {
			return err
		}
		quiet := d.req
		quiet.Progress = nil // it tells of one thing at a time
		for i := range d.results {
			if small[d.results[i].db.Name] {
				if err := d.one(ctx, quiet, &d.results[i], besides); err != nil {
					return err
				}
			}
		}
		return nil
	})
	group.Go(func() error {
		for i := range d.results {
			if !small[d.results[i].db.Name] {
				if err := d.one(beside, d.req, &d.results[i], besides); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return err
	}
	// Two dumps at once hold the locks of both. What the server's table of locks had no room for is done again by itself.
	if scriptsAgain {
		if err := scripts(ctx); err != nil {
			return err
		}
	}
	for i := range d.results {
		if r := &d.results[i]; small != nil && failure.LacksLocks(r.err) {
			_ = level.Info(d.req.Log).Log("msg", "the dump begins anew, with no other beside it: the table of locks was full", "database", r.db.Name)
			if err := d.one(ctx, d.req, r, besides); err != nil {
				return err
			}
		}
	}
	return nil
}

// small finds the databases that are dumped beside others. It is nil where that can't be told, or the role may not have the
// sessions for it: then nothing is.
func (d *dumping) small(ctx context.Context, names []string) map[string]bool {
	var limit int
	err := d.conn.QueryRow(ctx, `SELECT rolconnlimit FROM pg_catalog.pg_roles WHERE rolname = session_user`).Scan(&limit)
	if err != nil || limit >= 0 && limit < sessionsBeside {
		return nil
	}
	all := make([]string, len(names))
	for i, name := range names {
		all[i] = server.Bytes(name)
	}
	rows, err := d.conn.Query(ctx, `
		SELECT d.datname
		  FROM pg_catalog.pg_database d
		 WHERE d.datname = ANY ($1)
		   AND CASE WHEN pg_catalog.has_database_privilege(d.oid, 'CONNECT') THEN pg_catalog.pg_database_size(d.oid) END <= $2`,
		all, smallBytes)
	if err != nil {
		return nil
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil
	}
	small := map[string]bool{}
	for _, name := range found {
		small[server.Text(name)] = true
	}
	if len(small) == len(names) { // beside what?
		clear(small)
	}
	return small
}

// one dumps one database. What is in the directory format has several sessions: it waits until nothing is done beside.
func (d *dumping) one(ctx context.Context, req engine.Request, r *dumped, besides <-chan struct{}) error {
	name := r.db.Name
	r.db, r.omitted, r.err = d.properties(ctx, name)
	if r.err == nil {
		r.db.Path, r.db.Format = r.path, "custom"
		if above := d.ParallelAbove; r.db.ServerBytes > above && (above > 0 || r.db.ServerBytes > defaultParallelAbove) {
			r.db.Format = "directory"
			select {
			case <-besides:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		_ = level.Debug(req.Log).Log("msg", "dumping", "database", name, "bytes", r.db.ServerBytes, "format", r.db.Format)
		var omitted []catalog.Omission
		omitted, r.err = d.dump(ctx, req, d.programs, d.dir, &r.db)
		r.omitted = append(r.omitted, omitted...)
	}
	if r.err == nil {
		return nil
	}
	r.db.Name = name
	r.err = failure.WithLocks(failure.WithReason(fmt.Errorf("dump database %s: %w", name, r.err), failure.Dump), "on the server")
	if !d.ofDatabase(ctx, r.err) {
		return r.err
	}
	return nil
}

func (d *dumping) properties(ctx context.Context, name string) (catalog.Database, []catalog.Omission, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return server.Properties(ctx, d.conn, name, d.texts)
}

// ofDatabase says whether a failure is that of one database: others may still be dumped.
func (d *dumping) ofDatabase(ctx context.Context, err error) bool {
	switch failure.Of(err) {
	case failure.Connection, failure.Permission, failure.LockTimeout, failure.Dump, failure.Other:
		d.mu.Lock()
		defer d.mu.Unlock()
		return ctx.Err() == nil && d.conn.Ping(ctx) == nil
	}
	return false
}

// enter enters the results in the manifest. Only where no database could be dumped is there no backup.
func (d *dumping) enter(m *catalog.Manifest) error {
	room := catalog.Room{}
	var first error
	held := false // a database that holds anything
	for _, r := range d.results {
		if r.err == nil {
			if r.err = room.Take(r.db); r.err != nil {
				r.err = failure.WithReason(fmt.Errorf("dump database %s: %w", r.db.Name, r.err), failure.Dump)
			}
		}
		if r.err != nil {
			if err := os.RemoveAll(filepath.Join(d.dir, filepath.FromSlash(r.path))); err != nil {
				return fmt.Errorf("remove the archive of database %s: %w", r.db.Name, err)
			}
			first = cmp.Or(first, r.err)
			m.Omit(failed(r.db.Name, r.err))
			continue
		}
		m.Omit(r.omitted...)
		if m.RecoveryPoint.IsZero() || r.db.SnapshotAt.Before(m.RecoveryPoint) {
			m.RecoveryPoint = r.db.SnapshotAt
		}
		m.Databases = append(m.Databases, r.db)
		held = held || !r.db.Contents.Empty()
	}
	// A dump that failed, and nothing else but empty databases, is a failed run. Where a database is only closed to the job's role,
	// what is left is all that it may back up.
	if !m.Incomplete || held || first == nil {
		return nil
	}
	return first
}

// noneToDump is why a server that has databases leaves none to dump. A backup of none would be the newest good one, and hold nothing. It is
// nil where there is no database at all: then the globals are the backup.
func noneToDump(m catalog.Manifest) error {
	var none error
	for _, o := range m.Omitted {
		if o.Database == "" || o.Name != "" || o.Kind == catalog.UnreadTemplate {
			continue
		}
		if o.Kind == catalog.ExcludedDatabase {
			none = cmp.Or[error](none, failure.New(failure.Config, "the choice of databases (%s) leaves none to back up", m.Set).
				WithHint("Exclude less: --exclude-database takes * for any characters."))
			continue
		}
		reason := failure.Dump
		if o.Kind == catalog.RefusedDatabase {
			reason = failure.Permission
		}
		return failure.New(reason, "no database could be dumped: %s", o).WithHint("%s.", strings.TrimSuffix(o.Remedy, "."))
	}
	return none
}

// failed is the omission of a database that could not be dumped.
func failed(name string, err error) catalog.Omission {
	o := catalog.Omission{Kind: catalog.FailedDatabase, Database: name, Why: err.Error(), Remedy: "Mend that, or --exclude-database if it " +
		"may be lost."}
	var f *failure.Error
	if errors.As(err, &f) {
		o.Why = f.Err.Error()
		if f.Hint != "" {
			o.Remedy = f.Hint
		}
	}
	return o
}

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
