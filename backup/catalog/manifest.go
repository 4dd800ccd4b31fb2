// Package catalog keeps backups on disk so that what is listed as good is good.
//
// A backup is one directory. It is written under tmp/, every file synced and sealed with its sha256,
// the manifest last, and published by one rename: who sees the name sees every byte, also after a
// power cut. A published directory is never changed, apart from its status file, which is replaced
// atomically. docs/backup-format.md states the layout, the order of writes and what is not promised.
//
// The package needs no database, no engine and no third-party module but x/sys, so that the exporter
// can read a catalogue from a volume mounted read-only.
package catalog

import (
	"fmt"
	"time"
)

// FormatVersion is the version of the repository and of manifests this package writes. It reads
// manifests of this version and older, and refuses newer ones. Since 2, what belongs to the whole server
// is in Globals.Objects; in 1 it is SQL in a file of its own.
const FormatVersion = 2

// Manifest says what a backup holds. It is written once, last, and never changed; what happens to
// a backup later (verification, copies) is in its Status.
type Manifest struct {
	Format   int    `json:"format"`
	ID       string `json:"id"`
	Sequence uint64 `json:"sequence"` // order of the runs, whatever the clock said
	Engine   string `json:"engine"`   // "pg_dump" or "pgbackrest"
	// Set names what the run was asked to back up: "all", or the chosen databases, sorted, with
	// commas, and then " but " and the patterns of those that were excluded. Backups are compared, and kept or pruned, among those of their
	// own engine and set.
	Set  string `json:"set"`
	Tool string `json:"tool"` // version of this program

	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	// RecoveryPoint is the moment whose state the backup holds: of several databases, the earliest
	// snapshot; of a physical backup, its end.
	RecoveryPoint time.Time `json:"recovery_point"`

	Server Server `json:"server"`
	Client Client `json:"client"`

	// Files are all files of the backup's directory but the manifest, SHA256SUMS and the status,
	// sorted by path. Empty for an engine that stores its data elsewhere (External).
	Files []File `json:"files,omitempty"`
	// Bytes is the size of the backup where it is stored: the sum of Files, or what External takes.
	Bytes int64 `json:"bytes"`

	Databases []Database `json:"databases"`
	Globals   *Globals   `json:"globals,omitempty"`

	// Omitted is what of the server is not in the backup, or not proved. Incomplete is true when a database is among it
	// that the run should have dumped: the backup is good for what it holds.
	Omitted    []Omission `json:"omitted,omitempty"`
	Incomplete bool       `json:"incomplete,omitempty"`

	// Suspect is set when the contents collapsed against the backup before. It pauses pruning until
	// someone accepts it (Status.Accepted).
	Suspect *Suspect `json:"suspect,omitempty"`

	// Encryption of Files; nil means they are stored in clear. (An off-site copy may be encrypted
	// while the local files are not: that is Status.Offsite.Encryption.)
	Encryption *Encryption `json:"encryption,omitempty"`
	// External is where a backup lives that is not in this directory.
	External *External `json:"external,omitempty"`
}

// Server is the server a backup was taken from.
type Server struct {
	Version          string `json:"version"`     // as server_version says, e.g. "15.18 (Debian ...)"
	VersionNum       int    `json:"version_num"` // e.g. 150018
	SystemIdentifier string `json:"system_identifier"`
	Timeline         int    `json:"timeline,omitempty"`
	InRecovery       bool   `json:"in_recovery"` // taken from a standby
	DataChecksums    bool   `json:"data_checksums"`
}

// Major is the server's major version, e.g. 15.
func (s Server) Major() int { return s.VersionNum / 10000 }

// Client is the program that made the backup.
type Client struct {
	Program string `json:"program"` // e.g. "pg_dump"
	Version string `json:"version"` // e.g. "15.18"
}

// File is one sealed file, its path relative to the backup's directory with forward slashes.
type File struct {
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // lower-case hex
}

// Database is one database in a backup.
type Database struct {
	Name  string `json:"name"`
	Owner string `json:"owner"`
	// Path of the dump in the backup's directory: a file (custom format) or a directory of files
	// (directory format). Empty for a physical backup.
	Path   string `json:"path,omitempty"`
	Format string `json:"format,omitempty"` // "custom" or "directory"
	Bytes  int64  `json:"bytes,omitempty"`  // of the dump
	// ServerBytes is pg_database_size at the backup.
	ServerBytes int64     `json:"server_bytes"`
	SnapshotAt  time.Time `json:"snapshot_at"`

	Properties Properties `json:"properties"`
	// Session is what RowSettings were for the database's own sessions; lc_monetary is what it was when the archive was
	// made. Its rows come back in a session that has them. Empty in backups of before they were noted.
	Session  []Setting `json:"session,omitempty"`
	Contents Contents  `json:"contents"`
}

// RowSettings are the settings that a row may depend on when it comes back: by a CHECK that casts text to a date or a time to
// a day, by an index or a materialized view that does, or, as with money, by the very text of its values.
func RowSettings() []string {
	return []string{"DateStyle", "IntervalStyle", "TimeZone", "extra_float_digits", "bytea_output", MoneySetting}
}

// MoneySetting says how amounts of type money are written. One that was written with another setting is another amount.
const MoneySetting = "lc_monetary"

// Properties are what CREATE DATABASE, ALTER DATABASE and GRANT ON DATABASE gave a database, so that
// a restore under another name has them too.
type Properties struct {
	Encoding        string    `json:"encoding"`
	Collate         string    `json:"collate"`
	CType           string    `json:"ctype"`
	LocaleProvider  string    `json:"locale_provider,omitempty"` // "libc", "icu" or "builtin" (PostgreSQL 15 and later)
	Locale          string    `json:"locale,omitempty"`          // of icu and builtin
	ICURules        string    `json:"icu_rules,omitempty"`
	ConnectionLimit int       `json:"connection_limit"` // -1: none
	IsTemplate      bool      `json:"is_template,omitempty"`
	AllowConn       bool      `json:"allow_connections"`
	Tablespace      string    `json:"tablespace"`
	Comment         string    `json:"comment,omitempty"`
	Labels          []Label   `json:"labels,omitempty"` // since format 2
	Settings        []Setting `json:"settings,omitempty"`
	Grants          []Grant   `json:"grants,omitempty"`
	// DefaultGrants is true when nobody ever granted or revoked on the database.
	DefaultGrants bool `json:"default_grants"`
}

// Contents is what a database holds, taken under the snapshot of its dump. A restored copy is
// compared with it. Objects of extensions are left out: the extension brings them.
type Contents struct {
	// Exact is true when Tables were counted under the very snapshot the dump read. A physical
	// backup's counts, if any, are of about its time, and are not compared.
	Exact       bool       `json:"exact"`
	Tables      []Table    `json:"tables"`
	Sequences   []Sequence `json:"sequences"`
	Indexes     []string   `json:"indexes"`     // "schema.name"
	Constraints []string   `json:"constraints"` // "schema.table.name"
	// Kept are tables of extensions, and how many of their rows the dump has (pg_extension_config_dump). They count in no sum.
	Kept       []Table     `json:"kept,omitempty"`
	Extensions []Extension `json:"extensions"`
	// Objects counts the rest: views, functions, triggers, types, ... A kind of which there is none is left out.
	Objects map[string]int64 `json:"objects,omitempty"`
	// Kinds says which kinds Objects counts: 0, the seven of the first version; 1, all that package contents has.
	Kinds int `json:"kinds,omitempty"`
	// SchemaChanged is true when tables were changed between the snapshot and pg_dump's locks, again and again: then
	// tables and sequences are compared, and what belongs to tables is not.
	SchemaChanged bool `json:"schema_changed,omitempty"`

	counted int64 // rows of all tables, where Brief left the tables out
}

// Empty says whether nothing that a user makes is in the database, as far as it was counted.
func (c Contents) Empty() bool { return len(c.Tables)+len(c.Sequences)+len(c.Objects) == 0 }

// Rows is the sum of the tables' rows.
func (c Contents) Rows() int64 {
	n := c.counted
	for _, t := range c.Tables {
		n += t.Rows
	}
	return n
}

// Table is an ordinary table (a partition counts for itself) and its exact number of rows.
type Table struct {
	Schema string `json:"schema"`
	Name   string `json:"name"`
	Rows   int64  `json:"rows"`
	// Uncounted is true when the rows could not be counted as pg_dump saw them: Rows says nothing then.
	Uncounted bool `json:"uncounted,omitempty"`
	// Passing says that the table may go or lose its rows in the course of things: a partition, a child of another
	// table, or one that is not logged. It is not noted in format 1.
	Passing bool `json:"passing,omitempty"`
}

// Sequence is a sequence as read just before the dump. Sequences don't obey snapshots: on a busy
// server the dump may hold a later value, never an earlier one.
type Sequence struct {
	Schema    string `json:"schema"`
	Name      string `json:"name"`
	Last      int64  `json:"last"`
	Called    bool   `json:"called"`
	Increment int64  `json:"increment"`
	Cycles    bool   `json:"cycles,omitempty"`
	// Moved is true when it stood elsewhere when it was read again, after the dump: it may have been set back in between, so that
	// what the dump has of it is not known.
	Moved bool `json:"moved,omitempty"`
}

// Extension is an installed extension.
type Extension struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Schema  string `json:"schema"`
}

// Suspect says what collapsed.
type Suspect struct {
	Reason  string `json:"reason"`  // "size", "rows" or "vanished"; an engine may have others
	Message string `json:"message"` // with both figures, and the names of what vanished
	Against string `json:"against"` // id of the backup compared with
	// Databases are those that vanished. Who accepts the backup says that they are gone for good.
	Databases []string `json:"databases,omitempty"`
}

// Encryption says how files are encrypted. It never holds a secret.
type Encryption struct {
	Method     string   `json:"method"`               // "age"
	Recipients []string `json:"recipients,omitempty"` // public keys
}

// External locates a backup that another program stores (pgBackRest).
type External struct {
	Stanza     string `json:"stanza"`
	Label      string `json:"label"`               // e.g. "20261123-020000F"
	Type       string `json:"type"`                // "full", "diff" or "incr"
	Prior      string `json:"prior,omitempty"`     // label this one builds upon
	Repository string `json:"repository"`          // pgBackRest's repository key, e.g. "1"
	WALStart   string `json:"wal_start"`           // first segment needed
	WALStop    string `json:"wal_stop"`            // last segment needed for consistency
	LSNStart   string `json:"lsn_start"`           //
	LSNStop    string `json:"lsn_stop"`            //
	DeltaBytes int64  `json:"delta_bytes"`         // what this backup added to the repository
	Config     string `json:"config,omitempty"`    // path of the pgbackrest.conf used
	Archive    string `json:"archive,omitempty"`   // archive id, e.g. "15-1"
	Superuser  string `json:"superuser,omitempty"` // the server's bootstrap user; "" means unknown
}

// Rows is the number of rows of all databases.
func (m Manifest) Rows() int64 {
	var n int64
	for _, d := range m.Databases {
		n += d.Contents.Rows()
	}
	return n
}

// OwnBytes is what the backup adds where it is stored: an incremental one shares the rest with those
// it builds upon.
func (m Manifest) OwnBytes() int64 {
	if m.External != nil && m.External.DeltaBytes > 0 {
		return m.External.DeltaBytes
	}
	return m.Bytes
}

// Counted says whether rows were counted: those of a physical backup are not known from outside.
func (m Manifest) Counted() bool { return m.External == nil }

// ServerBytes is the size of all databases on the server at the backup.
func (m Manifest) ServerBytes() int64 {
	var n int64
	for _, d := range m.Databases {
		n += d.ServerBytes
	}
	return n
}

// Database finds a database of the backup by name.
func (m Manifest) Database(name string) (Database, bool) {
	for _, d := range m.Databases {
		if d.Name == name {
			return d, true
		}
	}
	return Database{}, false
}

// Duration is how long the backup took, without its verification.
func (m Manifest) Duration() time.Duration { return m.Finished.Sub(m.Started) }

// check reports what makes a manifest unusable.
func (m Manifest) check(id string) error {
	switch {
	case m.Format < 1 || m.Format > FormatVersion:
		return fmt.Errorf("manifest has format %d; this program reads 1 to %d", m.Format, FormatVersion)
	case m.ID != id:
		return wrongf("manifest is of backup %q", m.ID)
	case m.Engine == "":
		return fmt.Errorf("manifest names no engine")
	case len(m.Files) == 0 && m.External == nil:
		return fmt.Errorf("manifest lists no files")
	}
	return m.checkServerWords()
}
