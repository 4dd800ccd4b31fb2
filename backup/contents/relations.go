package contents

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
)

// Relation is an ordinary table, as much of it as a dump needs to know beforehand. Two Relations of the same table that
// are equal are of the same file and the same columns and indexes: nothing that a dump of it would notice has happened in between.
type Relation struct {
	OID          uint32
	Schema, Name string
	// File is the number of the table's file. TRUNCATE, VACUUM FULL, CLUSTER and ALTER TABLEs that rewrite give it another.
	File uint32
	// Shape is a hash of the columns and indexes.
	Shape int64
	// Bytes is about how large it is.
	Bytes int64
	// Readable is false when the role lacks SELECT on it or USAGE of its schema; Filtered is true when row-level security applies to it.
	Readable, Filtered bool
	// Hidden is true for an unlogged table on a standby, which has none of its rows.
	Hidden bool
	// Passing is catalog.Table's.
	Passing bool
}

// Same says whether nothing happened to the table.
func (r Relation) Same(o Relation) bool {
	return r.OID == o.OID && r.Schema == o.Schema && r.Name == o.Name && r.File == o.File && r.Shape == o.Shape
}

// Table is the manifest's entry, not counted yet.
func (r Relation) Table() catalog.Table {
	return catalog.Table{Schema: r.Schema, Name: r.Name, Uncounted: !r.Hidden, Passing: r.Passing}
}

// Relations lists the tables whose rows a dump holds. What it lists obeys the transaction's snapshot.
func Relations(ctx context.Context, q Querier) ([]Relation, error) {
	rows, err := q.Query(ctx, `
		SELECT c.oid, n.nspname, c.relname, c.relfilenode,
		       pg_catalog.hashtextextended(coalesce(a.columns, '') || '/' || coalesce(i.indexes, ''), 0),
		       c.relpages::bigint * pg_catalog.current_setting('block_size')::int,
		       -- NULL where the snapshot has a table that is gone by now
		       coalesce(pg_catalog.has_table_privilege(c.oid, 'SELECT') AND pg_catalog.has_schema_privilege(n.oid, 'USAGE'), true),
		       coalesce(pg_catalog.row_security_active(c.oid), false),
		       c.relpersistence = 'u' AND pg_catalog.pg_is_in_recovery(),
		       c.relpersistence = 'u' OR EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhrelid = c.oid)
		  FROM pg_catalog.pg_class c
		  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		  LEFT JOIN (SELECT attrelid, pg_catalog.string_agg(attnum || ' ' || attname || ' ' || atttypid, ',' ORDER BY attnum) AS columns
		               FROM pg_catalog.pg_attribute WHERE attnum > 0 AND NOT attisdropped GROUP BY 1) a ON a.attrelid = c.oid
		  LEFT JOIN (SELECT indrelid, pg_catalog.string_agg(indexrelid::text, ',' ORDER BY indexrelid) AS indexes
		               FROM pg_catalog.pg_index GROUP BY 1) i ON i.indrelid = c.oid
		 WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND `+ours("c.oid", "pg_class")+`
		 ORDER BY 2, 3`)
	if err != nil {
		return nil, fmt.Errorf("list the tables: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Relation])
	if err != nil {
		return nil, fmt.Errorf("list the tables: %w", err)
	}
	server.Readable(&all)
	return all, nil
}

// CountFiles counts the rows of a few tables in one statement, and says from which files it read them. ONLY: children
// count for themselves. The session must have row_security off, so that a policy is an error and never a smaller number.
func CountFiles(ctx context.Context, q Querier, tables []Relation) (rows []int64, files []uint32, err error) {
	var counts, numbers []string
	for _, t := range tables {
		counts = append(counts, "(SELECT pg_catalog.count(*) FROM ONLY "+server.Quote(t.Schema, t.Name)+")")
		numbers = append(numbers, fmt.Sprintf("coalesce(pg_catalog.pg_relation_filenode(%d), 0)", t.OID))
	}
	// In this order: what is counted is locked, so that its file is the same until the transaction's end.
	err = q.QueryRow(ctx, "SELECT ARRAY["+strings.Join(counts, ", ")+"], ARRAY["+strings.Join(numbers, ", ")+"]::bigint[]::oid[]",
		pgx.QueryExecModeExec).Scan(&rows, &files)
	if err != nil {
		return nil, nil, fmt.Errorf("count the rows of %s: %w", few(tables), err)
	}
	return rows, files, nil
}

func few(tables []Relation) string {
	s := tables[0].Schema + "." + tables[0].Name
	if len(tables) > 1 {
		s += fmt.Sprintf(" and %d more tables", len(tables)-1)
	}
	return s
}

// Digest is a number that changes when a user changes the schema: relations, columns, functions, types, constraints,
// triggers, rules. It obeys the transaction's snapshot.
func Digest(ctx context.Context, q Querier) (int64, error) {
	var d int64
	// xmin is that of the row's last change; sums of hashes don't depend on an order.
	part := func(catalogue, namespace, also string) string {
		return `SELECT pg_catalog.sum(pg_catalog.hashtextextended(x.oid || ' ' || x.xmin::text` + also + `, 0)) FROM pg_catalog.` + catalogue + ` x
			  JOIN pg_catalog.pg_namespace n ON n.oid = x.` + namespace + ` WHERE ` + notTemporary
	}
	hung := func(catalogue, relation, key string) string {
		return `SELECT pg_catalog.sum(pg_catalog.hashtextextended(` + key + ` || ' ' || x.xmin::text, 0)) FROM pg_catalog.` + catalogue + ` x
			  JOIN pg_catalog.pg_class c ON c.oid = x.` + relation + ` JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE ` + notTemporary
	}
	err := q.QueryRow(ctx, `SELECT (coalesce(pg_catalog.sum(s), 0) % 9007199254740992)::bigint FROM (`+strings.Join([]string{
		part("pg_class", "relnamespace", " || ' ' || x.relfilenode"), part("pg_proc", "pronamespace", ""), part("pg_type", "typnamespace", ""),
		hung("pg_attribute", "attrelid", "x.attrelid || ' ' || x.attnum"), hung("pg_index", "indrelid", "x.indexrelid"),
		hung("pg_constraint", "conrelid", "x.oid"), hung("pg_trigger", "tgrelid", "x.oid"), hung("pg_rewrite", "ev_class", "x.oid"),
		`SELECT pg_catalog.sum(pg_catalog.hashtextextended(n.oid || ' ' || n.xmin::text, 0)) FROM pg_catalog.pg_namespace n WHERE ` + notTemporary,
	}, " UNION ALL ")+`) all_of_it (s)`).Scan(&d)
	if err != nil {
		return 0, fmt.Errorf("look for changes of the schema: %w", err)
	}
	return d, nil
}

const notTemporary = `n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast_)?temp'`
