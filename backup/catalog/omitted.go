package catalog

import (
	"fmt"
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
	// ExcludedDatabase was left out because someone said so; where it has a name, that thing of it.
	ExcludedDatabase OmissionKind = "excluded"
	// OmittedSubscription is not dumped for a role that is no superuser.
	OmittedSubscription OmissionKind = "subscription"
	// OmittedMappingOptions are a user mapping's options, passwords among them, that the role may not read.
	OmittedMappingOptions OmissionKind = "user_mapping_options"
	// OmittedLargeObjects are all of a database's, where the role may not read each of them: pg_dump would fail.
	OmittedLargeObjects OmissionKind = "large_objects"
	// OmittedUnlogged are rows and values of unlogged tables and sequences, which a standby does not have.
	OmittedUnlogged OmissionKind = "unlogged"
	// OmittedCount is a table whose rows are in the backup and could not be counted.
	OmittedCount OmissionKind = "row_counts"
	// ChangedTable was changed or rewritten between the snapshot and pg_dump's lock.
	ChangedTable OmissionKind = "changed_table"
	// OmittedPasswords are those of the server's roles.
	OmittedPasswords OmissionKind = "role_passwords"
	// OmittedSystemSchema is something a user made in a schema of the system's, which pg_dump takes for the system's own.
	OmittedSystemSchema OmissionKind = "system_schema"
	// NotUTF8 is a role's or a database's name, comment or setting that most servers would refuse to take back.
	NotUTF8 OmissionKind = "not_utf8"
	// TooLong is a comment, setting, label or password, or a list of privileges, that is longer than anybody means it.
	TooLong OmissionKind = "too_long"
	// ExtensionData are rows or values in a table or sequence that is an extension's, of which pg_dump takes the extension alone.
	ExtensionData OmissionKind = "extension_data"
	// ProgramWarning is a warning of pg_dump, in its own words.
	ProgramWarning OmissionKind = "warning"
)

// OmissionKinds lists every kind.
func OmissionKinds() []OmissionKind {
	return []OmissionKind{
		ClosedDatabase, InvalidDatabase, RefusedDatabase, FailedDatabase, UnreadTemplate, ExcludedDatabase, OmittedSubscription,
		OmittedMappingOptions, OmittedLargeObjects, OmittedUnlogged, OmittedCount, ChangedTable, OmittedPasswords, OmittedSystemSchema,
		NotUTF8, TooLong, ExtensionData, ProgramWarning,
	}
}

// Incomplete says whether an omission of this kind is a database that the run should have dumped and could not.
func (k OmissionKind) Incomplete() bool { return k == RefusedDatabase || k == FailedDatabase }

// Lacking says whether an omission of this kind makes a backup incomplete: data that the run should have dumped and could not.
func (k OmissionKind) Lacking() bool { return k.Incomplete() || k == OmittedLargeObjects }

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

// Of is the name alone of a thing that is named with what it is: of "table public.t", public.t.
func (o Omission) Of() string {
	_, name, _ := strings.Cut(o.Name, " ")
	return name
}

// Said are the keys and values of a line of a log, after a beginning; the hint only where there is a remedy.
func (o Omission) Said(beginning string) []any {
	said := []any{"msg", beginning + o.String()}
	if o.Remedy != "" {
		said = append(said, "hint", o.Remedy)
	}
	return said
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

const (
	// mostOmitted of one kind are named in each database; what is more is one line.
	mostOmitted = 500
	// mostSaid is how many bytes are kept of each of its sentences: a server's error may quote what it likes.
	mostSaid = 4000
)

// Omit adds what the backup lacks.
func (m *Manifest) Omit(all ...Omission) {
	type where struct {
		kind     OmissionKind
		database string
	}
	n := map[where]int{}
	for _, o := range m.Omitted {
		n[where{o.Kind, o.Database}]++
	}
	for _, o := range all {
		at := where{o.Kind, o.Database}
		if n[at]++; n[at] > mostOmitted {
			if n[at] > mostOmitted+1 {
				continue
			}
			o.Name, o.Why = "more of the kind", fmt.Sprintf("only %d are named", mostOmitted)
		}
		o.Name, o.Why, o.Remedy = Cut(o.Name), Cut(Printable(o.Why)), Cut(Printable(o.Remedy))
		m.Omitted = append(m.Omitted, o)
		m.Incomplete = m.Incomplete || o.Kind.Lacking()
	}
}

// Cut is the beginning of a text that a server, a program or a file said and that is too long to be kept.
func Cut(s string) string {
	if len(s) <= mostSaid {
		return s
	}
	return strings.ToValidUTF8(s[:mostSaid], "") + fmt.Sprintf(" ... (%d bytes)", len(s))
}

// TooLongText is the omission of a text of so many bytes. The server's own words take it away: RESET, COMMENT ... IS NULL.
func TooLongText(database, name string, bytes int64, remedy string) Omission {
	return Omission{
		Kind: TooLong, Database: database, Name: name, Remedy: remedy,
		Why: fmt.Sprintf("it has %d bytes: texts that long, and more than a few of them of one role or database, are left out", bytes),
	}
}

// Lacks says whether the backup says of a database that it exists on the server and is not in the backup.
func (m Manifest) Lacks(database string) bool {
	for _, o := range m.Omitted {
		if o.Database == database && (o.Kind.Incomplete() || o.Kind == ClosedDatabase || o.Kind == UnreadTemplate ||
			o.Kind == ExcludedDatabase && o.Name == "") {
			return true
		}
	}
	return false
}
