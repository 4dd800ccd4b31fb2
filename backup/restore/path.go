package restore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/clients"
	"github.com/pg-reliability/pg_reliability_exporter/backup/contents"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/globals"
	"github.com/pg-reliability/pg_reliability_exporter/backup/properties"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/backup/sqltext"
)

// place is a database of a backup, the place it gets on the server, and what becomes of what stands there.
type place struct {
	database catalog.Database
	as       string // the name it gets
	keepAs   string // the name a database of that name gets; "" until one is made of as and the time
	dropOld  bool   // the caller will drop that database
	vacant   bool   // that database is taken for empty: it is looked at again before its name is taken
	loan     *loan  // the database is not in the backup: it comes from another one; nil for all others

	beside  string   // the name until the swap
	kept    string   // keepAs, when something stood there
	notes   []string // what of its properties could not be restored
	seconds float64  // how long new connections had to wait
	from    string   // the backup it came from, when it is not the one that is restored
	absent  bool     // nothing gets the place: no other backup could fill it
}

// source is a backup and how it is loaded.
type source struct {
	catalog.Backup
	loader       engine.Loader
	programs     clients.Programs
	noTablespace bool
}

// bring walks the whole path, from a backup to databases that serve under their names, all of them at once. It
// returns the rows they hold. After an error everything on the server is as it was, but for roles.
func (s *session) bring(ctx context.Context, loader engine.Loader, b catalog.Backup, places []*place) (rows int64, err error) {
	if err := s.notOlder(b); err != nil {
		return 0, err
	}
	src := source{Backup: b, loader: loader}
	if src.programs, err = loader.Programs(ctx, s.facts.Major()); err != nil {
		return 0, err
	}
	if err := s.survey(ctx, places); err != nil {
		return 0, notTheBackup(err)
	}
	if src.noTablespace, err = s.lacksTablespaces(ctx, loader, b); err != nil {
		return 0, err
	}
	if err := s.roles(ctx, src); err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			s.dropQuietly(ctx, places)
		}
	}()
	for _, p := range places {
		var n int64
		if p.loan != nil {
			n, err = s.fillFromAnother(ctx, b, p)
		} else {
			n, err = s.fill(ctx, src, p)
		}
		if !s.throwaway {
			err = failure.WithLocks(err, "on the server")
		}
		if err != nil && s.broken.take(p.database.Name, err) {
			s.warn("database %s does not come back: %s", p.database.Name, err)
			s.dropQuietly(ctx, []*place{p})
			p.absent = true
			continue
		}
		if err != nil {
			return 0, err
		}
		rows += n
	}
	places = slices.DeleteFunc(slices.Clone(places), func(p *place) bool { return p.absent })
	if s.broken.nothing(places) {
		return 0, s.broken.first
	}
	if s.beforeSwap != nil {
		s.beforeSwap()
	}
	s.report("swap")
	return rows, s.swap(ctx, places)
}

// roles makes the roles the server lacks. A rehearsal does it again, with all of them there, as they are in a
// restore into the server that the backup is of.
func (s *session) roles(ctx context.Context, src source) error {
	if s.NoOwner {
		return nil
	}
	s.report("roles")
	t := s.Target.With("dbname", s.maintenance)
	notes, err := src.loader.RestoreRoles(ctx, src.Backup, t, globals.Options{WholeServer: s.whole})
	for _, note := range notes {
		s.warn("could not be restored: %s", note)
	}
	if err != nil || !s.throwaway {
		return err
	}
	if _, err := src.loader.RestoreRoles(ctx, src.Backup, t, globals.Options{}); err != nil {
		return fmt.Errorf("with all roles there: %w", err)
	}
	return nil
}

// withoutRoles names the roles that the server would not take, where there are such: what they own can't be loaded.
func (s *session) withoutRoles(ctx context.Context, b catalog.Backup, cause error) error {
	if s.NoOwner || b.Manifest.Globals == nil || b.Manifest.Globals.Objects == nil || ctx.Err() != nil {
		return cause
	}
	var names, absent []string
	for _, r := range b.Manifest.Globals.Objects.Roles {
		names = append(names, r.Name)
	}
	rows, err := s.conn.Query(ctx, `
		SELECT r FROM pg_catalog.unnest($1::text[]) AS r
		 WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname::text = r)`, names)
	if err == nil {
		absent, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if err != nil || len(absent) == 0 {
		return cause // what failed is told, whatever we could not ask
	}
	for i, name := range absent {
		absent[i] = fmt.Sprintf("%q", name)
	}
	return failure.New(failure.Of(notTheBackup(cause)), "%w", cause).
		WithHint("This server takes no role of the name %s, and what such a role owns can't be loaded. "+
			"Rename it where it is and make a new backup, or restore with --no-owner.", strings.Join(absent, ", "))
}

// fill makes a database beside what stands in its place, loads it, and compares it with the manifest. Nobody is
// served by it yet: a comment marks it as unfinished. It returns the rows the database holds.
func (s *session) fill(ctx context.Context, src source, p *place) (int64, error) {
	if err := s.checkExtensions(ctx, p.database); err != nil {
		return 0, notTheBackup(err)
	}
	err := s.make(ctx, src, p)
	if err != nil {
		return 0, err
	}
	err = s.load(ctx, src, p, s.Jobs)
	if err != nil && s.Jobs > 1 && ofParallelLoading(ctx, err) {
		s.warn("database %s could not be loaded by %d workers at once, and is loaded again by one: %s", p.database.Name, s.Jobs, err)
		s.dropQuietly(ctx, []*place{p})
		if err = s.make(ctx, src, p); err == nil {
			err = s.load(ctx, src, p, 1)
		}
	}
	if err != nil {
		return 0, s.withoutRoles(ctx, src.Backup, err)
	}
	if err := s.analyze(ctx, p); err != nil {
		return 0, notTheBackup(err)
	}
	n, err := s.compare(ctx, p)
	return n, notTheBackup(err)
}

// make makes the empty database beside.
func (s *session) make(ctx context.Context, src source, p *place) error {
	s.report("load " + p.database.Name)
	if err := s.create(ctx, p, src.ID); err != nil {
		return notTheBackup(err)
	}
	return s.dress(ctx, p, src.ID)
}

// load loads the empty database beside.
func (s *session) load(ctx context.Context, src source, p *place, jobs int) error {
	db, err := s.understood(ctx, p.database)
	if err != nil {
		return notTheBackup(err)
	}
	o := engine.LoadOptions{Programs: src.programs, Jobs: jobs, NoTablespaces: src.noTablespace, NoOwner: s.NoOwner}
	late, err := s.late(ctx, src, db)
	if err != nil {
		return err
	}
	o.Entries = late.rest
	stop := s.watch(ctx, p)
	defer stop()
	err = src.loader.Load(ctx, src.Backup, db, s.loadTarget(), p.beside, o)
	if err != nil {
		return err
	}
	return s.loadLate(ctx, src, p, db, o, late)
}

// understood is a database without the settings for its rows that the server knows no such value of: an old time zone, say.
func (s *session) understood(ctx context.Context, db catalog.Database) (catalog.Database, error) {
	var known []catalog.Setting
	for _, set := range db.Session {
		_, err := s.conn.Exec(ctx, "SELECT pg_catalog.set_config($1, $2, true)", set.Name, server.Bytes(set.Value)) // until its own end
		switch sqlState(err) {
		case "22023": // invalid_parameter_value
			s.warn("database %s: its rows were made where %s was %q, which the server does not know: those that depend on it may not come back",
				db.Name, set.Name, set.Value)
			continue
		}
		if err != nil {
			return db, fmt.Errorf("try setting %s of database %s: %w", set.Name, db.Name, err)
		}
		known = append(known, set)
	}
	// A database, or a role, for which views are out of reach has materialized views all the same.
	var restricts bool
	err := s.conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_catalog.pg_settings WHERE name = $1)", server.NonSystem).Scan(&restricts)
	if err != nil {
		return db, fmt.Errorf("look for setting %s: %w", server.NonSystem, err)
	}
	if restricts {
		known = append(known, catalog.Setting{Name: server.NonSystem})
	}
	db.Session = known
	return db, nil
}

// ofParallelLoading says whether a failure to load may be that of several workers: pg_restore grants privileges on a table
// before those on its schema when its workers happen to get them in that order, and two workers may deadlock. What one worker
// can load is a good backup. A full disk is none: to fill a live server's a second time may end it.
func ofParallelLoading(ctx context.Context, err error) bool {
	return ctx.Err() == nil && !fullDisk(err) &&
		slices.Contains([]failure.Reason{failure.Other, failure.Dump, failure.Restore, failure.Permission}, failure.Of(err))
}

// fullDisk says whether what the server or a program said is that there is no room.
func fullDisk(err error) bool {
	text := err.Error()
	return strings.Contains(text, "No space left on device") || strings.Contains(text, "Disk quota exceeded")
}

// loadTarget is the server as the client programs that load are to log in.
func (s *session) loadTarget() server.Target {
	if s.conn.PgConn().ParameterStatus("is_superuser") == "on" {
		return s.Target.Unlimited()
	}
	return s.Target
}

// notTheBackup gives an error without a reason one that does not make it the backup's fault.
func notTheBackup(err error) error {
	if failure.Of(err) == failure.Other {
		return &failure.Error{Reason: failure.Restore, Err: err}
	}
	return err
}

// create makes the empty database beside, marked as unfinished.
func (s *session) create(ctx context.Context, p *place, id string) error {
	p.beside = besideName()
	if err := properties.Create(ctx, s.conn, p.beside, p.database, s.throwaway); err != nil {
		return err
	}
	err := sqltext.Exec(ctx, s.conn, "COMMENT ON DATABASE "+server.Quote(p.beside)+" IS "+server.Literal(server.Mark(id, p.beside)))
	if err != nil {
		return fmt.Errorf("mark database %s as unfinished: %w", p.beside, err)
	}
	return nil
}

// notYet are settings of a database that its data can't need, and that could keep us from loading it.
var notYet = []string{
	"role", "session_authorization", "session_preload_libraries", "local_preload_libraries", "default_transaction_read_only",
	"temp_file_limit", // a whole index is sorted in temporary files
	"exit_on_error", "vacuum_cost_delay",
}

// dress gives the database its owner, settings and privileges before its data comes: a constraint or the format of
// a number may depend on a setting, a materialized view on the owner. The rest follows with the swap.
func (s *session) dress(ctx context.Context, p *place, id string) error {
	if s.NoOwner || p.database.Owner == "" {
		return nil
	}
	early := p.database
	early.Properties.ConnectionLimit = -1
	return s.prepare(ctx, p, id, early)
}

// settle gives the database the settings that its data may need, and nothing else.
func (s *session) settle(ctx context.Context, p *place, id string) error {
	early := catalog.Database{Name: p.database.Name, Properties: catalog.Properties{DefaultGrants: true, ConnectionLimit: -1}}
	for _, set := range p.database.Properties.Settings {
		if set.Role == "" {
			early.Properties.Settings = append(early.Properties.Settings, set)
		}
	}
	return s.prepare(ctx, p, id, early)
}

func (s *session) prepare(ctx context.Context, p *place, id string, early catalog.Database) error {
	early.Properties.Comment = server.Mark(id, p.beside)
	early.Properties.Settings = slices.DeleteFunc(slices.Clone(early.Properties.Settings), func(s catalog.Setting) bool {
		return slices.Contains(notYet, strings.ToLower(s.Name))
	})
	tx, err := s.conn.Begin(ctx)
	if err != nil {
		return fmt.Errorf("prepare database %s: %w", p.beside, err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if _, err := properties.Apply(ctx, tx.Conn(), p.beside, early); err != nil { // what it notes, it notes again
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("prepare database %s: %w", p.beside, err)
	}
	return nil
}

// finish gives the database everything its manifest says, and takes the mark away.
func (s *session) finish(ctx context.Context, tx pgx.Tx, p *place) error {
	q := server.Quote(p.beside)
	sql := []string{"COMMENT ON DATABASE " + q + " IS NULL"}
	if !s.NoOwner && p.database.Owner != "" {
		notes, err := properties.Apply(ctx, tx.Conn(), p.beside, p.database)
		if err != nil {
			return err
		}
		p.notes = notes
		sql = nil
		if p.database.Properties.IsTemplate {
			sql = append(sql, "ALTER DATABASE "+q+" IS_TEMPLATE true")
		}
		if !p.database.Properties.AllowConn {
			sql = append(sql, "ALTER DATABASE "+q+" ALLOW_CONNECTIONS false")
		}
	}
	for _, statement := range sql {
		if err := sqltext.Exec(ctx, tx.Conn(), statement); err != nil {
			return fmt.Errorf("finish database %s: %w", p.database.Name, err)
		}
	}
	return nil
}

// compare compares the loaded database with the manifest, and returns its rows.
func (s *session) compare(ctx context.Context, p *place) (int64, error) {
	s.report("compare " + p.database.Name)
	conn, err := s.Target.Connect(ctx, p.beside)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	read := contents.Read
	var without []string
	if s.NoOwner {
		read, without = contents.ReadOwn, contents.Privileges
	}
	got, err := read(ctx, conn)
	if err != nil {
		return 0, err
	}
	if d := contents.Compare(p.database.Contents, got, without...); len(d) > 0 {
		if n := len(d); n > 10 {
			d = append(d[:10], fmt.Sprintf("and %d more", n-10))
		}
		return 0, failure.New(failure.Verify, "database %s was restored and differs from the manifest: %s", p.database.Name,
			strings.Join(d, "; "))
	}
	return got.Rows(), nil
}

// watch reports once a second how large the new database is, until stop is called. The old one's
// size is where it ends, more or less.
func (s *session) watch(ctx context.Context, p *place) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if s.Progress == nil {
			return
		}
		conn, err := s.Target.Connect(ctx, s.maintenance)
		if err != nil {
			return
		}
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Second):
			}
			var size int64
			if conn.QueryRow(ctx, `SELECT pg_catalog.pg_database_size($1::name)`, p.beside).Scan(&size) != nil {
				return
			}
			s.Progress("load "+p.database.Name, size, max(size, p.database.ServerBytes))
		}
	}()
	return func() { cancel(); <-done }
}
