package pgbackrest

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
)

// known is a database and what it held before the backup.
type known struct {
	catalog.Database
	objects []object
}

// object is a table, sequence or index by its oid, so that one that was dropped and made anew
// meanwhile is another.
type object struct {
	OID          uint32
	Kind         string // pg_class.relkind
	Schema, Name string
}

// readObjects lists a database's tables, sequences and indexes, without the system's. Those of
// extensions are among them: a physical backup brings them itself.
func readObjects(ctx context.Context, t server.Target, database string) ([]object, error) {
	conn, err := t.Connect(ctx, database)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	// Unlogged tables are empty after a recovery, and there.
	rows, err := conn.Query(ctx, `
		SELECT c.oid, c.relkind::text, n.nspname, c.relname
		  FROM pg_catalog.pg_class c
		  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		 WHERE c.relkind IN ('r', 'S', 'i') AND c.relpersistence <> 't'
		   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
		   AND n.nspname !~ '^pg_(toast_)?temp_'
		   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
		                    WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.deptype = 'e'
		                      AND e.objid = coalesce((SELECT x.indrelid FROM pg_catalog.pg_index x WHERE x.indexrelid = c.oid), c.oid))
		   AND NOT EXISTS (SELECT FROM pg_catalog.pg_index x
		                    WHERE x.indexrelid = c.oid AND NOT (x.indisready AND x.indisvalid))
		 ORDER BY c.relkind, n.nspname, c.relname`)
	if err != nil {
		return nil, fmt.Errorf("list the objects of database %s: %w", database, err)
	}
	objects, err := pgx.CollectRows(rows, pgx.RowToStructByPos[object])
	if err != nil {
		return nil, fmt.Errorf("list the objects of database %s: %w", database, err)
	}
	return objects, nil
}

// stillThere leaves, of each database, what was there before the backup and is there after it: all
// that must be in a server restored to the backup's end. A database that is gone is left out.
func stillThere(ctx context.Context, t server.Target, before []known) ([]catalog.Database, error) {
	conn, err := t.Connect(ctx, "")
	if err != nil {
		return nil, err
	}
	names, _, err := server.Databases(ctx, conn, server.Selection{})
	_ = conn.Close(context.WithoutCancel(ctx))
	if err != nil {
		return nil, err
	}
	var all []catalog.Database
	for _, k := range before {
		if !slices.Contains(names, k.Name) {
			continue
		}
		after, err := readObjects(ctx, t, k.Name)
		if err != nil {
			return nil, err
		}
		db := k.Database
		for _, o := range k.objects {
			if !slices.Contains(after, o) {
				continue
			}
			switch o.Kind {
			case "r":
				db.Contents.Tables = append(db.Contents.Tables, catalog.Table{Schema: o.Schema, Name: o.Name})
			case "S":
				db.Contents.Sequences = append(db.Contents.Sequences, catalog.Sequence{Schema: o.Schema, Name: o.Name})
			default:
				db.Contents.Indexes = append(db.Contents.Indexes, o.Schema+"."+o.Name)
			}
		}
		all = append(all, db)
	}
	return all, nil
}
