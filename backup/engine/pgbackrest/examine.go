package pgbackrest

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/scratch"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/backup/sqltext"
)

// Examine implements engine.ServerRestorer: a physical backup brings every page as it was. With data
// checksums all pages are checked (pg_checksums); without, the B-tree indexes are (amcheck, where it is installed).
func (e *Engine) Examine(ctx context.Context, _ catalog.Backup, room *scratch.Room) error {
	var on bool
	conn, err := room.Target().Connect(ctx, "postgres")
	if err == nil {
		err = conn.QueryRow(ctx, `SELECT pg_catalog.current_setting('data_checksums') = 'on'`).Scan(&on)
		_ = conn.Close(context.WithoutCancel(ctx))
	}
	if err != nil {
		return fmt.Errorf("ask the restored server: %w", err)
	}
	if on {
		return e.pageChecksums(ctx, room)
	}
	return e.indexes(ctx, room)
}

// pageChecksums shuts the server down, reads every page, and starts it again.
func (e *Engine) pageChecksums(ctx context.Context, room *scratch.Room) error {
	if err := room.Shutdown(ctx); err != nil {
		return err
	}
	cmd := room.Command(room.Programs().Path("pg_checksums"), "--check", "-D", room.DataDir())
	if err := room.Run(ctx, cmd); err != nil {
		if exitCode(err) == 1 && ctx.Err() == nil && strings.Contains(err.Error(), "checksum verification failed") {
			return failure.New(failure.Verify, "the restored pages: %w", err)
		}
		return fmt.Errorf("check the restored pages: %w", err)
	}
	return room.Start(ctx, places(room))
}

// indexes checks the B-trees whose order can't depend on this machine's collations.
func (e *Engine) indexes(ctx context.Context, room *scratch.Room) error {
	conn, err := room.Target().Connect(ctx, "postgres")
	if err != nil {
		return err
	}
	rows, err := conn.Query(ctx, `SELECT datname FROM pg_catalog.pg_database WHERE datallowconn AND datname <> 'template0' ORDER BY 1`)
	var names []string
	if err == nil {
		names, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	var installed bool
	if err == nil {
		err = conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_available_extensions WHERE name = 'amcheck')`).Scan(&installed)
	}
	_ = conn.Close(context.WithoutCancel(ctx))
	if err != nil {
		return fmt.Errorf("list the restored databases: %w", err)
	}
	if !installed {
		return nil
	}
	for _, name := range names {
		if err := indexesOf(ctx, room.Target(), name); err != nil {
			return err
		}
	}
	return nil
}

func indexesOf(ctx context.Context, t server.Target, database string) error {
	conn, err := t.Connect(ctx, database)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	// In a schema of its own: the database may have a function of the same name.
	for _, sql := range []string{"CREATE SCHEMA pgr_check", "DROP EXTENSION IF EXISTS amcheck", "CREATE EXTENSION amcheck SCHEMA pgr_check"} {
		if err := sqltext.Exec(ctx, conn, sql); err != nil {
			return fmt.Errorf("check the indexes of database %s: %s: %w", database, sql, err)
		}
	}
	rows, err := conn.Query(ctx, `
		SELECT i.indexrelid::pg_catalog.regclass::text, i.indexrelid
		  FROM pg_catalog.pg_index i
		  JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
		  JOIN pg_catalog.pg_am a ON a.oid = c.relam
		 WHERE a.amname = 'btree' AND c.relkind = 'i' AND c.relpersistence = 'p' AND i.indisready AND i.indisvalid
		   AND NOT EXISTS (SELECT FROM pg_catalog.unnest(i.indcollation::oid[]) AS k
		                    WHERE k NOT IN (0, 'pg_catalog."C"'::regcollation, 'pg_catalog."POSIX"'::regcollation))
		 ORDER BY 1`)
	if err != nil {
		return fmt.Errorf("list the indexes of database %s: %w", database, err)
	}
	type index struct {
		Name string
		OID  uint32
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[index])
	if err != nil {
		return fmt.Errorf("list the indexes of database %s: %w", database, err)
	}
	for _, x := range all {
		if _, err := conn.Exec(ctx, "SELECT pgr_check.bt_index_check($1::oid::regclass)", x.OID); err != nil {
			if ctx.Err() != nil || conn.IsClosed() {
				return fmt.Errorf("check index %s of database %s: %w", x.Name, database, err)
			}
			return failure.New(failure.Verify, "index %s of database %s: %w", x.Name, database, err)
		}
	}
	return nil
}
