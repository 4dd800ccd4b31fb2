package restore

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// extensionHere is an extension of a backup's database as the server has it.
type extensionHere struct {
	Name    string
	Version string  // in the backup; "" where it was not noted
	Default *string // what CREATE EXTENSION makes here; nil: the extension is not installed on the server
	Has     bool    // the server could make the backup's version, too
}

// checkExtensions finds extensions that are not installed on the server, before anything is loaded: without them the database can't
// come back. It warns of those that come back in another version: an archive says CREATE EXTENSION without one, so that
// each server makes its own default (pg_dump's manual, "Notes"; dumpExtension in pg_dump.c).
func (s *session) checkExtensions(ctx context.Context, db catalog.Database) error {
	var names, versions []string
	for _, e := range db.Contents.Extensions {
		names, versions = append(names, e.Name), append(versions, e.Version)
	}
	rows, err := s.conn.Query(ctx, `
		SELECT e.name, e.version, a.default_version,
		       CASE WHEN a.default_version <> e.version
		            THEN EXISTS (SELECT FROM pg_catalog.pg_available_extension_versions v WHERE v.name = e.name AND v.version = e.version)
		            ELSE true END
		  FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) AS e (name, version)
		  LEFT JOIN pg_catalog.pg_available_extensions a ON a.name = e.name
		 ORDER BY 1`, names, versions)
	var here []extensionHere
	if err == nil {
		here, err = pgx.CollectRows(rows, pgx.RowToStructByPos[extensionHere])
	}
	if err != nil {
		return fmt.Errorf("look for the extensions of database %s: %w", db.Name, err)
	}
	where, purpose := "on the server", ""
	if s.throwaway {
		where, purpose = "on this machine", ", so that backups can be rehearsed"
	}
	var missing []string
	for _, e := range here {
		switch {
		case e.Default == nil:
			missing = append(missing, e.Name)
		case e.Version != "" && e.Version != *e.Default:
			s.warn("%s", e.otherVersion(db.Name, where))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return failure.New(failure.Version, "extensions of database %s are not installed %s: %s", db.Name, where, strings.Join(missing, ", ")).
		WithHint("Install them beside PostgreSQL %d%s.", s.facts.Major(), purpose)
}

// otherVersion says that an extension comes back in another version, and what would keep the one it had.
func (e extensionHere) otherVersion(database, where string) string {
	text := fmt.Sprintf("extension %s of database %s is version %s in the backup and comes back as %s, the default version %s",
		e.Name, database, e.Version, *e.Default, where)
	if e.Has {
		return text + fmt.Sprintf("; to keep %s, which can be made there, too, set default_version = '%s' in %s.control first",
			e.Version, e.Version, e.Name)
	}
	return text + fmt.Sprintf("; version %s is not available %s: to keep it, install the extension's package of that version first",
		e.Version, where)
}
