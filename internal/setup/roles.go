package setup

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/deploy/sql"
)

// role is one of the two, how it is found, and what is to become of it.
type role struct {
	name, scriptName, script string
	file                     string // of its password

	exists   bool
	verifier string // what the server keeps of its password; empty is none
	password string // what the file holds; empty is none
	set      bool   // the server must be told the password
}

// roles looks at both, and refuses before anything is changed where a password would be replaced unasked.
func (s *setup) roles(ctx context.Context, conn *pgx.Conn) ([]*role, error) {
	all := []*role{{name: "reliability_exporter", scriptName: "monitoring_role.sql", script: sql.MonitoringRole, file: "exporter.password"}}
	if s.Backups {
		all = append(all, &role{name: "reliability_backup", scriptName: "backup_role.sql", script: sql.BackupRole, file: "backup.password"})
	}
	for _, r := range all {
		r.file = filepath.Join(s.ConfigDir, r.file)
		var kept *string
		err := conn.QueryRow(ctx, `SELECT rolpassword FROM pg_catalog.pg_authid WHERE rolname = $1`, r.name).Scan(&kept)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return nil, fmt.Errorf("look for the role %s: %w", r.name, err)
		}
		r.exists = err == nil
		if kept != nil {
			r.verifier = *kept
		}
		if r.password, err = readPassword(r.file); err != nil {
			return nil, err
		}
		if r.set = r.verifier == "" || !matches(r.verifier, r.name, r.password); !r.set || r.verifier == "" || s.NewPasswords {
			continue
		}
		what := "another one than " + r.file + " holds"
		if r.password == "" {
			what = "one, and " + r.file + " holds none"
		}
		return nil, failure.New(failure.Refused, "the role %s has a password already, %s; nothing was changed", r.name, what).
			WithHint("Write the role's password into that file, or say --new-passwords: then the role gets the file's, or a new one.")
	}
	return all, nil
}

func (s *setup) makeRole(ctx context.Context, conn *pgx.Conn, r *role) error {
	run := func() error { return s.script(ctx, "", r.script) }
	if !r.exists {
		if err := s.change(run, "make the role %s (%s)", r.name, r.scriptName); err != nil {
			return err
		}
	} else if err := s.refresh(ctx, conn, r, run); err != nil {
		return err
	}
	if r.password == "" {
		if err := s.change(func() error { return s.newPassword(r) }, "make a password for %s, in %s", r.name, r.file); err != nil {
			return err
		}
	} else if err := s.guard(r.file); err != nil {
		return err
	}
	if !r.set {
		s.kept("the password of %s is the one in %s", r.name, r.file)
		return nil
	}
	return s.change(func() error {
		v, err := verifier(r.password)
		if err != nil {
			return err
		}
		_, err = conn.PgConn().Exec(ctx, "ALTER ROLE "+server.Quote(r.name)+" PASSWORD "+server.Literal(v)).ReadAll()
		return err
	}, "give %s the password in %s", r.name, r.file)
}

// refresh runs the script of a role that is there, and says whether it had anything to change.
func (s *setup) refresh(ctx context.Context, conn *pgx.Conn, r *role, run func() error) error {
	if s.dry {
		s.note("the role %s is there; %s would be run again: it gives back the rights and limits that are missing", r.name, r.scriptName)
		return nil
	}
	before, err := rights(ctx, conn, r.name)
	if err == nil {
		err = run()
	}
	if err != nil {
		return fmt.Errorf("look after the role %s with %s: %w", r.name, r.scriptName, err)
	}
	after, err := rights(ctx, conn, r.name)
	if err != nil {
		return err
	}
	if before == after {
		s.kept("the role %s, with its rights and limits", r.name)
		return nil
	}
	return s.change(func() error { return nil }, "give the role %s the rights and limits of %s", r.name, r.scriptName)
}

// rights are all that the scripts set, as one text to compare.
func rights(ctx context.Context, conn *pgx.Conn, name string) (text string, err error) {
	err = conn.QueryRow(ctx, `
		SELECT pg_catalog.concat_ws(' ', r.rolcanlogin, r.rolsuper, r.rolcreatedb, r.rolcreaterole, r.rolreplication, r.rolconnlimit,
		       (SELECT pg_catalog.string_agg(m.roleid::text, ',' ORDER BY m.roleid) FROM pg_catalog.pg_auth_members m WHERE m.member = r.oid),
		       (SELECT pg_catalog.string_agg(c, ',' ORDER BY c) FROM pg_catalog.pg_db_role_setting d, pg_catalog.unnest(d.setconfig) c
		         WHERE d.setrole = r.oid AND d.setdatabase = 0),
		       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_database d WHERE pg_catalog.has_database_privilege(r.oid, d.oid, 'CONNECT')),
		       pg_catalog.shobj_description(r.oid, 'pg_authid'))
		  FROM pg_catalog.pg_roles r WHERE r.rolname = $1`, name).Scan(&text)
	if err != nil {
		return "", fmt.Errorf("read the rights of the role %s: %w", name, err)
	}
	return text, nil
}
