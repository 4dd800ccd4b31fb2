// Package globals reads what belongs to a whole server (roles, memberships, settings, privileges on parameters,
// tablespaces) out of its catalogues, as data, and makes the roles anew on a server, whether it has them or not.
//
// What a restore must not do: change a role that exists, and run anything that a name, a setting or a comment says.
// What it must not do either is fail for something that no row depends on: a setting that the new version does not
// know, or a label whose provider is not loaded, is left out and named in a note.
package globals

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/sqltext"
)

// Globals is what a server has. The passwords are apart, as they are kept apart.
type Globals struct {
	catalog.ServerObjects
	// Passwords are pg_authid.rolpassword by role: hashes, never clear text. Nil where they may not be read.
	Passwords map[string]string
	// Notes name what could not be understood of a script, for people.
	Notes []string
	// TooLong are texts that were left out, as they are longer than anybody means them.
	TooLong []catalog.Omission
}

// Read reads a server's globals as of one moment, from any database. Passwords are left out where the session's
// role may not read pg_authid.
//
// Names and comments are bytes that each database takes to be in its own encoding. What is not UTF-8 is written as
// sqltext.Text does. Texts counts what is kept of comments, settings and the like; nil begins to count.
func Read(ctx context.Context, conn *pgx.Conn, texts *sqltext.Texts) (*Globals, error) {
	if texts == nil {
		texts = &sqltext.Texts{}
	}
	before := *texts
	g, err := read(ctx, conn, conn.PgConn().ParameterStatus("client_encoding"), texts)
	var pg *pgconn.PgError
	if errors.As(err, &pg) && (pg.Code == "22021" || pg.Code == "22P05") { // not valid, or not translatable: look at the bytes
		*texts = before
		g, err = read(ctx, conn, "SQL_ASCII", texts)
	}
	if err != nil {
		return nil, fmt.Errorf("read the server's roles: %w", err)
	}
	g.readable()
	return g, nil
}

func read(ctx context.Context, conn *pgx.Conn, encoding string, texts *sqltext.Texts) (*Globals, error) {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	r := reader{ctx: ctx, tx: tx, texts: texts}
	for _, set := range [][2]string{
		{"search_path", "pg_catalog"}, {"client_encoding", encoding}, {"datestyle", "ISO, YMD"}, {"timezone", "UTC"},
	} {
		if _, err := tx.Exec(ctx, "SELECT pg_catalog.set_config($1, $2, true)", set[0], set[1]); err != nil {
			return nil, err
		}
	}
	var major int
	var passwords bool
	err = tx.QueryRow(ctx, `
		SELECT current_setting('server_version_num')::int / 10000, has_table_privilege('pg_catalog.pg_authid', 'SELECT')`).
		Scan(&major, &passwords)
	if err != nil {
		return nil, err
	}
	g := &Globals{}
	g.Roles = r.roles()
	g.Memberships = r.memberships(major)
	g.Settings = r.settings()
	g.Tablespaces = r.tablespaces()
	if major >= 15 {
		g.Parameters = collect[catalog.ParameterGrant](&r, `
			SELECT p.parname, CASE WHEN a.grantee = 0 THEN '' ELSE pg_get_userbyid(a.grantee) END,
			       a.privilege_type, a.is_grantable, pg_get_userbyid(a.grantor)
			  FROM pg_catalog.pg_parameter_acl p CROSS JOIN LATERAL aclexplode(p.paracl) a
			 WHERE a.grantee <> 10
			 ORDER BY 1, 2, 3, 5`)
	}
	if passwords {
		type row struct {
			Role, Hash string
			Bytes      int64
		}
		g.Passwords = map[string]string{}
		for _, p := range collect[row](&r, `
			SELECT rolname, `+sqltext.Short("rolpassword")+`
			  FROM pg_catalog.pg_authid
			 WHERE rolpassword IS NOT NULL AND rolname !~ '^pg_'`) {
			if r.keeps("password of role", p.Role, p.Bytes, "Give it a new password.") {
				g.Passwords[p.Role] = p.Hash
			}
		}
	}
	g.TooLong = r.tooLong
	return g, r.err
}

// reader runs queries in one transaction, up to the first error.
type reader struct {
	ctx     context.Context
	tx      pgx.Tx
	texts   *sqltext.Texts
	tooLong []catalog.Omission
	err     error
}

// keeps says whether a text of so many bytes is kept, which is something of a role's or a tablespace's. If not, that is noted.
func (r *reader) keeps(what, of string, bytes int64, remedy string) bool {
	if bytes == 0 || r.texts.Keep(of, bytes) {
		return true
	}
	r.tooLong = append(r.tooLong, catalog.TooLongText("", what+" "+sqltext.Text(of), bytes, remedy))
	return false
}

func collect[T any](r *reader, sql string, args ...any) []T {
	if r.err != nil {
		return nil
	}
	rows, err := r.tx.Query(r.ctx, sql, args...)
	if err != nil {
		r.err = err
		return nil
	}
	var all []T
	all, r.err = pgx.CollectRows(rows, pgx.RowToStructByPos[T])
	return all
}

// each calls f with one row after the other: not all of them have to be kept.
func each[T any](r *reader, f func(T), sql string, args ...any) {
	if r.err != nil {
		return
	}
	rows, err := r.tx.Query(r.ctx, sql, args...)
	if err != nil {
		r.err = err
		return
	}
	defer rows.Close()
	for rows.Next() {
		row, err := pgx.RowToStructByPos[T](rows)
		if err != nil {
			r.err = err
			return
		}
		f(row)
	}
	r.err = rows.Err()
}

func (r *reader) roles() []catalog.Role {
	type row struct {
		Name                                                                               string
		Bootstrap, Superuser, Inherit, CreateRole, CreateDB, Login, Replication, BypassRLS bool
		ConnectionLimit                                                                    int
		ValidUntil, Comment                                                                string
		CommentBytes                                                                       int64
	}
	labels := r.labels("pg_catalog.pg_authid", "SELECT oid, rolname FROM pg_catalog.pg_roles")
	var all []catalog.Role
	each(r, func(o row) {
		if !r.keeps("comment of role", o.Name, o.CommentBytes, "COMMENT ON ROLE "+sqltext.Ident(sqltext.Text(o.Name))+" IS NULL") {
			o.Comment = ""
		}
		all = append(all, catalog.Role{
			Name: o.Name, Bootstrap: o.Bootstrap, Superuser: o.Superuser, Inherit: o.Inherit, CreateRole: o.CreateRole, CreateDB: o.CreateDB,
			Login: o.Login, Replication: o.Replication, BypassRLS: o.BypassRLS, ConnectionLimit: o.ConnectionLimit,
			ValidUntil: o.ValidUntil, Comment: o.Comment, Labels: labels[o.Name],
		})
	}, `
		SELECT rolname, oid = 10, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls,
		       rolconnlimit, coalesce(rolvaliduntil::text, ''), `+sqltext.Short("shobj_description(oid, 'pg_authid')")+`
		  FROM pg_catalog.pg_roles
		 WHERE rolname !~ '^pg_'
		 ORDER BY rolname`)
	return all
}

// labels are the security labels of one shared catalogue's objects, by name. named is a query of their oids and names.
func (r *reader) labels(class, named string) map[string][]catalog.Label {
	type row struct {
		Name, Provider, Label string
		Bytes                 int64
	}
	all := map[string][]catalog.Label{}
	each(r, func(l row) {
		if r.keeps("security label of "+sqltext.Text(l.Provider)+" on", l.Name, l.Bytes, "SECURITY LABEL ... IS NULL") {
			all[l.Name] = append(all[l.Name], catalog.Label{Provider: l.Provider, Label: l.Label})
		}
	}, `
		SELECT o.name, l.provider, `+sqltext.Short("l.label")+`
		  FROM pg_catalog.pg_shseclabel l JOIN (`+named+`) o (oid, name) ON o.oid = l.objoid
		 WHERE l.classoid = $1::regclass
		 ORDER BY 1, 2`, class)
	return all
}

func (r *reader) memberships(major int) []catalog.Membership {
	options := "NULL::boolean, NULL::boolean"
	if major >= 16 {
		options = "m.inherit_option, m.set_option"
	}
	return collect[catalog.Membership](r, `
		SELECT r.rolname, u.rolname, coalesce(g.rolname, ''), m.admin_option, `+options+`
		  FROM pg_catalog.pg_auth_members m
		  JOIN pg_catalog.pg_roles r ON r.oid = m.roleid
		  JOIN pg_catalog.pg_roles u ON u.oid = m.member
		  LEFT JOIN pg_catalog.pg_roles g ON g.oid = m.grantor
		 WHERE NOT (r.rolname ~ '^pg_' AND u.rolname ~ '^pg_')
		 ORDER BY 1, 2, 3`)
}

func (r *reader) settings() []catalog.Setting {
	type row struct {
		Role, Set string
		Bytes     int64
	}
	var all []catalog.Setting
	// The texts are not sorted and not kept by the server: they may be more than it may write to its disk.
	each(r, func(o row) {
		s := catalog.SettingOf(o.Role, o.Set)
		if r.keeps("setting "+sqltext.Text(s.Name)+" of role", o.Role, o.Bytes, "ALTER ROLE ... RESET it.") {
			all = append(all, s)
		}
	}, `
		SELECT x.role, `+sqltext.Short("x.c")+`
		  FROM (SELECT coalesce(o.rolname, '') AS role, unnest(s.setconfig) AS c
		          FROM pg_catalog.pg_db_role_setting s
		          LEFT JOIN pg_catalog.pg_roles o ON o.oid = s.setrole
		         WHERE s.setdatabase = 0 AND (o.oid IS NOT NULL OR s.setrole = 0)) x`)
	slices.SortStableFunc(all, func(a, b catalog.Setting) int { return strings.Compare(a.Role, b.Role) })
	return all
}

func (r *reader) tablespaces() []catalog.Tablespace {
	type row struct {
		Name, Owner, Location string
		Options               []string
		Comment               string
		CommentBytes          int64
		DefaultGrants         bool
	}
	type grant struct {
		Tablespace string
		catalog.Grant
	}
	labels := r.labels("pg_catalog.pg_tablespace", "SELECT oid, spcname FROM pg_catalog.pg_tablespace")
	grants := map[string][]catalog.Grant{}
	for _, g := range collect[grant](r, `
		SELECT t.spcname, CASE WHEN a.grantee = 0 THEN '' ELSE pg_get_userbyid(a.grantee) END,
		       a.privilege_type, a.is_grantable, pg_get_userbyid(a.grantor)
		  FROM pg_catalog.pg_tablespace t CROSS JOIN LATERAL aclexplode(t.spcacl) a
		 ORDER BY 1, 2, 3, 5`) {
		grants[g.Tablespace] = append(grants[g.Tablespace], g.Grant)
	}
	var all []catalog.Tablespace
	for _, t := range collect[row](r, `
		SELECT spcname, pg_get_userbyid(spcowner), pg_tablespace_location(oid), coalesce(spcoptions, '{}'),
		       `+sqltext.Short("shobj_description(oid, 'pg_tablespace')")+`, spcacl IS NULL
		  FROM pg_catalog.pg_tablespace
		 WHERE spcname !~ '^pg_'
		 ORDER BY 1`) {
		if !r.keeps("comment of tablespace", t.Name, t.CommentBytes, "COMMENT ON TABLESPACE ... IS NULL") {
			t.Comment = ""
		}
		all = append(all, catalog.Tablespace{
			Name: t.Name, Owner: t.Owner, Location: t.Location, Options: t.Options, Comment: t.Comment, Labels: labels[t.Name],
			DefaultGrants: t.DefaultGrants, Grants: grants[t.Name],
		})
	}
	return all
}

// readable writes all names and values as they stand in manifests.
func (g *Globals) readable() {
	sqltext.Readable(&g.ServerObjects)
	if g.Passwords == nil {
		return
	}
	passwords := map[string]string{}
	for name, hash := range g.Passwords {
		passwords[sqltext.Text(name)] = sqltext.Text(hash)
	}
	g.Passwords = passwords
}
