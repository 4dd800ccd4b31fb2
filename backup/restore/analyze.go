package restore

import (
	"context"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/backup/sqltext"
)

// relation is a table to analyze, or a tree of partitions by its root.
type relation struct {
	Schema, Name string
	// Foreign is true of a table that reads from foreign tables: partitions, or tables that inherit.
	Foreign bool
	// Whole is true of a tree of partitions that one statement analyzes.
	Whole bool
}

// analyze collects statistics: without them the first queries of a restored application are its slowest. It goes table
// by table: ANALYZE runs what nothing else of a restore runs (functions of expression statistics and of types,
// foreign servers), and where that fails, statistics are missing and nothing else is. That is a warning.
func (s *session) analyze(ctx context.Context, p *place) error {
	s.report("analyze " + p.database.Name)
	conn, err := s.Target.Connect(ctx, p.beside)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	all, err := relations(ctx, conn)
	if err != nil {
		return err
	}
	work := make(chan relation)
	failed := make(chan error, s.Jobs)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range s.Jobs {
		wg.Add(1)
		go func() {
			defer wg.Done()
			failed <- s.analyzer(ctx, p, work, func(format string, args ...any) {
				mu.Lock()
				defer mu.Unlock()
				s.warn(format, args...)
			})
		}()
	}
	for _, r := range all {
		select {
		case work <- r:
			continue
		case err = <-failed: // before the end only when its session is gone
		}
		break
	}
	close(work)
	wg.Wait()
	close(failed)
	for e := range failed {
		if err == nil {
			err = e
		}
	}
	return err
}

// analyzer is one session that analyzes what comes, and fails only when the session does.
func (s *session) analyzer(ctx context.Context, p *place, work <-chan relation, warn func(string, ...any)) error {
	conn, err := s.Target.Connect(ctx, p.beside)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for r := range work {
		if r.Foreign {
			// A server that is gone may take minutes to say so, and a rehearsal has no business with it.
			warn("database %s: no statistics of %s.%s as a whole: a part of it is a foreign table. Run ANALYZE on it when its server can be reached",
				p.as, r.Schema, r.Name)
			continue
		}
		err := sqltext.Exec(ctx, conn, "ANALYZE "+server.Quote(r.Schema, r.Name))
		if ctx.Err() != nil || conn.IsClosed() {
			return fmt.Errorf("analyze %s.%s: %w", r.Schema, r.Name, err)
		}
		if err == nil {
			continue
		}
		warn("database %s: no statistics of %s.%s: %v", p.as, r.Schema, r.Name, err)
		if !r.Whole {
			continue
		}
		leaves, err := leavesOf(ctx, conn, r)
		if err != nil {
			return err
		}
		for _, l := range leaves {
			if err := sqltext.Exec(ctx, conn, "ANALYZE "+server.Quote(l.Schema, l.Name)); err != nil {
				if ctx.Err() != nil || conn.IsClosed() {
					return fmt.Errorf("analyze %s.%s: %w", l.Schema, l.Name, err)
				}
				warn("database %s: no statistics of %s.%s: %v", p.as, l.Schema, l.Name, err)
			}
		}
	}
	return nil
}

// relations lists what to analyze, the largest first (a partitioned table may be large): tables and materialized views, and of partitioned
// tables the root, which brings its partitions along. Where a foreign table is among them, the others are listed one by one.
// Catalogues are left to a superuser, and to autovacuum.
func relations(ctx context.Context, conn *pgx.Conn) ([]relation, error) {
	rows, err := conn.Query(ctx, `
		WITH RECURSIVE up (child, parent) AS (
		  SELECT inhrelid, inhparent FROM pg_catalog.pg_inherits
		  UNION
		  SELECT u.child, i.inhparent FROM up u JOIN pg_catalog.pg_inherits i ON i.inhrelid = u.parent
		), remote (oid) AS (
		  SELECT DISTINCT u.parent FROM up u JOIN pg_catalog.pg_class f ON f.oid = u.child AND f.relkind = 'f'
		)
		SELECT n.nspname, c.relname, c.oid IN (SELECT oid FROM remote), c.relkind = 'p'
		  FROM pg_catalog.pg_class c
		  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		 WHERE c.relkind IN ('r', 'm', 'p') AND c.relpersistence <> 't' AND NOT c.relisshared
		   AND (n.nspname <> 'pg_catalog' OR (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user))
		   AND NOT EXISTS (SELECT FROM up u JOIN pg_catalog.pg_class r ON r.oid = u.parent
		                    WHERE c.relispartition AND u.child = c.oid AND r.relkind = 'p' AND NOT r.oid IN (SELECT oid FROM remote))
		 ORDER BY c.relkind = 'p' DESC, pg_catalog.pg_relation_size(c.oid) DESC, 1, 2`)
	if err != nil {
		return nil, fmt.Errorf("list the tables to analyze: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[relation])
	if err != nil {
		return nil, fmt.Errorf("list the tables to analyze: %w", err)
	}
	return all, nil
}

func leavesOf(ctx context.Context, conn *pgx.Conn, r relation) ([]relation, error) {
	rows, err := conn.Query(ctx, `
		SELECT n.nspname, c.relname, false, false
		  FROM pg_catalog.pg_partition_tree($1::pg_catalog.regclass) t
		  JOIN pg_catalog.pg_class c ON c.oid = t.relid
		  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		 WHERE t.isleaf AND c.relkind = 'r'
		 ORDER BY 1, 2`, server.Quote(r.Schema, r.Name))
	if err != nil {
		return nil, fmt.Errorf("list the partitions of %s.%s: %w", r.Schema, r.Name, err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[relation])
	if err != nil {
		return nil, fmt.Errorf("list the partitions of %s.%s: %w", r.Schema, r.Name, err)
	}
	return all, nil
}
