package contents

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
)

// KeptTable is an extension's table whose rows a dump holds, those that fulfil a condition which the extension set
// (pg_extension_config_dump): a scheduler's jobs, a partitioner's plans, the catalogue of a store of time series.
type KeptTable struct {
	OID                     uint32
	Schema, Name, Condition string
	// Computes is Relation's.
	Computes bool
}

// KeptTables lists them, without those that have none of their rows here, unlogged ones on a standby.
func KeptTables(ctx context.Context, q Querier) ([]KeptTable, error) {
	rows, err := q.Query(ctx, `
		SELECT c.oid, n.nspname, c.relname, coalesce(t.condition, ''), c.oid IN (`+computing+`)
		  FROM pg_catalog.pg_extension e
		 CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(e.extconfig), pg_catalog.unnest(e.extcondition)) AS t (config, condition)
		  JOIN pg_catalog.pg_class c ON c.oid = t.config
		  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		 WHERE c.relkind = 'r' AND NOT (c.relpersistence = 'u' AND pg_catalog.pg_is_in_recovery())
		 ORDER BY c.oid`)
	if err != nil {
		return nil, fmt.Errorf("look for tables of extensions: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[KeptTable])
	if err != nil {
		return nil, fmt.Errorf("look for tables of extensions: %w", err)
	}
	return all, nil
}

// Table is the manifest's entry, not counted yet.
func (k KeptTable) Table() catalog.Table {
	t := catalog.Table{Schema: k.Schema, Name: k.Name, Uncounted: true}
	server.Readable(&t)
	return t
}

// Count counts the rows that pg_dump takes, as it asks for them, and says from which file they were read. A table that computes is not
// planned for by us: ok is false then, and where the server refuses.
func (k KeptTable) Count(ctx context.Context, q Querier) (rows int64, file uint32, ok bool, err error) {
	if k.Computes {
		return 0, 0, false, nil
	}
	err = q.QueryRow(ctx, "SELECT pg_catalog.count(*) FROM ONLY "+server.Quote(k.Schema, k.Name)+" "+k.Condition).Scan(&rows)
	if err == nil {
		err = q.QueryRow(ctx, "SELECT coalesce(pg_catalog.pg_relation_filenode($1::oid), 0::oid)", k.OID).Scan(&file)
	}
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return 0, 0, false, nil
	}
	if err != nil {
		return 0, 0, false, fmt.Errorf("count the rows of %s.%s: %w", k.Schema, k.Name, err)
	}
	return rows, file, true, nil
}

// kept counts the tables of a restored database.
func kept(ctx context.Context, tx pgx.Tx) ([]catalog.Table, error) {
	all, err := KeptTables(ctx, tx)
	if err != nil {
		return nil, err
	}
	var tables []catalog.Table
	for _, k := range all {
		t := k.Table()
		err := func() error {
			inner, err := tx.Begin(ctx) // what the server refuses must not end the outer one
			if err != nil {
				return err
			}
			defer func() { _ = inner.Rollback(context.WithoutCancel(ctx)) }()
			rows, _, ok, err := k.Count(ctx, inner)
			t.Rows, t.Uncounted = rows, !ok
			return err
		}()
		if err != nil {
			return nil, err
		}
		tables = append(tables, t)
	}
	return tables, nil
}

// compareKept wants at least the rows of the backup's server: an extension may bring some, and others with each version; it may also write
// some while the database is restored. Tables that one of both does not have dumped are not compared.
func compareKept(want, got catalog.Contents) []string {
	var d []string
	have := map[[2]string]catalog.Table{}
	for _, t := range got.Kept {
		have[[2]string{t.Schema, t.Name}] = t
	}
	for _, t := range want.Kept {
		g, ok := have[[2]string{t.Schema, t.Name}]
		if ok && !g.Uncounted && !t.Uncounted && g.Rows < t.Rows {
			d = append(d, fmt.Sprintf("table %s.%s of an extension has %d rows that are dumped, the backup's server had %d", t.Schema, t.Name,
				g.Rows, t.Rows))
		}
	}
	return d
}
