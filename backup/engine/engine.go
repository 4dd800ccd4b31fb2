// Package engine says what makes backups: the interface every engine keeps, and what it is given.
// Engines write into a draft and read published backups; when, how many, and what becomes of a
// failure is the job's business.
package engine

import (
	"context"
	"time"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
)

// Engine makes backups of one kind and brings them back to life.
//
// Errors are *failure.Error where the reason is known (failure.Dump, failure.Version, ...). A cancelled
// context ends every program the engine started, children included, before the method returns.
type Engine interface {
	// Name is what Manifest.Engine says.
	Name() string

	// Backup makes a backup now. Files go to d.Dir; the engine fills Server, Client, RecoveryPoint,
	// Databases, Globals, and, where the data lives elsewhere, External and Bytes of d.Manifest. It
	// returns nil only when what is there is complete in itself, and what was asked for and is not there is
	// in d.Manifest.Omitted. A backup that would hold none of what was asked for is an error. It neither
	// seals nor publishes. On an error it leaves nothing outside d.Dir that a later run trips over.
	Backup(ctx context.Context, req Request, d *catalog.Draft) error

	// Estimate is the number of bytes the next backup will take below the repository, given the last
	// good one of the same set (nil when there is none); 0 when it takes next to nothing there.
	Estimate(ctx context.Context, req Request, last *catalog.Backup) (int64, error)

	// Check is verification level 2: it reads everything a restore would read, with the engine's own
	// reader, and restores nothing. Level 1, the digests of Manifest.Files, has passed already. An
	// error of reason failure.Verify condemns the backup; any other says that it could not be checked.
	Check(ctx context.Context, b catalog.Backup, progress func(done, total int64)) error

	// Restoring says how its backups come back.
	Restoring() Restoring

	// Forget is called before the backup's entry is removed from the catalogue: it removes what the
	// engine keeps elsewhere. For an engine that keeps nothing elsewhere it does nothing.
	Forget(ctx context.Context, b catalog.Backup) error
}

// Importer is an engine whose own program also adds and expires backups without us.
type Importer interface {
	// Reconcile makes the catalogue agree with the program: backups it has and the catalogue lacks
	// are published as drafts, entries whose backup is gone are removed. The caller holds the
	// repository's lock and has swept it. WAL state goes to the repository's State.
	Reconcile(ctx context.Context, repo *catalog.Repository, log log.Logger) error
}

// Archiver is an engine with point-in-time recovery: what can be recovered moves on between backups.
type Archiver interface {
	// Observe enters in the repository's State up to when archived WAL can recover. It is called now
	// and then; without it the recovery point is as old as the last look.
	Observe(ctx context.Context, t server.Target, repo *catalog.Repository) error
}

// Request is one backup that is asked for.
type Request struct {
	Target server.Target
	// Databases to back up, and which of them not.
	Databases server.Selection
	// LockWait bounds how long the dump may wait for any table's lock, and queue others behind it.
	LockWait time.Duration
	// Previous is the last good backup of the same engine and set, nil when there is none.
	Previous *catalog.Backup
	// Progress is called now and then, if not nil; total is an estimate, 0 when there is none.
	Progress func(phase string, done, total int64)
	Log      log.Logger
}

// Report calls Progress if there is one.
func (r Request) Report(phase string, done, total int64) {
	if r.Progress != nil {
		r.Progress(phase, done, total)
	}
}

// Of finds the engine that made a backup, by the name in the backup's manifest.
func Of(engines []Engine, b catalog.Backup) (Engine, error) {
	for _, e := range engines {
		if e.Name() == b.Manifest.Engine {
			return e, nil
		}
	}
	return nil, failure.New(failure.Config, "backup %s is of engine %q, which this program does not know", b.ID, b.Manifest.Engine)
}
