package pgdump

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/clients"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/globals"
	"github.com/pg-reliability/pg_reliability_exporter/backup/properties"
	"github.com/pg-reliability/pg_reliability_exporter/backup/scratch"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
)

// Rehearse implements engine.Engine: a new cluster, the roles, then every database with its
// properties. Tablespaces become the default one: their directories are the old server's.
func (e *Engine) Rehearse(ctx context.Context, b catalog.Backup, room *scratch.Room) error {
	if err := room.Init(ctx); err != nil {
		return err
	}
	if err := room.Start(ctx, nil); err != nil {
		return err
	}
	t := room.Target().With("dbname", "template1")
	if _, err := e.RestoreRoles(ctx, b, t, globals.Options{WholeServer: true}); err != nil {
		return condemn(ctx, room, err)
	}
	conn, err := t.Connect(ctx, "")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, "DROP DATABASE postgres"); err != nil {
		return fmt.Errorf("empty the throwaway cluster: %w", err)
	}
	for _, db := range b.Manifest.Databases {
		name := scratch.RehearsedName(db.Name)
		if err := properties.Create(ctx, conn, name, db, true); err != nil {
			return err
		}
		if err := missingExtensions(ctx, t, b.Manifest.Server.Major(), name, db); err != nil {
			return err
		}
		o := LoadOptions{Programs: room.Programs(), Jobs: e.jobs(), NoTablespaces: true}
		if err := e.Load(ctx, b, db, t, name, o); err != nil {
			return condemn(ctx, room, err)
		}
		if _, err := properties.Apply(ctx, conn, name, db); err != nil {
			return condemn(ctx, room, err)
		}
		// Whoever may not connect to it in production must not keep us from comparing.
		if _, err := conn.Exec(ctx, "ALTER DATABASE "+server.Quote(name)+" CONNECTION LIMIT -1"); err != nil {
			return err
		}
	}
	return nil
}

// missingExtensions reports extensions that are not installed on this machine: the backup can't be
// rehearsed here, which says nothing about the backup.
func missingExtensions(ctx context.Context, t server.Target, major int, name string, db catalog.Database) error {
	conn, err := t.Connect(ctx, name)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for _, e := range db.Contents.Extensions {
		var there bool
		err := conn.QueryRow(ctx, `
			SELECT EXISTS (SELECT FROM pg_catalog.pg_available_extensions WHERE name = $1)`, e.Name).Scan(&there)
		if err != nil {
			return fmt.Errorf("look for extension %s: %w", e.Name, err)
		}
		if !there {
			return failure.New(failure.Version, "extension %s of database %s is not installed on this machine", e.Name, db.Name).
				WithHint("Install it beside PostgreSQL %d, so that backups can be rehearsed.", major)
		}
	}
	return nil
}

// condemn makes an error of loading a verdict on the backup, unless the cause lies with this machine.
func condemn(ctx context.Context, room *scratch.Room, err error) error {
	var program *clients.ProgramError
	if ctx.Err() != nil || failure.Of(err) == failure.Space || !errors.As(err, &program) && failure.Of(err) != failure.Other {
		return err
	}
	text := err.Error()
	switch {
	case strings.Contains(text, "No space left on device"):
		return failure.New(failure.Space, "%w", err).WithHint("Choose another place with --scratch-dir.")
	case strings.Contains(text, "shared_preload_libraries"):
		return failure.New(failure.Version, "%w", err).
			WithHint("Give the throwaway server the library: --scratch-setting shared_preload_libraries=...")
	case !room.Running():
		return fmt.Errorf("the throwaway server ended: %w", err)
	}
	return failure.New(failure.Verify, "%w", err)
}
