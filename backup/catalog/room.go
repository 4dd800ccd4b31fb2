package catalog

import (
	"encoding/json"
	"fmt"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

const (
	// mostOfDatabase and mostOfDatabases bound what a manifest says of one database, and of all: names of a million tables.
	mostOfDatabase, mostOfDatabases = maxText / 4, maxText / 4 * 3
)

// Room is what a manifest has left for its databases, so that no database keeps the others from being backed up by what it
// has to be said about it. Its zero value is an empty manifest.
type Room struct{ taken int64 }

// Take makes room for a database, or says that it is too large.
func (r *Room) Take(d Database) error {
	text, err := json.MarshalIndent(d, "    ", "  ")
	if err != nil {
		return fmt.Errorf("write what database %s holds: %w", d.Name, err)
	}
	return r.take(int64(len(text)))
}

func (r *Room) take(bytes int64) error {
	if bytes > mostOfDatabase || r.taken+bytes > mostOfDatabases {
		return failure.New(failure.Dump, "the names of all that is in it have %d bytes, and a manifest has room for %d", bytes,
			min(mostOfDatabase, mostOfDatabases-r.taken)).
			WithHint("Back up very large schemas with the engine pgbackrest, or split them.")
	}
	r.taken += bytes
	return nil
}

// readable says of a text's size that what is written is going to be read again.
func readable(bytes int64) error {
	if bytes > maxText {
		return failure.New(failure.Dump, "its manifest has %d bytes, and at most %d are read", bytes, maxText).
			WithHint("Exclude databases (--exclude-database) with very many tables, or back them up into a repository of their own.")
	}
	return nil
}
