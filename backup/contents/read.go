// Package contents reads what a database holds, table by table, and compares a restored copy with it.
// It works as a role with pg_read_all_data, on PostgreSQL 13 to 19.
package contents

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/backup/sqltext"
)

// ours is the condition that an object (its oid, its catalogue, its schema's row n) is the user's: not
// the system's, not temporary, not brought by an extension.
func ours(oid, class string) string {
	return `n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND n.nspname !~ '^pg_(toast_)?temp_'
	   AND ` + notOfExtension(oid, class)
}

func notOfExtension(oid, class string) string {
	return `NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
	                    WHERE e.classid = 'pg_catalog.` + class + `'::regclass AND e.objid = ` + oid + ` AND e.deptype = 'e')`
}

// Querier is a session or a transaction.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Count fills in the exact number of rows of each table, under the snapshot of the session's transaction, where it is in one.
func Count(ctx context.Context, conn *pgx.Conn, relations []Relation) ([]catalog.Table, error) {
	const batch = 50 // tables a round trip; see CountUnder
	tables := []catalog.Table{}
	for rest := relations; len(rest) > 0; rest = rest[min(batch, len(rest)):] {
		part := rest[:min(batch, len(rest))]
		row, err := conn.Query(ctx, countSQL(part), pgx.QueryExecModeExec)
		if err != nil {
			return nil, fmt.Errorf("count the rows of %s: %w", few(part), err)
		}
		rows, err := pgx.CollectExactlyOneRow(row, func(r pgx.CollectableRow) ([]int64, error) {
			rows, _, err := parseCounts(r.RawValues())
			return rows, err
		})
		if err != nil {
			return nil, fmt.Errorf("count the rows of %s: %w", few(part), err)
		}
		for i, r := range part {
			if r.Computes {
				if rows[i], err = countUnplanned(ctx, conn, r); err != nil {
					return nil, err
				}
			}
			tables = append(tables, catalog.Table{Schema: r.Schema, Name: r.Name, Rows: rows[i], Passing: r.Passing})
		}
	}
	return tables, nil
}

// Sequences reads the sequences, without those of extensions. What is read of them obeys no snapshot. A standby can't
// read unlogged ones: they are at their start there.
func Sequences(ctx context.Context, q Querier) ([]catalog.Sequence, error) {
	rows, err := q.Query(ctx, `
		SELECT n.nspname, c.relname, s.seqstart, false, s.seqincrement, s.seqcycle,
		       c.relpersistence = 'u' AND pg_catalog.pg_is_in_recovery()
		  FROM pg_catalog.pg_sequence s
		  JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
		  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		 WHERE c.relpersistence <> 't' AND `+ours("c.oid", "pg_class")+`
		 ORDER BY 1, 2`)
	if err != nil {
		return nil, fmt.Errorf("list the sequences: %w", err)
	}
	all := []catalog.Sequence{}
	var readable []int // indexes in all
	var s catalog.Sequence
	var hidden bool
	_, err = pgx.ForEachRow(rows, []any{&s.Schema, &s.Name, &s.Last, &s.Called, &s.Increment, &s.Cycles, &hidden}, func() error {
		if !hidden {
			readable = append(readable, len(all))
		}
		all = append(all, s)
		server.Readable(&all[len(all)-1])
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the sequences: %w", err)
	}
	// In batches: a round trip each would hold up the dump of a schema with thousands.
	const batch = 50
	for from := 0; from < len(readable); from += batch {
		var sql []string
		for _, i := range readable[from:min(from+batch, len(readable))] {
			sql = append(sql, fmt.Sprintf("SELECT %d, last_value, is_called FROM %s", i, server.Quote(all[i].Schema, all[i].Name)))
		}
		rows, err := q.Query(ctx, strings.Join(sql, " UNION ALL "), pgx.QueryExecModeExec)
		if err != nil {
			return nil, fmt.Errorf("read the sequences: %w", err)
		}
		var i int
		var last int64
		var called bool
		_, err = pgx.ForEachRow(rows, []any{&i, &last, &called}, func() error {
			all[i].Last, all[i].Called = last, called
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read the sequences: %w", err)
		}
	}
	return all, nil
}

// Objects reads everything of a database's Contents but tables and sequences.
func Objects(ctx context.Context, q Querier, c *catalog.Contents) error {
	var err error
	// An invalid index (a failed CREATE INDEX CONCURRENTLY) is not dumped.
	c.Indexes, err = names(ctx, q, `
		SELECT n.nspname || '.' || c.relname
		  FROM pg_catalog.pg_index i
		  JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
		  JOIN pg_catalog.pg_class r ON r.oid = i.indrelid
		  JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
		 WHERE r.relkind IN ('r', 'p', 'm') AND r.relpersistence <> 't' AND i.indisready
		   AND (i.indisvalid OR r.relkind = 'p') AND `+ours("r.oid", "pg_class")+`
		 ORDER BY 1`)
	if err != nil {
		return fmt.Errorf("list the indexes: %w", err)
	}
	// A partition inherits its parent's constraints, under names that a restore may choose anew.
	c.Constraints, err = names(ctx, q, `
		SELECT n.nspname || '.' || r.relname || '.' || k.conname
		  FROM pg_catalog.pg_constraint k
		  JOIN pg_catalog.pg_class r ON r.oid = k.conrelid
		  JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
		 WHERE k.contype IN ('p', 'u', 'f', 'c', 'x') AND k.conparentid = 0
		   AND r.relkind IN ('r', 'p') AND r.relpersistence <> 't' AND `+ours("r.oid", "pg_class")+`
		 ORDER BY 1`)
	if err != nil {
		return fmt.Errorf("list the constraints: %w", err)
	}
	rows, err := q.Query(ctx, `
		SELECT e.extname, e.extversion, n.nspname
		  FROM pg_catalog.pg_extension e
		  JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
		 ORDER BY 1`)
	if err == nil {
		c.Extensions, err = pgx.CollectRows(rows, pgx.RowToStructByPos[catalog.Extension])
	}
	if err != nil {
		return fmt.Errorf("list the extensions: %w", err)
	}
	server.Readable(&c.Extensions)
	return counts(ctx, q, c)
}

func names(ctx context.Context, q Querier, sql string) ([]string, error) {
	rows, err := q.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	server.Readable(&all)
	return all, err
}

// Read reads the contents of a database that nobody else changes. It counts a few tables a statement, and lets their locks go: the
// server's table of locks may have no room for those on all tables and indexes at once.
func Read(ctx context.Context, conn *pgx.Conn) (c catalog.Contents, err error) {
	return read(ctx, conn, count)
}

func count(ctx context.Context, conn *pgx.Conn, relations []Relation) ([]catalog.Table, error) {
	return Count(ctx, conn, relations)
}

// ReadOwn is Read of a database whose tables are the session's own role's, which need not be a superuser's: it may read a table whose
// policies are forced on its owner. The force is taken away for the count, and that is rolled back.
func ReadOwn(ctx context.Context, conn *pgx.Conn) (c catalog.Contents, err error) {
	return read(ctx, conn, func(ctx context.Context, conn *pgx.Conn, relations []Relation) (tables []catalog.Table, err error) {
		forced := slices.DeleteFunc(slices.Clone(relations), func(r Relation) bool { return !r.Filtered })
		if len(forced) == 0 {
			return Count(ctx, conn, relations)
		}
		until, err := conn.Begin(ctx)
		if err != nil {
			return nil, fmt.Errorf("count the rows: %w", err)
		}
		defer func() { err = errors.Join(err, until.Rollback(context.WithoutCancel(ctx))) }()
		for _, r := range forced {
			if err := sqltext.Exec(ctx, conn, "ALTER TABLE "+server.Quote(r.Schema, r.Name)+" NO FORCE ROW LEVEL SECURITY"); err != nil {
				return nil, fmt.Errorf("count the rows of %s.%s: %w", r.Schema, r.Name, err)
			}
		}
		return Count(ctx, conn, relations) // in that transaction
	})
}

func read(ctx context.Context, conn *pgx.Conn,
	count func(context.Context, *pgx.Conn, []Relation) ([]catalog.Table, error)) (c catalog.Contents, err error) {
	if _, err = conn.Exec(ctx, "SET row_security = off"); err != nil {
		return c, fmt.Errorf("read the database's contents: %w", err)
	}
	relations, err := Relations(ctx, conn)
	if err == nil {
		c.Tables, err = count(ctx, conn, relations)
	}
	if err == nil {
		c.Sequences, err = Sequences(ctx, conn)
	}
	if err != nil {
		return c, err
	}
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return c, fmt.Errorf("read the database's contents: %w", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if c.Kept, err = kept(ctx, tx); err == nil {
		err = Objects(ctx, tx, &c)
	}
	c.Exact = err == nil
	return c, err
}
