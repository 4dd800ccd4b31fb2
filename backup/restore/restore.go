// Package restore brings databases back. There is one path from a backup to databases that serve: the roles,
// an empty database beside what is there, the properties its data may need, the data, statistics, a comparison
// with the manifest, and one transaction of renames. A rehearsal, a restore and a bootstrap all walk it; they
// differ in the server, the names, and what may stand in their place.
//
// Until that transaction commits, the original is untouched and serving; after it, the original is still
// there under another name. Nothing that holds a user's data is dropped, unless Options.DropOld asks for it.
package restore

import (
	"context"
	"strings"
	"time"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
)

// Restorer brings databases back into a running server.
type Restorer struct {
	Repo *catalog.Repository
	// Engines are those whose backups can be restored.
	Engines []engine.Engine
	// Target is the server to restore into.
	Target server.Target
	// Jobs is how many tables are loaded and analyzed at once; 0 means 2.
	Jobs int
	// Drain is how long a transaction in progress may go on before its session is ended, at most 4 s. 0 means 2 s.
	// New connections to the server may have to wait as long, and a second more.
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
	Table    string  `json:"table,omitempty"`   // the new table's name, as SQL takes it, when one table was asked for
	KeptAs   string  `json:"kept_as,omitempty"` // the old database's new name
	Rows     int64   `json:"rows"`
	Seconds  float64 `json:"seconds"`
	// SwapSeconds is how long new connections had to wait.
	SwapSeconds float64 `json:"swap_seconds,omitempty"`
	// Warnings are what did not come back, or not as it was, one sentence each.
	Warnings []string `json:"warnings,omitempty"`
}

// Restore restores one database of a backup and swaps it in.
func (r *Restorer) Restore(ctx context.Context, o Options) (Report, error) {
	began := r.Now()
	p, err := o.place()
	if err != nil {
		return Report{}, err
	}
	loader, release, err := r.examine(o.Backup)
	if err != nil {
		return Report{}, err
	}
	defer release()
	s, err := r.open(ctx, p.as)
	if err != nil {
		return Report{}, err
	}
	defer s.close()
	s.compareServers(o.Backup)
	rows, err := s.bring(ctx, loader, o.Backup, []*place{p})
	if err != nil {
		return Report{}, s.restoreFailure(p.as, err)
	}
	rep := Report{Backup: o.Backup.ID, Database: p.as, KeptAs: p.kept, Rows: rows, SwapSeconds: p.seconds, Warnings: s.warnings}
	if o.DropOld && p.kept != "" {
		if err := s.drop(ctx, p.kept); err != nil {
			return rep, failure.New(failure.Restore, "database %s is restored and serving; dropping the old one: %w", p.as, err)
		}
		rep.KeptAs = ""
	}
	rep.Seconds = r.Now().Sub(began).Seconds()
	return rep, nil
}

// place is where the options put the database.
func (o Options) place() (*place, error) {
	db, ok := o.Backup.Manifest.Database(o.Database)
	if !ok {
		return nil, failure.New(failure.Nothing, "backup %s has no database %q", o.Backup.ID, o.Database).
			WithHint("It has: %s.", strings.Join(databaseNames(o.Backup), ", "))
	}
	p := &place{database: db, as: o.As, keepAs: o.KeepAs, dropOld: o.DropOld}
	if p.as == "" {
		p.as = o.Database
	}
	for _, name := range []string{p.as, p.keepAs} { // PostgreSQL would cut it, and what is said of it would be of no database
		if n := len(server.Bytes(name)); n > nameBytes && name != o.Database {
			return nil, failure.New(failure.Config, "the name %q has %d bytes, and a database's name %d at most", name, n, nameBytes)
		}
	}
	if p.as == "template0" || p.as == "template1" {
		return nil, failure.New(failure.Refused, "%s can't be replaced, nothing was changed", p.as).WithHint("Choose a name with --as.")
	}
	return p, nil
}

// examine checks a backup's digests and keeps it from being removed. It returns what loads it.
func (r *Restorer) examine(b catalog.Backup) (_ engine.Loader, release func(), err error) {
	e, err := engine.Of(r.Engines, b)
	if err != nil {
		return nil, nil, err
	}
	loader := e.Restoring().Databases
	if loader == nil {
		return nil, nil, failure.New(failure.Refused, "backup %s is of engine %q, which restores whole servers, not databases", b.ID,
			b.Manifest.Engine)
	}
	release, err = r.Repo.Hold(b.ID)
	if catalog.IsDamage(err) {
		return nil, nil, failure.New(failure.Verify, "backup %s: %w", b.ID, err)
	}
	if err != nil {
		return nil, nil, failure.New(failure.Repository, "backup %s: %w", b.ID, err)
	}
	r.report("checksums")
	if err := r.Repo.CheckSums(b.ID, nil); err != nil {
		release()
		if present := r.Repo.Present(); present != nil {
			return nil, nil, present
		}
		if !catalog.IsDamage(err) {
			return nil, nil, failure.New(failure.Repository, "backup %s can't be read, nothing was changed: %w", b.ID, err)
		}
		return nil, nil, failure.New(failure.Verify, "backup %s is damaged, nothing was changed: %w", b.ID, err).
			WithHint("Choose another one: `pg_reliability_backup list`.")
	}
	return loader, release, nil
}

func (r *Restorer) report(phase string) {
	if r.Progress != nil {
		r.Progress(phase, 0, 0)
	}
}

func databaseNames(b catalog.Backup) []string {
	var names []string
	for _, d := range b.Manifest.Databases {
		names = append(names, d.Name)
	}
	return names
}
