package engine

import (
	"context"
	"io"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/clients"
	"github.com/pg-reliability/pg_reliability_exporter/backup/globals"
	"github.com/pg-reliability/pg_reliability_exporter/backup/scratch"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
)

// Restoring is how an engine's backups come back. Exactly one of the two is set.
type Restoring struct {
	// Databases loads single databases into a server that runs. Everything around the loading is the same for
	// a rehearsal, a restore and a bootstrap, and is in package restore.
	Databases Loader
	// Server brings back a whole server's files.
	Server ServerRestorer
}

// Loader reads a backup and gives its parts to a running server, one at a time. It compares nothing, and
// leaves alone whatever it was not told to fill.
type Loader interface {
	// Programs finds the client programs that load into a server of the major version.
	Programs(ctx context.Context, major int, more ...string) (clients.Programs, error)
	// RestoreRoles makes the backup's roles on the server. Roles that exist keep everything they have. The notes name
	// what could not be restored and what nothing depends on.
	RestoreRoles(ctx context.Context, b catalog.Backup, t server.Target, o globals.Options) (notes []string, err error)
	// MissingTablespaces are the tablespaces of the backup's server that are not among these, by name.
	MissingTablespaces(b catalog.Backup, have []string) ([]string, error)
	// Load fills an existing, empty database, and stops at the first error unless told otherwise.
	Load(ctx context.Context, b catalog.Backup, db catalog.Database, t server.Target, into string, o LoadOptions) error
	// List writes what Load would load, an entry a line. Lines that begin with ; are comments.
	List(ctx context.Context, b catalog.Backup, db catalog.Database, p clients.Programs, w io.Writer) error
}

// LoadOptions say how a database is loaded.
type LoadOptions struct {
	Programs clients.Programs
	// Jobs is how many tables are loaded at once, where the backup allows that.
	Jobs int
	// NoTablespaces puts everything into the default tablespace.
	NoTablespaces bool
	// NoOwner leaves objects to the role that restores, and privileges out.
	NoOwner bool
	// Section restricts the load to "pre-data", "data" or "post-data"; "" means all.
	Section string
	// Schema and Table name a table whose rows are to be loaded, and nothing else; "" means all.
	Schema, Table string
	// Entries are the lines of List that are to be loaded; none means all.
	Entries []string
	// GoOn loads what can be loaded, also after an error, which is returned all the same.
	GoOn bool
}

// ServerRestorer brings back a whole server.
type ServerRestorer interface {
	// Rehearse is the first half of verification level 3: it restores the backup into the empty room,
	// with every object and all rows, and leaves the server in it running. The caller compares the
	// contents with the manifest and closes the room. Errors as with Engine.Check.
	Rehearse(ctx context.Context, b catalog.Backup, room *scratch.Room) error
	// Examine follows Rehearse, outside of the measured recovery time: it checks the restored server for
	// more than its contents, and leaves it running. Errors as with Engine.Check.
	Examine(ctx context.Context, b catalog.Backup, room *scratch.Room) error
	// RestoreServer restores the server's files into an empty directory. The server recovers at its start,
	// which is left to the caller: so nothing that runs is touched.
	RestoreServer(ctx context.Context, o ServerOptions) (ServerReport, error)
}

// ServerOptions of a restore of a whole server into a directory.
type ServerOptions struct {
	Backup catalog.Backup
	// DataDir becomes the data directory: missing, or empty.
	DataDir string
	// At is the moment to recover to; zero means the end of the archived WAL.
	At time.Time
	// Immediate recovers no further than the backup's own end. At must be zero then.
	Immediate bool
	// TablespaceDir takes the tablespaces; "" means where they were, which must be empty.
	TablespaceDir string
	// KeepArchiving leaves archive_mode as it was. By default it is off: a copy beside the live
	// server must not write into the live server's archive.
	KeepArchiving bool
	// Pause stops at the target for a look, read-only, instead of taking writes.
	Pause bool
}

// ServerReport is what a restore of a whole server came to.
type ServerReport struct {
	Backup  string    `json:"backup"`
	Label   string    `json:"label"`
	DataDir string    `json:"data_dir"`
	Target  string    `json:"target"` // "2026-11-23T02:00:00Z", "end of archive" or "end of backup"
	At      time.Time `json:"at,omitzero"`
	Seconds float64   `json:"seconds"`
	// Archiving says whether the restored server will archive WAL.
	Archiving bool `json:"archiving"`
	// NewerTimeline is the archive's newest timeline, where it is newer than the backup's and the server will follow it to a moment: what the
	// backup's own timeline has beyond the fork is not reached. "" elsewhere.
	NewerTimeline string `json:"newer_timeline,omitempty"`
}
