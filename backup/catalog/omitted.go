package catalog

import (
	"strings"
	"unicode"
)

// Omission is something of the server that a backup does not hold, or holds unproved, and what to do about it.
type Omission struct {
	Kind OmissionKind `json:"kind"`
	// Database it is in, "" for what belongs to the whole server.
	Database string `json:"database,omitempty"`
	// Name of what is lacking, "" when it is the whole database.
	Name string `json:"name,omitempty"`
	// Why and Remedy are sentences for people. They hold no control characters.
	Why    string `json:"why"`
	Remedy string `json:"remedy,omitempty"`
}

// OmissionKind is a word of a fixed list, fit to be a metric's label.
type OmissionKind string

const (
	// ClosedDatabase has ALLOW_CONNECTIONS false: no program can dump it.
	ClosedDatabase OmissionKind = "database_closed"
	// InvalidDatabase is what an interrupted DROP DATABASE left; the server lets nobody in.
	InvalidDatabase OmissionKind = "database_invalid"
	// RefusedDatabase grants the job's role no CONNECT.
	RefusedDatabase OmissionKind = "database_refused"
	// FailedDatabase was asked for, and its dump failed.
	FailedDatabase OmissionKind = "database_failed"
	// UnreadTemplate is template1 that could not be looked into: it may hold something.
	UnreadTemplate OmissionKind = "template1"
	// ExcludedDatabase was left out because someone said so.
	ExcludedDatabase OmissionKind = "excluded"
	// OmittedSubscription is not dumped for a role that is no superuser.
	OmittedSubscription OmissionKind = "subscription"
	// OmittedMappingOptions are a user mapping's options, passwords among them, that the role may not read.
	OmittedMappingOptions OmissionKind = "user_mapping_options"
	// OmittedUnlogged are rows and values of unlogged tables and sequences, which a standby does not have.
	OmittedUnlogged OmissionKind = "unlogged"
	// OmittedCount is a table whose rows are in the backup and could not be counted.
	OmittedCount OmissionKind = "row_counts"
	// ChangedTable was changed or rewritten between the snapshot and pg_dump's lock.
	ChangedTable OmissionKind = "changed_table"
	// OmittedPasswords are those of the server's roles.
	OmittedPasswords OmissionKind = "role_passwords"
	// ProgramWarning is a warning of pg_dump, in its own words.
	ProgramWarning OmissionKind = "warning"
)

// OmissionKinds lists every kind.
func OmissionKinds() []OmissionKind {
	return []OmissionKind{
		ClosedDatabase, InvalidDatabase, RefusedDatabase, FailedDatabase, UnreadTemplate, ExcludedDatabase, OmittedSubscription,
		OmittedMappingOptions, OmittedUnlogged, OmittedCount, ChangedTable, OmittedPasswords, ProgramWarning,
	}
}

// Incomplete says whether an omission of this kind is a database that the run should have dumped and could not.
func (k OmissionKind) Incomplete() bool { return k == RefusedDatabase || k == FailedDatabase }

// String is the omission as one line for people.
func (o Omission) String() string {
	s := string(o.Kind)
	if o.Database != "" {
		s += ", database " + o.Database
	}
	if o.Name != "" {
		s += ", " + o.Name
	}
	return Printable(s + ": " + o.Why)
}

// Printable replaces control characters, so that a name or a message stays one line and moves no cursor.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return '?'
		}
		return r
	}, s)
}

// Omit adds what the backup lacks.
func (m *Manifest) Omit(all ...Omission) {
	for _, o := range all {
		o.Why, o.Remedy = Printable(o.Why), Printable(o.Remedy)
		m.Omitted = append(m.Omitted, o)
		m.Incomplete = m.Incomplete || o.Kind.Incomplete()
	}
}

// Lacks says whether the backup says of a database that it exists on the server and is not in the backup.
func (m Manifest) Lacks(database string) bool {
	for _, o := range m.Omitted {
		if o.Database == database && (o.Kind.Incomplete() || o.Kind == ClosedDatabase || o.Kind == ExcludedDatabase || o.Kind == UnreadTemplate) {
			return true
		}
	}
	return false
}
