package restore

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/contents"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
)

// occupied names something a user made in one of the server's databases, "" when there is nothing. A database that
// can't be looked into is full: who closed it may have had a reason. What an interrupted restore left is nothing.
func (s *session) occupied(ctx context.Context) (string, error) {
	type database struct {
		Name    string
		Closed  bool
		Comment string
	}
	rows, err := s.conn.Query(ctx, `
		SELECT datname, NOT datallowconn, `+server.UnfinishedComment+`
		  FROM pg_catalog.pg_database
		 WHERE datallowconn OR datname <> 'template0'
		 ORDER BY datname`)
	if err != nil {
		return "", fmt.Errorf("look for data on the server: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[database])
	if err != nil {
		return "", fmt.Errorf("look for data on the server: %w", err)
	}
	for _, d := range all {
		if server.IsUnfinished(d.Name, d.Comment) {
			continue
		}
		if d.Closed {
			return d.Name + ": it allows no connections, and can't be looked into", nil
		}
		what, err := s.within(ctx, d.Name)
		if err != nil {
			return "", err
		}
		if what != "" {
			return d.Name + ": " + what, nil
		}
	}
	return "", nil
}

// within names something a user made in a database.
func (s *session) within(ctx context.Context, database string) (string, error) {
	conn, err := s.Target.Connect(ctx, database)
	if err != nil {
		if alive := s.conn.Ping(ctx); alive != nil || ctx.Err() != nil {
			return "", err
		}
		if there, e := exists(ctx, s.conn, database); e == nil && !there {
			return "", failure.New(failure.Refused, "database %s vanished meanwhile: %w", database, err).WithHint("Try again.")
		}
		return fmt.Sprintf("it can't be looked into (%v)", err), nil
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	what, err := contents.AnythingOfUsers(ctx, conn)
	if err == nil && what == "" && (database == "postgres" || database == "template1") {
		// These are not moved aside where the backup has nothing in them: what was set would be lost.
		err = conn.QueryRow(ctx, `
			SELECT coalesce((SELECT 'setting ' || pg_catalog.left(setconfig[1], 100) FROM pg_catalog.pg_db_role_setting s
			                   JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase WHERE d.datname = $1 LIMIT 1), '')`, database).Scan(&what)
	}
	if err != nil {
		return "", fmt.Errorf("look for data in database %s: %w", database, err)
	}
	return what, nil
}
