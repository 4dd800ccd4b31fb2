package pgdump

import (
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/sqltext"
)

// restoresInBytes says whether the session of a restore, which is in the database postgres or else in template1, takes any bytes. In which
// database this session is, does not matter.
func restoresInBytes(ctx context.Context, conn *pgx.Conn) (yes bool, err error) {
	err = conn.QueryRow(ctx, `
		SELECT pg_catalog.pg_encoding_to_char(encoding) = 'SQL_ASCII'
		  FROM pg_catalog.pg_database
		 WHERE datname IN ('postgres', 'template1')
		 ORDER BY datname LIMIT 1`).Scan(&yes)
	if err != nil {
		return false, fmt.Errorf("look for the encoding of database postgres: %w", err)
	}
	return yes, nil
}

// inBytes is what belongs to the whole server, or to a database as a whole, and is no UTF-8. Each database takes such names and values
// to be in its own encoding, so that one of SQL_ASCII or LATIN1 can have made them; a restore, whose session is in the database postgres,
// is refused to say them where that is of UTF8. (What is inside of a database is in its own encoding, and comes back.)
func inBytes(m *catalog.Manifest) []catalog.Omission {
	var all []catalog.Omission
	add := func(database, what, remedy string, texts ...string) {
		for _, text := range texts {
			if !utf8.ValidString(sqltext.Bytes(text)) {
				all = append(all, catalog.Omission{
					Kind: catalog.NotUTF8, Database: database, Name: what, Remedy: remedy,
					Why: "it is bytes that are not UTF-8: no server takes it back whose database postgres is of an encoding other than SQL_ASCII",
				})
				return
			}
		}
	}
	const rename, again = "Give it a name in ASCII, from a session in a database of SQL_ASCII.", "Set it anew, in ASCII or from a database " +
		"of UTF8."
	settings := func(database string, list []catalog.Setting) {
		for _, s := range list {
			of := ""
			if s.Role != "" {
				of = " of role " + s.Role
			}
			add(database, "setting "+s.Name+of, again, s.Name, s.Value)
		}
	}
	if m.Globals != nil && m.Globals.Objects != nil {
		for _, r := range m.Globals.Objects.Roles {
			add("", "role "+r.Name, rename, r.Name)
			add("", "comment of role "+r.Name, again, r.Comment)
		}
		settings("", m.Globals.Objects.Settings)
	}
	for _, d := range m.Databases {
		add(d.Name, "its name", rename, d.Name)
		add(d.Name, "its owner, role "+d.Owner, "Give it another owner, or restore it with --no-owner.", d.Owner)
		add(d.Name, "its comment", again, d.Properties.Comment)
		settings(d.Name, d.Properties.Settings)
	}
	return all
}
