// Package pgbackrest is the engine on pgBackRest: physical backups of a whole server, incremental, in
// whatever store its configuration names (S3, GCS, Azure, SFTP, a directory), with point-in-time recovery.
//
// pgBackRest does the work and keeps the data; its own configuration file says where. The catalogue
// gets one entry a backup with what `pgbackrest info` says of it, so that listing, metrics,
// verification and retention are the same as for every other engine. Retention is the catalogue's: backups
// are made with --no-expire-auto, and Forget expires them one by one.
//
// What is not promised: a single database out of a physical backup, row counts as of the backup, and
// passwords or keys of pgBackRest's stores: they stay in its configuration, which is never read here.
package pgbackrest

import (
	"context"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
)

// Name of the engine in manifests.
const Name = "pgbackrest"

// Types of backups.
const (
	Full         = "full"
	Differential = "diff" // against the last full one
	Incremental  = "incr" // against the last one
)

// Engine drives one stanza of pgBackRest.
type Engine struct {
	// Program is pgBackRest's path or name; "" means pgbackrest, looked for in PATH.
	Program string
	// Stanza is pgBackRest's name for the server; needed.
	Stanza string
	// Config is pgBackRest's configuration file; "" means its own default.
	Config string
	// Repo is the number of pgBackRest's repository to use; 0 means 1.
	Repo int
	// Type of backup: Full, Differential or Incremental; "" means Differential. pgBackRest makes a
	// full one where there is none to build upon.
	Type string
	// FullEvery makes a full backup once the last is older; 0 means never by itself.
	FullEvery time.Duration
	// User is the system user to run pgBackRest as when this process is root: the server's. "" means
	// postgres, or nobody where there is none.
	User string
	// Options are added to every backup and restore, e.g. "--process-max=4".
	Options []string
	// Repository is the catalogue; needed.
	Repository *catalog.Repository
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// The interfaces it keeps.
var (
	_ engine.Engine         = (*Engine)(nil)
	_ engine.Importer       = (*Engine)(nil)
	_ engine.Archiver       = (*Engine)(nil)
	_ engine.ServerRestorer = (*Engine)(nil)
)

// Name implements engine.Engine.
func (e *Engine) Name() string { return Name }

// Restoring implements engine.Engine: it brings back whole servers.
func (e *Engine) Restoring() engine.Restoring { return engine.Restoring{Server: e} }

// Estimate implements engine.Engine: the data goes elsewhere, a manifest stays.
func (e *Engine) Estimate(context.Context, engine.Request, *catalog.Backup) (int64, error) {
	return 1 << 20, nil
}

// repo is the repository's number.
func (e *Engine) repo() int { return max(e.Repo, 1) }

func (e *Engine) now() time.Time {
	if e.Now != nil {
		return e.Now()
	}
	return time.Now()
}
