package setup

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/deploy/sql"
)

// server makes what the exporter and the backup job need in the server: roles, passwords, rights.
func (s *setup) server(ctx context.Context) error {
	conn, err := s.Admin.Connect(ctx, "")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := s.facts(ctx, conn); err != nil {
		return err
	}
	roles, err := s.roles(ctx, conn)
	if err != nil {
		return err
	}
	for _, r := range roles {
		if err := s.makeRole(ctx, conn, r); err != nil {
			return err
		}
	}
	if s.Sequences {
		return s.sequences(ctx, conn)
	}
	return nil
}

// facts asks what decides how to go on, and refuses where nothing could be changed.
func (s *setup) facts(ctx context.Context, conn *pgx.Conn) error {
	var version, port string
	var standby, super bool
	err := conn.QueryRow(ctx, `
		SELECT pg_catalog.current_setting('server_version'), pg_catalog.current_setting('server_version_num')::int,
		       pg_catalog.current_setting('port'), pg_catalog.pg_is_in_recovery(),
		       (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)`).
		Scan(&version, &s.version, &port, &standby, &super)
	if err != nil {
		return fmt.Errorf("ask the server what it is: %w", err)
	}
	const oldest, reads = 130000, 140000
	switch {
	case s.version < oldest:
		return failure.New(failure.Version, "the server is PostgreSQL %s, and 13 is the oldest that can be watched", version)
	case standby:
		return failure.New(failure.Refused, "%s is a standby: roles are made on its primary, and come from there", s.Admin).
			WithHint("Run setup on the primary first, and here copy the password files and enable the services.")
	case !super:
		return failure.New(failure.Permission, "%s is not a superuser", s.Admin).
			WithHint("Log in as one. Where nobody is (managed services), follow docs/managed.md instead.")
	case s.Backups && s.version < reads:
		return failure.New(failure.Version, "PostgreSQL %s has no role that may read everything and nothing else (14 has pg_read_all_data)",
			version).
			WithHint("Say --no-backups, and let the backup job log in as a superuser: docs/backup.md.")
	}
	cfg, err := s.Admin.Config("")
	if err != nil {
		return err
	}
	s.address = "localhost:" + port
	if !s.Local && !strings.HasPrefix(cfg.Host, "/") {
		s.address = fmt.Sprintf("%s:%d", cfg.Host, cfg.Port)
	}
	if err := conn.QueryRow(ctx, `SELECT pg_catalog.current_setting('data_directory')`).Scan(&s.dataDir); err != nil {
		return fmt.Errorf("ask the server for its directory: %w", err)
	}
	s.kept("the server %s is PostgreSQL %s", s.Admin, version)
	return nil
}

// sequences lets the exporter's role read them, in each database that lets us in.
func (s *setup) sequences(ctx context.Context, conn *pgx.Conn) error {
	names, _, err := server.Databases(ctx, conn, server.Selection{})
	if err != nil {
		return err
	}
	for _, name := range names {
		// The role by its row, not by its name: a dry run looks before there is one, and then every sequence is missing.
		missing, err := s.inDatabase(ctx, name, `
			SELECT EXISTS (SELECT FROM pg_catalog.pg_sequence AS q JOIN pg_catalog.pg_class AS c ON c.oid = q.seqrelid
			                WHERE c.relpersistence <> 't'
			                  AND NOT EXISTS (SELECT FROM pg_catalog.pg_roles AS r
			                                   WHERE r.rolname = 'reliability_exporter'
			                                     AND pg_catalog.has_sequence_privilege(r.oid, q.seqrelid, 'SELECT')))`)
		if err != nil {
			return err
		}
		if !missing {
			s.kept("sequences of database %s can be read", name)
			continue
		}
		run := func() error { return s.script(ctx, name, sql.Sequences) }
		err = s.change(run, "let reliability_exporter read how far the sequences of database %s have come (sequences.sql)", name)
		if err != nil {
			return err
		}
	}
	return nil
}

// heartbeat makes the table of the write probe where the exporter connects to.
func (s *setup) heartbeat(ctx context.Context, database string) error {
	there, err := s.inDatabase(ctx, database, `SELECT pg_catalog.to_regclass('reliability.heartbeat') IS NOT NULL`)
	if err != nil {
		return err
	}
	if there {
		s.kept("the table reliability.heartbeat in database %s", database)
		return nil
	}
	return s.change(func() error { return s.script(ctx, database, sql.Heartbeat) },
		"make the table reliability.heartbeat in database %s, for the write probe (heartbeat.sql)", database)
}

// inDatabase asks a database a question.
func (s *setup) inDatabase(ctx context.Context, database, question string) (yes bool, err error) {
	conn, err := s.Admin.Connect(ctx, database)
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := conn.QueryRow(ctx, question).Scan(&yes); err != nil {
		return false, fmt.Errorf("look into database %s: %w", database, err)
	}
	return yes, nil
}

// script runs a whole script in a database, in a session of its own.
func (s *setup) script(ctx context.Context, database, text string) error {
	conn, err := s.Admin.Connect(ctx, database)
	if err != nil {
		return err
	}
	_, err = conn.PgConn().Exec(ctx, text).ReadAll()
	return errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
}
