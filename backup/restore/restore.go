// Package restore brings backups back: beside what is there, checked, and swapped in by one
// transaction of renames. Until that transaction commits, the original is untouched and serving; after
// it, the original is still there under another name.
package restore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/clients"
	"github.com/pg-reliability/pg_reliability_exporter/backup/contents"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine/pgdump"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/globals"
	"github.com/pg-reliability/pg_reliability_exporter/backup/properties"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
)

// Restorer restores archives of pg_dump.
type Restorer struct {
	Repo   *catalog.Repository
	Engine *pgdump.Engine
	// Target is the server to restore into.
	Target server.Target
	// Jobs is how many tables are loaded at once; 0 means 2.
	Jobs int
	// Drain is how long a transaction in progress may go on before its session is ended; at most
	// the server's own patience of 5 s with a rename, less a reserve. 0 means 2 s.
	Drain time.Duration
	// NoOwner leaves everything to the role that restores, without roles and privileges.
	NoOwner bool
	Log     log.Logger
	Now     func() time.Time
	// Progress is called at the beginning of each phase, if not nil.
	Progress func(phase string, done, total int64)
}

const (
	defaultDrain = 2 * time.Second
	maxDrain     = 4 * time.Second
	defaultJobs  = 2
)

// Options of one restore.
type Options struct {
	Backup   catalog.Backup
	Database string
	// As is the name the database gets; "" means its own.
	As string
	// KeepAs is the name a database of that name gets; "" means <name>_before_<time>.
	KeepAs string
	// DropOld drops that database after the swap.
	DropOld bool
}

// Report says what a restore did.
type Report struct {
	Backup   string  `json:"backup"`
	Database string  `json:"database"`
	Table    string  `json:"table,omitempty"`   // the new table's name, when one table was asked for
	KeptAs   string  `json:"kept_as,omitempty"` // the old database's new name
	Rows     int64   `json:"rows"`
	Seconds  float64 `json:"seconds"`
	// SwapSeconds is how long new connections had to wait.
	SwapSeconds float64 `json:"swap_seconds,omitempty"`
}

// session is the state of one restore: the maintenance session, the lock, and what was found out.
type session struct {
	*Restorer
	conn *pgx.Conn
	lock *server.Lock
	// maintenance is the database conn is in: one that is not swapped.
	maintenance string

	facts    catalog.Server
	programs clients.Programs
}

// open connects to a database that will not be renamed, takes the lock that keeps backup jobs away,
// and removes what an interrupted restore left.
func (r *Restorer) open(ctx context.Context, swapped ...string) (*session, error) {
	maintenance := "postgres"
	for _, name := range swapped {
		if name == maintenance {
			maintenance = "template1"
		}
	}
	target := r.Target
	r = &Restorer{
		Repo: r.Repo, Engine: r.Engine, Target: target, Jobs: r.Jobs, Drain: r.Drain, NoOwner: r.NoOwner,
		Log: r.Log, Now: r.Now, Progress: r.Progress,
	}
	if r.Jobs == 0 {
		r.Jobs = defaultJobs
	}
	if r.Drain == 0 {
		r.Drain = defaultDrain
	}
	r.Drain = min(r.Drain, maxDrain)
	lock, err := server.TakeLock(ctx, r.Target)
	if err != nil {
		return nil, err
	}
	s := &session{Restorer: r, lock: lock, maintenance: maintenance}
	if s.conn, err = r.Target.Connect(ctx, maintenance); err != nil {
		lock.Release()
		return nil, err
	}
	if s.facts, err = server.Facts(ctx, s.conn); err != nil {
		s.close()
		return nil, err
	}
	if s.facts.InRecovery {
		s.close()
		return nil, failure.New(failure.Refused, "the server %s is a standby, nothing was changed", r.Target).
			WithHint("Restore into its primary.")
	}
	if s.programs, err = r.Engine.Programs(ctx, s.facts.Major()); err == nil {
		err = s.dropLeftovers(ctx)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *session) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = s.conn.Close(ctx)
	s.lock.Release()
}

// Restore restores one database of a backup and swaps it in.
func (r *Restorer) Restore(ctx context.Context, o Options) (Report, error) {
	began := r.Now()
	db, ok := o.Backup.Manifest.Database(o.Database)
	if !ok {
		return Report{}, failure.New(failure.Nothing, "backup %s has no database %q", o.Backup.ID, o.Database).
			WithHint("It has: %s.", strings.Join(databaseNames(o.Backup), ", "))
	}
	if o.As == "" {
		o.As = o.Database
	}
	release, err := r.examine(o.Backup)
	if err != nil {
		return Report{}, err
	}
	defer release()
	s, err := r.open(ctx, o.As)
	if err != nil {
		return Report{}, err
	}
	defer s.close()
	if err := s.checkTarget(ctx, o); err != nil {
		return Report{}, err
	}
	if err := s.checkSpace(ctx, db); err != nil {
		return Report{}, err
	}
	stamp := began.UTC().Format("20060102T150405")
	swap := Swap{New: trimName(o.As, "_restore_"+stamp), Name: o.As, KeepAs: o.KeepAs}
	if swap.KeepAs == "" {
		swap.KeepAs = trimName(o.As, "_before_"+stamp)
	}
	if err := s.roles(ctx, o.Backup, globals.Options{}); err != nil {
		return Report{}, s.restoreFailure(o.As, err)
	}
	rows, err := s.beside(ctx, o.Backup, db, swap.New)
	if err == nil {
		swap.Database = db
		r.report("swap")
		err = s.swap(ctx, []*Swap{&swap})
	}
	if err != nil {
		s.dropQuietly(ctx, swap.New)
		return Report{}, s.restoreFailure(o.As, err)
	}
	rep := Report{Backup: o.Backup.ID, Database: o.As, KeptAs: swap.Kept, Rows: rows, SwapSeconds: swap.Seconds}
	if o.DropOld && swap.Kept != "" {
		if err := s.drop(ctx, swap.Kept); err != nil {
			return rep, failure.New(failure.Restore, "database %s is restored and serving; dropping the old one: %w", o.As, err)
		}
		rep.KeptAs = ""
	}
	rep.Seconds = r.Now().Sub(began).Seconds()
	return rep, nil
}

// examine checks a backup's digests and keeps it from being removed.
func (r *Restorer) examine(b catalog.Backup) (release func(), err error) {
	if b.Manifest.Engine != pgdump.Name {
		return nil, failure.New(failure.Refused, "backup %s is of engine %q, which restores whole servers, not databases", b.ID, b.Manifest.Engine)
	}
	release, err = r.Repo.Hold(b.ID)
	if catalog.IsDamage(err) {
		return nil, failure.New(failure.Verify, "backup %s: %w", b.ID, err)
	}
	if err != nil {
		return nil, failure.New(failure.Repository, "backup %s: %w", b.ID, err)
	}
	r.report("checksums")
	if err := r.Repo.CheckSums(b.ID, nil); err != nil {
		release()
		if present := r.Repo.Present(); present != nil {
			return nil, present
		}
		if !catalog.IsDamage(err) {
			return nil, failure.New(failure.Repository, "backup %s can't be read, nothing was changed: %w", b.ID, err)
		}
		return nil, failure.New(failure.Verify, "backup %s is damaged, nothing was changed: %w", b.ID, err).
			WithHint("Choose another one: `pg_reliability_backup list`.")
	}
	return release, nil
}

func (s *session) checkTarget(ctx context.Context, o Options) error {
	if from := o.Backup.Manifest.Server.Major(); s.facts.Major() < from {
		return failure.New(failure.Version, "backup %s is of PostgreSQL %d, the server is %d, nothing was changed", o.Backup.ID, from, s.facts.Major()).
			WithHint("Restore into PostgreSQL %d or newer.", from)
	}
	for _, name := range []string{"template0", "template1"} {
		if o.As == name {
			return failure.New(failure.Refused, "%s can't be replaced, nothing was changed", name).WithHint("Choose a name with --as.")
		}
	}
	if o.KeepAs == "" {
		return nil
	}
	there, err := exists(ctx, s.conn, o.KeepAs)
	if err == nil && there {
		err = failure.New(failure.Refused, "restore %s: database %q exists, nothing was changed", o.As, o.KeepAs).
			WithHint("Drop it or choose another --keep-as.")
	}
	return err
}

// roles makes the roles the server lacks.
func (s *session) roles(ctx context.Context, b catalog.Backup, o globals.Options) error {
	if s.NoOwner {
		return nil
	}
	s.report("roles")
	notes, err := s.Engine.RestoreRoles(ctx, b, s.Target.With("dbname", s.maintenance), o)
	s.warn(notes)
	return err
}

// warn logs what was left out of a restore, since nothing depends on it.
func (s *session) warn(notes []string) {
	for _, note := range notes {
		_ = level.Warn(s.Log).Log("msg", "something of the backup could not be restored", "what", note)
	}
}

// beside restores a database under a new name and compares it with the manifest. It returns the
// rows it holds. Nobody is served by it yet: a comment marks it as unfinished.
func (s *session) beside(ctx context.Context, b catalog.Backup, db catalog.Database, name string) (int64, error) {
	s.report("load " + db.Name)
	if err := s.create(ctx, name, db, b.ID); err != nil {
		return 0, err
	}
	noTablespaces, err := s.lacksTablespaces(ctx, b)
	if err != nil {
		return 0, err
	}
	o := pgdump.LoadOptions{Programs: s.programs, Jobs: s.Jobs, NoTablespaces: noTablespaces, NoOwner: s.NoOwner}
	stop := s.watch(ctx, name, db)
	err = s.Engine.Load(ctx, b, db, s.Target, name, o)
	stop()
	if err != nil {
		return 0, err
	}
	s.report("compare " + db.Name)
	conn, err := s.Target.Connect(ctx, name)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	got, err := contents.Read(ctx, conn)
	if err != nil {
		return 0, err
	}
	var without []string
	if s.NoOwner {
		without = contents.Privileges
	}
	if d := contents.Compare(db.Contents, got, without...); len(d) > 0 {
		return 0, failure.New(failure.Verify, "the restored database differs from the manifest: %s", strings.Join(d[:min(10, len(d))], "; "))
	}
	// Without statistics the first queries of a restored application are its slowest.
	if _, err := conn.Exec(ctx, "ANALYZE"); err != nil {
		return 0, fmt.Errorf("analyze the restored database: %w", err)
	}
	return got.Rows(), nil
}

func (s *session) create(ctx context.Context, name string, db catalog.Database, id string) error {
	if err := properties.Create(ctx, s.conn, name, db, false); err != nil {
		return err
	}
	_, err := s.conn.Exec(ctx, "COMMENT ON DATABASE "+server.Quote(name)+" IS "+server.Literal(server.Unfinished+id))
	if err != nil {
		return fmt.Errorf("mark database %s as unfinished: %w", name, err)
	}
	return nil
}

// dropLeftovers drops databases an interrupted restore left. Under the advisory lock, nobody works on them.
func (s *session) dropLeftovers(ctx context.Context) error {
	rows, err := s.conn.Query(ctx, `
		SELECT d.datname
		  FROM pg_catalog.pg_database d
		 WHERE pg_catalog.starts_with(pg_catalog.shobj_description(d.oid, 'pg_database'), $1)
		   AND d.datname ~ '_restore_[0-9]{8}T[0-9]{6}$'`, server.Unfinished)
	if err != nil {
		return fmt.Errorf("look for unfinished restores: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("look for unfinished restores: %w", err)
	}
	for _, name := range names {
		_ = level.Warn(s.Log).Log("msg", "dropping what an interrupted restore left", "database", name)
		if err := s.drop(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) drop(ctx context.Context, name string) error {
	if _, err := s.conn.Exec(ctx, "DROP DATABASE IF EXISTS "+server.Quote(name)+" WITH (FORCE)"); err != nil {
		return fmt.Errorf("drop database %s: %w", name, err)
	}
	return nil
}

// dropQuietly removes a database that was not finished, also when the context is gone. What it can't
// remove, the next restore does.
func (s *session) dropQuietly(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if s.conn.IsClosed() {
		conn, err := s.Target.Connect(ctx, s.maintenance)
		if err != nil {
			return
		}
		s.conn = conn
	}
	if err := s.drop(ctx, name); err != nil {
		_ = level.Warn(s.Log).Log("msg", "an unfinished database is left; the next restore drops it", "database", name, "err", err)
	}
}

// lacksTablespaces says whether the server lacks tablespaces the backup's server had, by name.
func (s *session) lacksTablespaces(ctx context.Context, b catalog.Backup) (bool, error) {
	rows, err := s.conn.Query(ctx, `SELECT spcname FROM pg_catalog.pg_tablespace`)
	if err != nil {
		return false, fmt.Errorf("list the tablespaces: %w", err)
	}
	have, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return false, fmt.Errorf("list the tablespaces: %w", err)
	}
	server.Readable(&have)
	missing, err := pgdump.MissingTablespaces(b, have)
	if err != nil || len(missing) == 0 {
		return false, err
	}
	_ = level.Warn(s.Log).Log("msg", "the server lacks tablespaces of the backup: everything goes into the default one", "tablespaces", strings.Join(missing, ", "),
		"hint", "make them first, as "+b.Manifest.Globals.TablespacesFile+" in the backup has them")
	return true, nil
}

// restoreFailure says that the original is untouched.
func (s *session) restoreFailure(name string, err error) error {
	reason := failure.Of(err)
	var f *failure.Error
	hint := ""
	if errors.As(err, &f) {
		hint = f.Hint
	}
	if strings.Contains(err.Error(), "No space left on device") {
		reason = failure.Space
	}
	if reason == failure.Other || reason == failure.Dump {
		reason = failure.Restore
	}
	return &failure.Error{Reason: reason, Hint: hint, Err: fmt.Errorf("restore %s: the original is untouched: %w", name, err)}
}

func (r *Restorer) report(phase string) {
	if r.Progress != nil {
		r.Progress(phase, 0, 0)
	}
}

// watch reports once a second how large the new database is, until stop is called. The old one's
// size is where it ends, more or less.
func (s *session) watch(ctx context.Context, name string, db catalog.Database) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
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
			if conn.QueryRow(ctx, `SELECT pg_catalog.pg_database_size($1::name)`, server.Bytes(name)).Scan(&size) != nil {
				return
			}
			if s.Progress != nil {
				s.Progress("load "+db.Name, size, max(size, db.ServerBytes))
			}
		}
	}()
	return func() { cancel(); <-done }
}

func exists(ctx context.Context, conn *pgx.Conn, name string) (bool, error) {
	var there bool
	err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = $1)`, server.Bytes(name)).Scan(&there)
	if err != nil {
		return false, fmt.Errorf("look for database %s: %w", name, err)
	}
	return there, nil
}

func databaseNames(b catalog.Backup) []string {
	var names []string
	for _, d := range b.Manifest.Databases {
		names = append(names, d.Name)
	}
	return names
}

// trimName appends a suffix to an identifier within the 63 bytes it may have, at a character's border.
func trimName(name, suffix string) string {
	const limit = 63
	for len(name)+len(suffix) > limit {
		r := []rune(name)
		name = string(r[:len(r)-1])
	}
	return name + suffix
}
