package restore

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-kit/log/level"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pg-reliability/pg_reliability_exporter/backup/contents"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/backup/sqltext"
)

// besideName is a new name for a database that is being restored.
func besideName() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	return server.BesidePrefix + hex.EncodeToString(b[:])
}

// leftover is a database that may be what an interrupted restore left.
type leftover struct {
	Name    string
	Comment string
	// Broken is true when somebody began to drop it: it can't be connected to any more.
	Broken bool
}

// dropLeftovers drops databases that an interrupted restore left. Under the advisory lock, nobody works on them. What
// somebody else might have made is not dropped: that is what has neither our mark for its name, nor is empty.
func (s *session) dropLeftovers(ctx context.Context) error {
	if err := s.awaitCreation(ctx); err != nil {
		return err
	}
	rows, err := s.conn.Query(ctx, `
		SELECT d.datname, `+server.UnfinishedComment+`, d.datconnlimit = -2
		  FROM pg_catalog.pg_database d
		 WHERE pg_catalog.starts_with(pg_catalog.shobj_description(d.oid, 'pg_database'), $1)
		    OR pg_catalog.starts_with(d.datname, $2)`, server.Unfinished, server.BesidePrefix)
	if err != nil {
		return fmt.Errorf("look for unfinished restores: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[leftover])
	if err != nil {
		return fmt.Errorf("look for unfinished restores: %w", err)
	}
	for _, l := range all {
		if why := s.keeps(ctx, l); why != "" {
			_ = level.Warn(s.Log).Log("msg", "a database looks like an unfinished restore and is left alone", "database", l.Name, "why", why)
			continue
		}
		_ = level.Warn(s.Log).Log("msg", "dropping what an interrupted restore left", "database", l.Name)
		if err := s.discard(ctx, l.Name); err != nil { // it takes space, and is in nobody's way
			_ = level.Warn(s.Log).Log("msg", "an unfinished database could not be dropped", "database", l.Name, "err", err)
		}
	}
	return ctx.Err()
}

// keeps says why a database must not be dropped; "" when it is ours.
func (s *session) keeps(ctx context.Context, l leftover) string {
	switch {
	case server.IsUnfinished(l.Name, l.Comment):
		return ""
	case strings.HasPrefix(l.Comment, server.Unfinished):
		return "its name is not the one that a restore gave it"
	case !server.IsBeside(l.Name) || l.Comment != "":
		return "it is not ours"
	case l.Broken:
		return ""
	}
	// We were killed between its creation and its mark: then nothing is in it.
	conn, err := s.Target.Connect(ctx, l.Name)
	if err != nil {
		return "it can't be looked into"
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	what, err := contents.Anything(ctx, conn)
	if err != nil {
		return "it can't be looked into"
	}
	return what
}

// creationPatience is how long a session of a job that was killed may go on with CREATE DATABASE, which does not
// notice that nobody waits for it.
const creationPatience = time.Minute

// awaitCreation waits for the end of what a killed restore was creating, so that it is found.
func (s *session) awaitCreation(ctx context.Context) error {
	for deadline := time.Now().Add(creationPatience); ; {
		var busy bool
		err := s.conn.QueryRow(ctx, `
			SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity
			                WHERE pid <> pg_catalog.pg_backend_pid() AND state = 'active'
			                  AND pg_catalog.starts_with(query, $1))`, `CREATE DATABASE "`+server.BesidePrefix).Scan(&busy)
		if err != nil {
			return fmt.Errorf("look for unfinished restores: %w", err)
		}
		if !busy || time.Now().After(deadline) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (s *session) drop(ctx context.Context, name string) error {
	drop := "DROP DATABASE IF EXISTS " + server.Quote(name) + " WITH (FORCE)"
	err := sqltext.Exec(ctx, s.conn, drop)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == "42809" { // a template
		if err = sqltext.Exec(ctx, s.conn, "ALTER DATABASE "+server.Quote(name)+" IS_TEMPLATE false"); err == nil {
			err = sqltext.Exec(ctx, s.conn, drop)
		}
	}
	if err != nil {
		return fmt.Errorf("drop database %s: %w", name, err)
	}
	return nil
}

// discard drops an unfinished database. A subscription that came with the backup would hold it: it never ran, so that it goes first, and
// what it subscribed to is not asked.
func (s *session) discard(ctx context.Context, name string) error {
	err := s.drop(ctx, name)
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != "55006" { // object_in_use
		return err
	}
	conn, cerr := s.Target.Connect(ctx, name)
	if cerr != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	rows, _ := conn.Query(ctx, `
		SELECT subname::text FROM pg_catalog.pg_subscription
		 WHERE subdbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())`)
	all, cerr := pgx.CollectRows(rows, pgx.RowTo[string])
	if cerr != nil || len(all) == 0 {
		return errors.Join(err, cerr)
	}
	for _, sub := range all {
		for _, statement := range []string{
			"ALTER SUBSCRIPTION " + sqltext.Ident(sub) + " DISABLE", "ALTER SUBSCRIPTION " + sqltext.Ident(sub) + " SET (slot_name = NONE)",
			"DROP SUBSCRIPTION " + sqltext.Ident(sub),
		} {
			if cerr := sqltext.Exec(ctx, conn, statement); cerr != nil {
				return fmt.Errorf("drop subscription %q of the unfinished database %s: %w", sub, name, cerr)
			}
		}
	}
	_ = conn.Close(ctx)
	return s.drop(ctx, name)
}

// dropQuietly removes databases that were not finished, also when the context is gone. What it can't
// remove, the next restore does.
func (s *session) dropQuietly(ctx context.Context, places []*place) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	for _, p := range places {
		if p.beside == "" {
			continue
		}
		if s.conn.IsClosed() {
			conn, err := s.Target.Connect(ctx, s.maintenance)
			if err != nil {
				return
			}
			s.conn = conn
		}
		if err := s.discard(ctx, p.beside); err != nil {
			_ = level.Warn(s.Log).Log("msg", "an unfinished database is left; the next restore drops it", "database", p.beside, "err", err)
		}
	}
}

// nameBytes is what an identifier may have.
const nameBytes = 63

// trimName appends a suffix to an identifier within the 63 bytes it may have, at a character's border.
func trimName(name, suffix string) string {
	for len(name)+len(suffix) > nameBytes {
		r := []rune(name)
		name = string(r[:len(r)-1])
	}
	return name + suffix
}
