package contents

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

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
	// Bytes is about how large it is, Indexes how many it has: reading it locks them, too.
	Bytes   int64
	Indexes int
	// Readable is false when the role lacks SELECT on it or USAGE of its schema; Filtered is true when row-level security applies to it.
	Readable, Filtered bool
	// Hidden is true for an unlogged table on a standby, which has none of its rows.
	Hidden bool
	// Passing is catalog.Table's.
	Passing bool
	// Computes is true where an index or statistics on it have an expression or condition with a function of a user's: whoever
	// plans a query on the table may run it, as himself. A query on such a table is never planned here.
	Computes bool
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
		       pg_catalog.hashtextextended(coalesce(a.columns, 0) || '/' || coalesce(i.indexes, 0), 0),
		       c.relpages::bigint * pg_catalog.current_setting('block_size')::int, coalesce(i.n, 0)::int,
		       -- NULL where the snapshot has a table that is gone by now
		       coalesce(pg_catalog.has_table_privilege(c.oid, 'SELECT') AND pg_catalog.has_schema_privilege(n.oid, 'USAGE'), true),
		       coalesce(pg_catalog.row_security_active(c.oid), false),
		       c.relpersistence = 'u' AND pg_catalog.pg_is_in_recovery(),
		       c.relpersistence = 'u' OR EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhrelid = c.oid),
		       c.oid IN (`+computing+`)
		  FROM pg_catalog.pg_class c
		  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		  LEFT JOIN (SELECT attrelid, pg_catalog.sum(pg_catalog.hashtextextended(attname::text, attnum * 4294967296 + atttypid::bigint)) AS columns
		               FROM pg_catalog.pg_attribute WHERE attnum > 0 AND NOT attisdropped GROUP BY 1) a ON a.attrelid = c.oid
		  LEFT JOIN (SELECT indrelid, pg_catalog.sum(pg_catalog.hashint8extended(indexrelid::bigint, 0)) AS indexes, pg_catalog.count(*) AS n
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

// CountUnder counts the rows of a few tables in a transaction of its own under an exported snapshot, in one round trip, and
// says from which files it read them: what is counted is locked to the transaction's end, so that its file is the same. ONLY:
// children count for themselves. The session must have row_security off, so that a policy is an error and never a smaller number.
func CountUnder(ctx context.Context, conn *pgx.Conn, snapshot string, tables []Relation) (rows []int64, files []uint32, err error) {
	batch := &pgconn.Batch{}
	for _, sql := range []string{
		"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "SET TRANSACTION SNAPSHOT " + server.Literal(snapshot), countSQL(tables), "COMMIT",
	} {
		batch.ExecParams(sql, nil, nil, nil, nil)
	}
	results, err := conn.PgConn().ExecBatch(ctx, batch).ReadAll()
	if err == nil && (len(results) != 4 || len(results[2].Rows) != 1) {
		err = fmt.Errorf("the server answered with %d results", len(results))
	}
	if err == nil {
		rows, files, err = parseCounts(results[2].Rows[0])
	}
	for i, t := range tables {
		if err == nil && t.Computes {
			rows[i], files[i], err = countAlone(ctx, conn, snapshot, t)
		}
	}
	if err != nil {
		_, _ = conn.Exec(context.WithoutCancel(ctx), "ROLLBACK") // a session that is broken is found by who uses it next
		return nil, nil, fmt.Errorf("count the rows of %s: %w", few(tables), err)
	}
	return rows, files, nil
}

// EmptyFiles finds the tables whose file is the one that is given and has nothing in it. While a snapshot is held, nothing that is
// visible in it can leave a file: such a table has no rows in the snapshot. It costs a fraction of counting, and locks each
// table for a moment only.
func EmptyFiles(ctx context.Context, q Querier, tables []Relation) (map[uint32]bool, error) {
	var oids, files []uint32
	for _, t := range tables {
		oids, files = append(oids, t.OID), append(files, t.File)
	}
	// The number after the size: a file that is still the table's was so before.
	rows, err := q.Query(ctx, `
		SELECT s.oid
		  FROM (SELECT t.oid, t.file, pg_catalog.pg_relation_size(t.oid) AS bytes
		          FROM unnest($1::oid[], $2::oid[]) AS t (oid, file) OFFSET 0) s
		 WHERE s.bytes = 0 AND pg_catalog.pg_relation_filenode(s.oid) = s.file`, oids, files)
	if err != nil {
		return nil, fmt.Errorf("look for empty tables: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[uint32])
	if err != nil {
		return nil, fmt.Errorf("look for empty tables: %w", err)
	}
	empty := map[uint32]bool{}
	for _, oid := range found {
		empty[oid] = true
	}
	return empty, nil
}

// countSQL is one row: of each table its rows and the number of its file, as text. The rows of one that computes are 0: see countUnplanned.
func countSQL(tables []Relation) string {
	var columns []string
	for _, t := range tables {
		count := "'0'"
		if !t.Computes {
			count = "(SELECT pg_catalog.count(*)::text FROM ONLY " + server.Quote(t.Schema, t.Name) + ")"
		}
		columns = append(columns, fmt.Sprintf("%s, coalesce(pg_catalog.pg_relation_filenode(%d), 0)::text", count, t.OID))
	}
	return "SELECT " + strings.Join(columns, ", ")
}

func parseCounts(row [][]byte) (rows []int64, files []uint32, err error) {
	for i := 0; i+1 < len(row); i += 2 {
		n, err := strconv.ParseInt(string(row[i]), 10, 64)
		if err != nil {
			return nil, nil, fmt.Errorf("a number of rows: %w", err)
		}
		file, err := strconv.ParseUint(string(row[i+1]), 10, 32)
		if err != nil {
			return nil, nil, fmt.Errorf("a number of a file: %w", err)
		}
		rows, files = append(rows, n), append(files, uint32(file))
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
		return `SELECT pg_catalog.sum(pg_catalog.hashtextextended(x.oid || ' ' || x.xmin::text` + also + `, 0)) FROM pg_catalog.` + catalogue +
			` x
			  JOIN pg_catalog.pg_namespace n ON n.oid = x.` + namespace + ` WHERE ` + notTemporary
	}
	hung := func(catalogue, relation, key string) string {
		return `SELECT pg_catalog.sum(pg_catalog.hashtextextended(` + key + ` || ' ' || x.xmin::text, 0)) FROM pg_catalog.` + catalogue + ` x
			  JOIN pg_catalog.pg_class c ON c.oid = x.` + relation + ` JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE ` +
			notTemporary
	}
	err := q.QueryRow(ctx, `SELECT (coalesce(pg_catalog.sum(s), 0) % 9007199254740992)::bigint FROM (`+strings.Join([]string{
		part("pg_class", "relnamespace", " || ' ' || x.relfilenode"), part("pg_proc", "pronamespace", ""), part("pg_type", "typnamespace", ""),
		hung("pg_attribute", "attrelid", "x.attrelid || ' ' || x.attnum"), hung("pg_index", "indrelid", "x.indexrelid"),
		hung("pg_constraint", "conrelid", "x.oid"), hung("pg_trigger", "tgrelid", "x.oid"), hung("pg_rewrite", "ev_class", "x.oid"),
		`SELECT pg_catalog.sum(pg_catalog.hashtextextended(n.oid || ' ' || n.xmin::text, 0)) FROM pg_catalog.pg_namespace n WHERE ` +
			notTemporary,
	}, " UNION ALL ")+`) all_of_it (s)`).Scan(&d)
	if err != nil {
		return 0, fmt.Errorf("look for changes of the schema: %w", err)
	}
	return d, nil
}

const notTemporary = `n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast_)?temp'`
