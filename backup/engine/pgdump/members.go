package pgdump

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/contents"
	"github.com/pg-reliability/pg_reliability_exporter/backup/sqltext"
)

// members are tables and sequences of extensions, those aside whose rows the extension has dumped (pg_extension_config_dump).
// Of all others pg_dump takes nothing: CREATE EXTENSION makes those that its script makes, and one that was added to it is gone.
//
// Nobody misses what an extension keeps for itself. One that has some of its tables dumped has said of its others that they need not be,
// and makes them anew; but only of those that its own script made: these became its members in the transaction of CREATE EXTENSION, or of
// the last ALTER EXTENSION UPDATE, which leave their numbers in the extension's own rows. The last column says of a table of an extension
// that has nothing dumped that its script made it: its rows may be the script's, too.
const members = `
	SELECT c.relkind = 'S', n.nspname, c.relname, x.extname, own.made AND c.relkind = 'r' AND NOT c.relrowsecurity, own.born::text
	  FROM pg_catalog.pg_depend e
	  JOIN pg_catalog.pg_extension x ON e.refclassid = 'pg_catalog.pg_extension'::regclass AND x.oid = e.refobjid
	  JOIN pg_catalog.pg_class c ON e.classid = 'pg_catalog.pg_class'::regclass AND c.oid = e.objid
	  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	 CROSS JOIN LATERAL (
	       SELECT coalesce(e.xmin = b.xmin OR e.xmin = x.xmin, false) AS made, b.xmin AS born
	         FROM (SELECT min(d.xmin::text)::xid AS xmin FROM pg_catalog.pg_depend d
	                WHERE d.classid = 'pg_catalog.pg_extension'::regclass AND d.objid = x.oid
	                  AND d.refclassid = 'pg_catalog.pg_namespace'::regclass) AS b) AS own
	 WHERE NOT (own.made AND x.extconfig IS NOT NULL AND pg_catalog.array_length(x.extconfig, 1) > 0)
	   AND e.deptype = 'e' AND c.relkind IN ('r', 'S') AND c.relpersistence <> 't' AND NOT coalesce(c.oid = ANY (x.extconfig), false)`

// full leaves out tables without a file's content and sequences that were never called. It takes each table's lock for a moment.
const full = ` AND CASE c.relkind WHEN 'r' THEN pg_catalog.pg_relation_size(c.oid) > 0
	      ELSE pg_catalog.has_sequence_privilege(c.oid, 'SELECT') AND pg_catalog.pg_sequence_last_value(c.oid) IS NOT NULL END`

// member is a table or sequence of an extension.
type member struct {
	Sequence                bool
	Schema, Name, Extension string
	// Made says that it is a table that the extension's script made, in a transaction that Born is the number of.
	Made bool
	Born *string
}

// extensionData names what users may have put into extensions and is in no dump.
func (a *attempt) extensionData(ctx context.Context) error {
	list := func(sql string) (all []member, err error) {
		err = a.briefly(ctx, func(tx pgx.Tx) error {
			rows, err := tx.Query(ctx, sql+fmt.Sprintf(" ORDER BY 2, 3 LIMIT %d", mostMembers))
			if err != nil {
				return err
			}
			all, err = pgx.CollectRows(rows, pgx.RowToStructByPos[member])
			return err
		})
		return all, err
	}
	all, err := list(members + full)
	if notNow(err) { // one of them is locked
		all, err = list(members)
	}
	if err != nil {
		return fmt.Errorf("look for the rows of extensions: %w", err)
	}
	for _, m := range all {
		if !a.onlyTheScripts(ctx, m) {
			a.omitted = append(a.omitted, m.omission(a.db.Name))
		}
	}
	return a.joinedExtensions(ctx)
}

// joinedExtensions names the objects that somebody added to an extension.
func (a *attempt) joinedExtensions(ctx context.Context) error {
	var kind, identity, extension string
	err := a.briefly(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, joined+fmt.Sprintf(" LIMIT %d", mostMembers))
		if err != nil {
			return err
		}
		_, err = pgx.ForEachRow(rows, []any{&kind, &identity, &extension}, func() error {
			o := catalog.Omission{Kind: catalog.ExtensionData, Database: a.db.Name, Name: sqltext.Text(kind) + " " + sqltext.Text(identity)}
			o.Why = "somebody added it to the extension " + sqltext.Text(extension) +
				", of which a dump has the name alone: after a restore it is gone, and the rows of a materialized view with it"
			o.Remedy = "ALTER EXTENSION " + sqltext.Ident(sqltext.Text(extension)) + " DROP " +
				strings.ToUpper(strings.ReplaceAll(kind, "-", " ")) + " " + sqltext.Text(identity) + ". If nobody would miss it: `pg_reliability_backup accept --database='" + a.db.Name +
				"' --extension-data='" + o.Of() + "'`."
			a.omitted = append(a.omitted, o)
			return nil
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("look for what was added to extensions: %w", err)
	}
	return nil
}

// onlyTheScripts says whether all rows of a table came with CREATE EXTENSION, which brings them again. A table that is large, is locked or
// may not be read is taken for one that has others.
func (a *attempt) onlyTheScripts(ctx context.Context, m member) bool {
	if !m.Made || m.Born == nil {
		return false
	}
	only := false
	name := sqltext.Ident(sqltext.Text(m.Schema), sqltext.Text(m.Name))
	err := a.briefly(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `
			SELECT CASE WHEN pg_catalog.pg_relation_size($2::text::pg_catalog.regclass) > $3 THEN false
			            ELSE NOT EXISTS (SELECT FROM ONLY `+name+` WHERE xmin <> $1::text::xid) END`, *m.Born, name, mostRead).Scan(&only)
	})
	return err == nil && only
}

// briefly does what must wait for nobody's lock.
func (a *attempt) briefly(ctx context.Context, do func(pgx.Tx) error) error {
	return a.under(ctx, func(tx pgx.Tx) error {
		if err := sqltext.Exec(ctx, tx.Conn(), fmt.Sprintf("SET LOCAL lock_timeout = %d", countPatience.Milliseconds())); err != nil {
			return err
		}
		return do(tx)
	})
}

func (m member) omission(database string) catalog.Omission {
	what := "table"
	if m.Sequence {
		what = "sequence"
	}
	extension, name := sqltext.Text(m.Extension), sqltext.Text(m.Schema+"."+m.Name)
	q := sqltext.Ident(sqltext.Text(m.Schema), sqltext.Text(m.Name))
	return catalog.Omission{
		Kind: catalog.ExtensionData, Database: database, Name: what + " " + name,
		Why: "it belongs to the extension " + extension + ", which does not have it dumped: what users put into it is not in " +
			"the backup, and a table that the extension's own script does not make is not either",
		Remedy: "If it is a table of yours: ALTER EXTENSION " + sqltext.Ident(extension) + " DROP " + what + " " + q +
			". If it is the extension's, it calls pg_extension_config_dump for what is to be kept. If nobody would miss it: " +
			"`pg_reliability_backup accept --database='" + database + "' --extension-data='" + name + "'`.",
	}
}

const (
	// mostMembers are named, of one database.
	mostMembers = 100
	// mostRead is how many bytes of a table are looked through for rows that did not come with its extension.
	mostRead = 64 << 20
)

// joined are objects but tables and sequences that existed before they became members of an extension: somebody's own, which
// ALTER EXTENSION ADD took out of every dump. An extension's script makes its members in the transaction that makes them members. Where
// most of an extension's members are so, nothing is known of any: pg_upgrade adds them all.
var joined = func() string {
	var parts []string
	for _, catalogue := range contents.Catalogues() {
		also := ""
		if catalogue == "pg_class" {
			also = " AND o.relkind NOT IN ('r', 'S')"
		}
		parts = append(parts, "SELECT e.classid, e.objid, e.refobjid AS extension, pg_catalog.age(o.xmin) > pg_catalog.age(e.xmin) AS before"+
			" FROM pg_catalog."+catalogue+" o JOIN pg_catalog.pg_depend e ON e.classid = 'pg_catalog."+catalogue+"'::pg_catalog.regclass"+
			" AND e.objid = o.oid AND e.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND e.deptype = 'e'"+
			" WHERE o.oid >= 16384"+also)
	}
	return `
		SELECT i.type, i.identity, x.extname
		  FROM (SELECT *, 2 * pg_catalog.count(*) FILTER (WHERE before) OVER (PARTITION BY extension)
		                  <= pg_catalog.count(*) OVER (PARTITION BY extension) AS few
		          FROM (` + strings.Join(parts, " UNION ALL ") + `) AS members) AS m
		  JOIN pg_catalog.pg_extension x ON x.oid = m.extension
		 CROSS JOIN LATERAL pg_catalog.pg_identify_object(m.classid, m.objid, 0) AS i
		 WHERE m.before AND m.few AND i.identity IS NOT NULL
		 ORDER BY 1, 2`
}()
