package pgdump

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/go-kit/log/level"
	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/clients"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
)

// dumpGlobals writes the server's roles and tablespaces as SQL. Without them a restore is partial,
// so that a failure here fails the backup.
func (e *Engine) dumpGlobals(ctx context.Context, req engine.Request, conn *pgx.Conn, p clients.Programs, dir string) (*catalog.Globals, error) {
	g := &catalog.Globals{RolesFile: rolesFile, TablespacesFile: tablespacesFile}
	var roles, tablespaces int
	err := conn.QueryRow(ctx, `
		SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT'),
		       (SELECT pg_catalog.count(*)::int FROM pg_catalog.pg_roles WHERE rolname !~ '^pg_'),
		       (SELECT pg_catalog.count(*)::int FROM pg_catalog.pg_tablespace WHERE spcname !~ '^pg_')`).
		Scan(&g.Passwords, &roles, &tablespaces)
	if err != nil {
		return nil, fmt.Errorf("dump the globals: %w", err)
	}
	var extra []string
	if !g.Passwords {
		extra = append(extra, "--no-role-passwords")
		_ = level.Warn(req.Log).Log("msg", "the backup's roles will have no passwords: the job's role may not read them",
			"hint", "GRANT pg_read_all_data to it")
	}
	database := req.Target.Database()
	if tablespaces == 0 { // nearly always: spare the server a session
		if err := os.WriteFile(filepath.Join(dir, tablespacesFile), []byte("-- The server has no tablespaces of its own.\n"), 0o600); err != nil {
			return nil, fmt.Errorf("dump the globals: %w", err)
		}
	}
	for _, part := range []struct{ kind, file string }{{"--roles-only", rolesFile}, {"--tablespaces-only", tablespacesFile}} {
		if part.file == tablespacesFile && tablespaces == 0 {
			continue
		}
		args := append([]string{
			part.kind, "--file=" + filepath.Join(dir, part.file), "--no-password",
			"--dbname=" + req.Target.Arg(database), "--database=" + database,
		}, extra...)
		cmd := exec.Command(p.Path("pg_dumpall"), args...)
		cmd.Env = req.Target.Environ()
		if err := clients.Run(ctx, cmd); err != nil {
			return nil, fmt.Errorf("dump the globals: %w", explainProgram(ctx, req.Target, err))
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, rolesFile))
	if err != nil {
		return nil, fmt.Errorf("dump the globals: %w", err)
	}
	if g.Roles = len(createRole.FindAll(text, -1)); g.Roles < roles {
		return nil, failure.New(failure.Dump, "dump the globals: %d roles were written, the server has %d", g.Roles, roles)
	}
	g.Tablespaces = tablespaces
	return g, nil
}

// createRole is how pg_dumpall makes a role: a line of its own, the attributes follow by ALTER ROLE.
var createRole = regexp.MustCompile(`(?m)^CREATE ROLE ("(?:[^"]|"")+"|[^"; ]+);$`)

var alterRole = regexp.MustCompile(`^(?:ALTER|COMMENT ON) ROLE ("(?:[^"]|"")+"|[^"; ]+) `)

// RestoreRoles makes the backup's roles on a server. Roles the server has already keep everything
// they have, password included; memberships are granted all the same.
func (e *Engine) RestoreRoles(ctx context.Context, b catalog.Backup, t server.Target, p clients.Programs) error {
	if b.Manifest.Globals == nil {
		return failure.New(failure.Verify, "backup %s has no globals", b.ID)
	}
	text, err := os.ReadFile(filepath.Join(b.Dir, filepath.FromSlash(b.Manifest.Globals.RolesFile)))
	if err != nil {
		return fmt.Errorf("read the backup's roles: %w", err)
	}
	conn, err := t.Connect(ctx, "")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	rows, err := conn.Query(ctx, `SELECT pg_catalog.quote_ident(rolname) FROM pg_catalog.pg_roles`)
	if err != nil {
		return fmt.Errorf("list the server's roles: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("list the server's roles: %w", err)
	}
	existing := map[string]bool{}
	for _, n := range names {
		existing[n] = true
	}
	script := "SET client_min_messages = warning;\n" + withoutRoles(string(text), existing)
	cmd := exec.Command(p.Path("psql"), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--no-password",
		"--single-transaction", "--file=-", "--dbname="+t.Arg(conn.Config().Database))
	cmd.Env = t.Environ()
	cmd.Stdin = strings.NewReader(script)
	if err := clients.Run(ctx, cmd); err != nil {
		return fmt.Errorf("restore the roles: %w", err)
	}
	return nil
}

// withoutRoles leaves out the statements that make or change roles that exist. pg_dumpall writes
// each on one line.
func withoutRoles(script string, existing map[string]bool) string {
	var kept []string
	for _, line := range strings.Split(script, "\n") {
		if m := createRole.FindStringSubmatch(line); m != nil && existing[m[1]] {
			continue
		}
		if m := alterRole.FindStringSubmatch(line); m != nil && existing[m[1]] {
			continue
		}
		kept = append(kept, line)
	}
	return strings.Join(kept, "\n")
}
