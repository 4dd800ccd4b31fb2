package pgdump

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/clients"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
)

// Programs finds the programs that read a backup and load it into a server of the major version: the
// server's own, which read archives of older ones too.
func (e *Engine) Programs(ctx context.Context, major int, more ...string) (clients.Programs, error) {
	return e.Finder.Find(ctx, major, append([]string{"pg_restore", "psql"}, more...)...)
}

// CreateDatabase makes an empty database with the encoding and locale another one had, and its
// tablespace where the server has one of that name. On a throwaway server the tablespace is the
// default one, and a locale that the machine lacks is replaced by C.
func CreateDatabase(ctx context.Context, conn *pgx.Conn, name string, db catalog.Database, throwaway bool) error {
	create := "CREATE DATABASE " + server.Quote(name) + " TEMPLATE template0 ENCODING " + server.Literal(db.Properties.Encoding)
	// Naming the default one takes a privilege; leaving it out does not.
	if ts := db.Properties.Tablespace; !throwaway && ts != "" && ts != "pg_default" {
		var there bool
		err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_tablespace WHERE spcname = $1)`, server.Bytes(db.Properties.Tablespace)).Scan(&there)
		if err != nil {
			return fmt.Errorf("create database %s: look for its tablespace: %w", name, err)
		}
		if there {
			create += " TABLESPACE " + server.Quote(db.Properties.Tablespace)
		}
	}
	_, err := conn.Exec(ctx, create+locale(db.Properties))
	if err != nil && throwaway && ctx.Err() == nil {
		if _, again := conn.Exec(ctx, create+" LC_COLLATE 'C' LC_CTYPE 'C'"); again == nil {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("create database %s: %w", name, err)
	}
	return nil
}

func locale(p catalog.Properties) string {
	s := " LC_COLLATE " + server.Literal(p.Collate) + " LC_CTYPE " + server.Literal(p.CType)
	switch p.LocaleProvider {
	case "libc":
		s += " LOCALE_PROVIDER libc"
	case "icu":
		s += " LOCALE_PROVIDER icu ICU_LOCALE " + server.Literal(p.Locale)
		if p.ICURules != "" {
			s += " ICU_RULES " + server.Literal(p.ICURules)
		}
	case "builtin":
		s += " LOCALE_PROVIDER builtin BUILTIN_LOCALE " + server.Literal(p.Locale)
	}
	return s
}

// ApplyProperties gives a database the owner, settings, privileges, comment and connection limit
// that another one had.
func ApplyProperties(ctx context.Context, conn *pgx.Conn, name string, db catalog.Database) error {
	q, p := server.Quote(name), db.Properties
	sql := []string{"ALTER DATABASE " + q + " OWNER TO " + server.Quote(db.Owner), "COMMENT ON DATABASE " + q + " IS NULL"}
	for _, s := range p.Settings {
		who := "DATABASE " + q
		if s.Role != "" {
			who = "ROLE " + server.Quote(s.Role) + " IN DATABASE " + q
		}
		sql = append(sql, "ALTER "+who+" SET "+server.Quote(strings.Split(s.Name, ".")...)+" = "+settingValue(s))
	}
	if !p.DefaultGrants {
		sql = append(sql, "REVOKE ALL ON DATABASE "+q+" FROM PUBLIC")
		for _, g := range p.Grants {
			to, option := "PUBLIC", ""
			if g.Grantee != "" {
				to = server.Quote(g.Grantee)
			}
			if g.Grantable {
				option = " WITH GRANT OPTION"
			}
			sql = append(sql, "GRANT "+g.Privilege+" ON DATABASE "+q+" TO "+to+option)
		}
	}
	if p.Comment != "" {
		sql = append(sql, "COMMENT ON DATABASE "+q+" IS "+server.Literal(p.Comment))
	}
	if p.ConnectionLimit >= 0 {
		sql = append(sql, "ALTER DATABASE "+q+" CONNECTION LIMIT "+strconv.Itoa(p.ConnectionLimit))
	}
	for _, s := range sql {
		if _, err := conn.Exec(ctx, s); err != nil {
			return fmt.Errorf("restore the properties of database %s: %s: %w", db.Name, s, err)
		}
	}
	return nil
}

// listSettings are stored as lists of quoted names, and written back as they are stored: as one
// quoted string they would become one name. (pg_dump knows the same list.)
var listSettings = []string{
	"search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries", "unix_socket_directories",
	"shared_preload_libraries", "createrole_self_grant",
}

func settingValue(s catalog.Setting) string {
	if slices.Contains(listSettings, strings.ToLower(s.Name)) && s.Value != "" {
		return s.Value
	}
	return server.Literal(s.Value)
}

// LoadOptions say how an archive is loaded.
type LoadOptions struct {
	Programs clients.Programs
	Jobs     int
	// NoTablespaces puts everything into the default tablespace.
	NoTablespaces bool
	// NoOwner leaves objects to the role that restores, and privileges out.
	NoOwner bool
	// Section restricts the load to "pre-data", "data" or "post-data"; "" means all.
	Section string
	// ListFile names a table of contents, as pg_restore --list prints it, of what to load; "" means all.
	ListFile string
}

// Load restores a database's archive into an existing, empty database, and stops at the first error.
func (e *Engine) Load(ctx context.Context, b catalog.Backup, db catalog.Database, t server.Target, into string, o LoadOptions) error {
	args := []string{"--exit-on-error"}
	if o.Jobs > 1 {
		args = append(args, "--jobs="+strconv.Itoa(o.Jobs))
	}
	if o.NoTablespaces {
		args = append(args, "--no-tablespaces")
	}
	if o.NoOwner {
		args = append(args, "--no-owner", "--no-privileges")
	}
	if o.Section != "" {
		args = append(args, "--section="+o.Section)
	}
	if o.ListFile != "" {
		args = append(args, "--use-list="+o.ListFile)
	}
	child := server.Child{Programs: o.Programs, Name: "pg_restore", Database: into, Args: append(args, archive(b, db))}
	if err := t.Run(ctx, child); err != nil {
		return fmt.Errorf("load database %s: %w", db.Name, err)
	}
	return nil
}

// List writes an archive's table of contents.
func (e *Engine) List(ctx context.Context, b catalog.Backup, db catalog.Database, p clients.Programs, w io.Writer) error {
	cmd := exec.Command(p.Path("pg_restore"), "--list", archive(b, db))
	cmd.Env = clients.Environ()
	cmd.Stdout = w
	if err := clients.Run(ctx, cmd); err != nil {
		return fmt.Errorf("list the contents of database %s: %w", db.Name, err)
	}
	return nil
}

// Check implements engine.Engine: pg_restore reads and decompresses every byte, to nowhere.
func (e *Engine) Check(ctx context.Context, b catalog.Backup, progress func(done, total int64)) error {
	p, err := e.Finder.Find(ctx, b.Manifest.Server.Major(), "pg_restore")
	if err != nil {
		return err
	}
	var done int64
	for _, db := range b.Manifest.Databases {
		cmd := exec.Command(p.Path("pg_restore"), "--file=/dev/null", archive(b, db))
		cmd.Env = clients.Environ()
		if err := clients.Run(ctx, cmd); err != nil {
			if ctx.Err() != nil {
				return err
			}
			return failure.New(failure.Verify, "read database %s: %w", db.Name, err)
		}
		if done += db.Bytes; progress != nil {
			progress(done, b.Manifest.Bytes)
		}
	}
	return nil
}

func archive(b catalog.Backup, db catalog.Database) string {
	return filepath.Join(b.Dir, filepath.FromSlash(db.Path))
}
