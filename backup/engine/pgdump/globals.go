package pgdump

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/go-kit/log/level"
	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/clients"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/globals"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/backup/sqltext"
)

// dumpGlobals reads the server's roles and tablespaces, and returns what writes them as SQL, too, for people. Without
// them a restore is partial, so that a failure of either fails the backup.
func (e *Engine) dumpGlobals(ctx context.Context, req engine.Request, conn *pgx.Conn, p clients.Programs, d *catalog.Draft,
	texts *sqltext.Texts) (scripts func(context.Context) error, err error) {
	all, err := globals.Read(ctx, conn, texts)
	if err != nil {
		return nil, err
	}
	d.Manifest.Omit(all.TooLong...)
	for _, note := range all.Notes {
		_ = level.Warn(req.Log).Log("msg", "the backup lacks something of the server's roles", "what", note)
	}
	g := &catalog.Globals{
		RolesFile: rolesFile, TablespacesFile: tablespacesFile, Roles: len(all.Roles), Tablespaces: len(all.Tablespaces),
		Passwords: all.Passwords != nil, Objects: &all.ServerObjects,
	}
	if len(all.Passwords) > 0 {
		g.PasswordsFile = passwordsFile
		text, err := json.MarshalIndent(all.Passwords, "", "  ")
		if err == nil {
			err = os.WriteFile(filepath.Join(d.Dir, passwordsFile), append(text, '\n'), 0o600)
		}
		if err != nil {
			return nil, fmt.Errorf("write the roles' passwords: %w", err)
		}
	}
	d.Manifest.Globals = g
	return func(ctx context.Context) error { return e.dumpScripts(ctx, req, p, d.Dir, g, len(all.TooLong) > 0) }, nil
}

// dumpScripts writes what pg_dumpall says of roles and tablespaces.
func (e *Engine) dumpScripts(ctx context.Context, req engine.Request, p clients.Programs, dir string, g *catalog.Globals,
	tooLong bool) error {
	var extra []string
	if !g.Passwords {
		extra = append(extra, "--no-role-passwords")
		_ = level.Warn(req.Log).Log("msg", "the backup's roles will have no passwords: the job's role may not read them",
			"hint", "GRANT pg_read_all_data to it")
	}
	database := req.Target.Database()
	inBytes := len(inBytes(&catalog.Manifest{Globals: g})) > 0 // of which pg_dumpall makes a statement that the server refuses
	if inBytes || tooLong {
		for _, file := range []string{rolesFile, tablespacesFile} {
			note := "-- The roles have names or values that are not UTF-8, with which pg_dumpall fails, or comments, settings or passwords " +
				"too long to be kept. The manifest has the others, and a restore reads it.\n"
			if err := os.WriteFile(filepath.Join(dir, file), []byte(note), 0o600); err != nil {
				return fmt.Errorf("dump the globals: %w", err)
			}
		}
		return nil
	}
	if g.Tablespaces == 0 { // nearly always: spare the server a session
		if err := os.WriteFile(filepath.Join(dir, tablespacesFile), []byte("-- The server has no tablespaces of its own.\n"), 0o600); err != nil {
			return fmt.Errorf("dump the globals: %w", err)
		}
	}
	for _, part := range []struct{ kind, file string }{{"--roles-only", rolesFile}, {"--tablespaces-only", tablespacesFile}} {
		if part.file == tablespacesFile && g.Tablespaces == 0 {
			continue
		}
		args := append([]string{part.kind, "--file=" + filepath.Join(dir, part.file), "--database=" + server.Bytes(database)}, extra...)
		if err := req.Target.Run(ctx, server.Child{Programs: p, Name: "pg_dumpall", Database: database, Args: args}); err != nil {
			return fmt.Errorf("dump the globals: %w", explainProgram(ctx, req.Target, err))
		}
	}
	return nil
}

// RestoreRoles implements engine.Loader. Roles the server has already keep everything
// they have, password included; memberships are granted all the same.
func (e *Engine) RestoreRoles(ctx context.Context, b catalog.Backup, t server.Target, o globals.Options) (notes []string, err error) {
	conn, err := t.Connect(ctx, "")
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	g, err := readGlobals(ctx, b, conn)
	if err != nil {
		return nil, err
	}
	notes, err = g.Restore(ctx, conn, o)
	return append(g.Notes, notes...), err
}

// readGlobals reads a backup's roles: from the manifest, or, in format 1, from pg_dumpall's script. The server
// translates a script that is not in UTF-8.
func readGlobals(ctx context.Context, b catalog.Backup, conn *pgx.Conn) (*globals.Globals, error) {
	m := b.Manifest.Globals
	if m == nil {
		return nil, failure.New(failure.Verify, "backup %s has no globals", b.ID)
	}
	if m.Objects == nil {
		script, err := os.ReadFile(filepath.Join(b.Dir, filepath.FromSlash(m.RolesFile)))
		if err != nil {
			return nil, fmt.Errorf("read the backup's roles: %w", err)
		}
		text := string(script)
		if encoding := globals.ScriptEncoding(text); encoding != "UTF8" && encoding != "SQL_ASCII" {
			if err := conn.QueryRow(ctx, `SELECT pg_catalog.convert_from($1, $2)`, script, encoding).Scan(&text); err != nil {
				return nil, fmt.Errorf("read the backup's roles, which are in %s: %w", encoding, err)
			}
		}
		return globals.FromScript(text), nil
	}
	g := &globals.Globals{ServerObjects: *m.Objects}
	if m.PasswordsFile == "" {
		return g, nil
	}
	text, err := os.ReadFile(filepath.Join(b.Dir, filepath.FromSlash(m.PasswordsFile)))
	if err == nil {
		err = json.Unmarshal(text, &g.Passwords)
	}
	if err != nil {
		return nil, fmt.Errorf("read the roles' passwords: %w", err)
	}
	return g, nil
}

// MissingTablespaces implements engine.Loader. A backup of format 1 has their names in its script alone.
func (e *Engine) MissingTablespaces(b catalog.Backup, have []string) ([]string, error) {
	if missing, known := b.Manifest.Globals.Missing(have); known {
		return missing, nil
	}
	script, err := os.ReadFile(filepath.Join(b.Dir, filepath.FromSlash(b.Manifest.Globals.TablespacesFile)))
	if err != nil {
		return nil, fmt.Errorf("read the backup's tablespaces: %w", err)
	}
	return slices.DeleteFunc(globals.Tablespaces(string(script)), func(name string) bool { return slices.Contains(have, name) }), nil
}
