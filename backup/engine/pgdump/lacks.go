package pgdump

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/clients"
	"github.com/pg-reliability/pg_reliability_exporter/backup/contents"
)

// objects reads everything of the database's Contents but tables and sequences, and what of it pg_dump leaves out.
func (a *attempt) objects(ctx context.Context, tx pgx.Tx) error {
	if err := contents.Objects(ctx, tx, &a.db.Contents); err != nil {
		return err
	}
	if n := a.db.Contents.Objects["large_objects"]; a.closed > 0 {
		delete(a.db.Contents.Objects, "large_objects")
		a.omitted = append(a.omitted, catalog.Omission{
			Kind: catalog.OmittedLargeObjects, Database: a.db.Name, Name: fmt.Sprintf("%d large objects", n),
			Why:    fmt.Sprintf("the job's role may not read %d of them, with which pg_dump dumps none", a.closed),
			Remedy: "GRANT SELECT ON LARGE OBJECT ... to the job's role, or back up as a superuser.",
		})
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

// closedLargeObjects counts the large objects that the session's role may not read.
func closedLargeObjects(ctx context.Context, tx pgx.Tx) (n int64, err error) {
	err = tx.QueryRow(ctx, `
		SELECT pg_catalog.count(*)
		  FROM pg_catalog.pg_largeobject_metadata m
		 WHERE pg_catalog.current_setting('is_superuser') <> 'on' AND pg_catalog.current_setting('lo_compat_privileges') <> 'on'
		   AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(coalesce(m.lomacl, pg_catalog.acldefault('L', m.lomowner))) p
		                    WHERE p.privilege_type = 'SELECT' AND (p.grantee = 0 OR pg_catalog.pg_has_role(p.grantee, 'USAGE')))`).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("look for large objects that the role may not read: %w", err)
	}
	return n, nil
}

// lacks is what pg_dump leaves out: for a role that is no superuser, on a standby, or always. Each statement lists names, and an oid where
// it helps.
var lacks = []struct {
	kind             catalog.OmissionKind
	why, remedy, sql string
}{
	{
		catalog.OmittedSubscription, "pg_dump dumps subscriptions for superusers only", "Back up as a superuser, or keep its CREATE " +
			"SUBSCRIPTION elsewhere.",
		`SELECT 'subscription ' || s.subname, 0
		   FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
		  WHERE d.datname = pg_catalog.current_database() AND pg_catalog.current_setting('is_superuser') <> 'on'`,
	},
	{
		catalog.OmittedMappingOptions, "the options of a user mapping, passwords among them, are shown to superusers only",
		"Back up as a superuser, or keep them elsewhere.",
		`SELECT 'user mapping of ' || m.usename || ' for server ' || m.srvname, m.umid
		   FROM pg_catalog.pg_user_mappings m
		  WHERE m.umoptions IS NULL AND pg_catalog.current_setting('is_superuser') <> 'on'
		    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
		                     WHERE e.classid = 'pg_catalog.pg_foreign_server'::regclass AND e.objid = m.srvid AND e.deptype = 'e')`,
	},
	{
		// An information_schema that was made anew, as release notes advise at times, is the system's again.
		catalog.OmittedSystemSchema, "pg_dump takes everything in pg_catalog and information_schema for the system's own, and leaves it out",
		"Move it into a schema of yours, or keep its definition elsewhere, and its rows.",
		`SELECT x.what || ' ' || n.nspname || '.' || x.name, 0
		   FROM (SELECT oid, 'pg_catalog.pg_class'::regclass AS class, relnamespace AS namespace, 'relation' AS what, relname AS name
		           FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
		          UNION ALL SELECT oid, 'pg_catalog.pg_proc'::regclass, pronamespace, 'function', proname FROM pg_catalog.pg_proc
		          UNION ALL SELECT oid, 'pg_catalog.pg_type'::regclass, typnamespace, 'type', typname
		                      FROM pg_catalog.pg_type WHERE typtype IN ('e', 'd', 'r', 'b') AND typelem = 0 AND typrelid = 0
		          UNION ALL SELECT oid, 'pg_catalog.pg_operator'::regclass, oprnamespace, 'operator', oprname FROM pg_catalog.pg_operator
		        ) x (oid, class, namespace, what, name)
		   JOIN pg_catalog.pg_namespace n ON n.oid = x.namespace
		  WHERE x.oid >= 16384 AND n.oid < 16384 AND n.nspname IN ('pg_catalog', 'information_schema')
		    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.classid = x.class AND e.objid = x.oid AND e.deptype IN ('e', 'i'))
		  ORDER BY 1 LIMIT 100`,
	},
	{
		catalog.OmittedUnlogged, "a standby has no rows of unlogged tables, and no values of unlogged sequences",
		"Back up the primary, if they are needed.",
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
		all = append(all, catalog.Omission{Kind: catalog.ProgramWarning, Database: database, Why: "pg_dump: " +
			strings.ToValidUTF8(text[:min(len(text), warningBytes)], "?")})
	}
	return all
}

// said keeps the beginning and the end of what is written to it.
type said struct{ beginning, end []byte }

// gist is for an error.
func (s *said) gist() string { return clients.Gist(string(s.beginning) + string(s.end)) }

func (s *said) Write(p []byte) (int, error) {
	n := min(len(p), stderrBytes/2-len(s.beginning))
	s.beginning = append(s.beginning, p[:n]...)
	s.end = append(s.end, p[n:]...)
	s.end = s.end[max(0, len(s.end)-stderrBytes/2):]
	return len(p), nil
}
