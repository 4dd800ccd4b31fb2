package pgdump

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/contents"
)

// objects reads everything of the database's Contents but tables and sequences, and what of it pg_dump leaves out.
func (a *attempt) objects(ctx context.Context, tx pgx.Tx) error {
	if err := contents.Objects(ctx, tx, &a.db.Contents); err != nil {
		return err
	}
	var mayRead bool
	err := tx.QueryRow(ctx, `SELECT pg_catalog.has_table_privilege('pg_catalog.pg_user_mapping', 'SELECT')`).Scan(&mayRead)
	if err != nil {
		return fmt.Errorf("look for what pg_dump leaves out: %w", err)
	}
	for _, lack := range lacks {
		sql := lack.sql
		if lack.kind == catalog.OmittedMappingOptions && mayRead { // else: what has options is not known, and nearly all have
			sql = "SELECT * FROM (" + sql + ") m (name, id) WHERE id IN (SELECT oid FROM pg_catalog.pg_user_mapping WHERE umoptions IS NOT NULL)"
		}
		rows, err := tx.Query(ctx, "SELECT name FROM ("+sql+") l (name, id) ORDER BY 1")
		if err != nil {
			return fmt.Errorf("look for what pg_dump leaves out: %w", err)
		}
		names, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return fmt.Errorf("look for what pg_dump leaves out: %w", err)
		}
		for _, name := range names {
			a.omitted = append(a.omitted, catalog.Omission{Kind: lack.kind, Database: a.db.Name, Name: name, Why: lack.why, Remedy: lack.remedy})
		}
	}
	return nil
}

// lacks is what pg_dump leaves out: for a role that is no superuser, or on a standby. Each statement lists names, and an oid where it helps.
var lacks = []struct {
	kind             catalog.OmissionKind
	why, remedy, sql string
}{
	{
		catalog.OmittedSubscription, "pg_dump dumps subscriptions for superusers only", "Back up as a superuser, or keep its CREATE SUBSCRIPTION elsewhere.",
		`SELECT 'subscription ' || s.subname, 0
		   FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
		  WHERE d.datname = pg_catalog.current_database() AND pg_catalog.current_setting('is_superuser') <> 'on'`,
	},
	{
		catalog.OmittedMappingOptions, "the options of a user mapping, passwords among them, are shown to superusers only", "Back up as a superuser, or keep them elsewhere.",
		`SELECT 'user mapping of ' || m.usename || ' for server ' || m.srvname, m.umid
		   FROM pg_catalog.pg_user_mappings m
		  WHERE m.umoptions IS NULL AND pg_catalog.current_setting('is_superuser') <> 'on'
		    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
		                     WHERE e.classid = 'pg_catalog.pg_foreign_server'::regclass AND e.objid = m.srvid AND e.deptype = 'e')`,
	},
	{
		catalog.OmittedUnlogged, "a standby has no rows of unlogged tables, and no values of unlogged sequences", "Back up the primary, if they are needed.",
		`SELECT CASE c.relkind WHEN 'S' THEN 'sequence ' ELSE 'table ' END || n.nspname || '.' || c.relname, 0
		   FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		  WHERE c.relpersistence = 'u' AND c.relkind IN ('r', 'S') AND pg_catalog.pg_is_in_recovery()`,
	},
}

const (
	// warningsMost and warningBytes bound what of pg_dump's warnings is kept, of one database.
	warningsMost, warningBytes = 20, 500
	// stderrBytes is how much of what pg_dump says is kept at all: its beginning and its end, half each.
	stderrBytes = 64 << 10
)

// warnings finds pg_dump's warnings in what it said; what it says of other matters belongs to the one before.
func warnings(database, said string) []catalog.Omission {
	var all []catalog.Omission
	for _, line := range strings.Split(said, "\n") {
		text, is := strings.CutPrefix(line, "pg_dump: warning: ")
		if !is || strings.HasPrefix(text, "subscriptions not dumped") { // that has a kind of its own
			continue
		}
		if len(all) == warningsMost {
			all[warningsMost-1].Why = "and more warnings of pg_dump"
			break
		}
		all = append(all, catalog.Omission{Kind: catalog.ProgramWarning, Database: database, Why: "pg_dump: " + strings.ToValidUTF8(text[:min(len(text), warningBytes)], "?")})
	}
	return all
}

// said keeps the beginning and the end of what is written to it.
type said struct{ beginning, end []byte }

// lastLines are for an error: at most eight, joined.
func (s *said) lastLines() string {
	lines := strings.Split(strings.TrimSpace(string(s.beginning)+string(s.end)), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], "; ")
}

func (s *said) Write(p []byte) (int, error) {
	n := min(len(p), stderrBytes/2-len(s.beginning))
	s.beginning = append(s.beginning, p[:n]...)
	s.end = append(s.end, p[n:]...)
	s.end = s.end[max(0, len(s.end)-stderrBytes/2):]
	return len(p), nil
}
