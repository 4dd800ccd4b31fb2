package contents

import (
	"context"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/backup/sqltext"
)

// computing lists the tables whose indexes or statistics call a function that is not of a superuser's language. To plan a query,
// PostgreSQL computes what is constant in their expressions and conditions, with the rights of whoever asks
// (get_relation_info in src/backend/optimizer/util/plancat.c, eval_const_expressions): f(1) of a table's owner runs as us.
const computing = `
		SELECT coalesce(i.indrelid, s.stxrelid)
		  FROM pg_catalog.pg_depend d
		  LEFT JOIN pg_catalog.pg_operator o ON d.refclassid = 'pg_catalog.pg_operator'::regclass AND o.oid = d.refobjid
		  JOIN pg_catalog.pg_proc p ON p.oid = CASE WHEN d.refclassid = 'pg_catalog.pg_proc'::regclass THEN d.refobjid ELSE o.oprcode END
		  JOIN pg_catalog.pg_language l ON l.oid = p.prolang AND l.lanname NOT IN ('internal', 'c')
		  LEFT JOIN pg_catalog.pg_index i ON d.classid = 'pg_catalog.pg_class'::regclass AND i.indexrelid = d.objid
		  LEFT JOIN pg_catalog.pg_statistic_ext s ON d.classid = 'pg_catalog.pg_statistic_ext'::regclass AND s.oid = d.objid
		 WHERE coalesce(i.indrelid, s.stxrelid) IS NOT NULL`

// countUnplanned counts a table's rows with COPY, which reads the table itself without a plan, of its smallest column.
func countUnplanned(ctx context.Context, conn *pgx.Conn, t Relation) (int64, error) {
	var columns string
	err := conn.QueryRow(ctx, `
		SELECT coalesce('(' || (SELECT pg_catalog.quote_ident(attname) FROM pg_catalog.pg_attribute
		                         WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
		                         ORDER BY attlen < 0, attlen, attnum LIMIT 1) || ')', '')`, t.OID).Scan(&columns)
	if err != nil {
		return 0, fmt.Errorf("count the rows of %s.%s: %w", t.Schema, t.Name, err)
	}
	tag, err := conn.PgConn().CopyTo(ctx, io.Discard, "COPY "+server.Quote(t.Schema, t.Name)+columns+" TO STDOUT")
	if err != nil {
		return 0, fmt.Errorf("count the rows of %s.%s: %w", t.Schema, t.Name, err)
	}
	return tag.RowsAffected(), nil
}

// countAlone is CountUnder of one table that computes.
func countAlone(ctx context.Context, conn *pgx.Conn, snapshot string, t Relation) (rows int64, file uint32, err error) {
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if err := sqltext.Exec(ctx, tx.Conn(), "SET TRANSACTION SNAPSHOT "+sqltext.Literal(snapshot)); err != nil {
			return err
		}
		if rows, err = countUnplanned(ctx, tx.Conn(), t); err != nil {
			return err
		}
		return tx.QueryRow(ctx, "SELECT coalesce(pg_catalog.pg_relation_filenode($1::oid), 0::oid)", t.OID).Scan(&file)
	})
	return rows, file, err
}
