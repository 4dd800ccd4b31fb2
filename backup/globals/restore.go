package globals

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/sqltext"
)

// Options of a restore.
type Options struct {
	// WholeServer is for a server that is being filled anew: what holds for all its roles (ALTER ROLE ALL SET,
	// privileges on parameters given to roles that exist, and to PUBLIC) is restored too. On a server that
	// lives, its own stands.
	WholeServer bool
}

// Restore makes the roles a server lacks, in one transaction. A role that exists keeps all it has: attributes,
// password, settings, comment; only memberships it lacks are granted. The notes name what could not be
// restored and stops nothing. The session's role should be a superuser; what a lesser one may not give, it notes.
func (g *Globals) Restore(ctx context.Context, conn *pgx.Conn, o Options) (notes []string, err error) {
	r := &restorer{ctx: ctx, conn: conn, g: g, o: o, made: map[string]bool{}}
	tx, err := conn.Begin(ctx)
	if err == nil {
		defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
		err = r.all()
	}
	if err == nil {
		err = tx.Commit(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("restore the roles: %w", err)
	}
	return r.notes, nil
}

type restorer struct {
	ctx   context.Context
	conn  *pgx.Conn
	g     *Globals
	o     Options
	notes []string

	major     int
	super     bool            // the session's role is a superuser
	bootstrap string          // the server's own
	there     map[string]bool // roles of the server, as they are by now
	made      map[string]bool // those that we made
}

func (r *restorer) all() error {
	if err := r.look(); err != nil {
		return err
	}
	for _, step := range []func() error{r.roles, r.memberships, r.settings, r.parameters} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (r *restorer) look() error {
	// It decides how the server writes the elements of a list into its catalogue.
	_, err := r.conn.Exec(r.ctx, `SELECT pg_catalog.set_config('quote_all_identifiers', 'off', true)`)
	if err != nil {
		return err
	}
	err = r.conn.QueryRow(r.ctx, `
		SELECT pg_catalog.current_setting('server_version_num')::int / 10000, rolsuper
		  FROM pg_catalog.pg_roles
		 WHERE rolname = CURRENT_USER`).Scan(&r.major, &r.super)
	if err != nil {
		return err
	}
	rows, err := r.conn.Query(r.ctx, `SELECT rolname, oid::int FROM pg_catalog.pg_roles`)
	if err != nil {
		return err
	}
	r.there = map[string]bool{}
	var name string
	var oid int64
	_, err = pgx.ForEachRow(rows, []any{&name, &oid}, func() error {
		name = sqltext.Text(name)
		r.there[name] = true
		if oid == 10 {
			r.bootstrap = name
		}
		return nil
	})
	return err
}

// try executes a statement that the server may refuse: that is noted then. An error is one of the session.
func (r *restorer) try(what, sql string) (ok bool, err error) {
	refused, err := sqltext.Try(r.ctx, r.conn, sql)
	if err != nil {
		return false, fmt.Errorf("%s: %w", what, err)
	}
	if refused != nil {
		r.note(what, refused)
	}
	return refused == nil, nil
}

func (r *restorer) note(what string, err error) {
	r.notes = append(r.notes, fmt.Sprintf("%s: %v", what, err))
}

func (r *restorer) roles() error {
	for _, role := range r.g.Roles {
		if r.there[role.Name] {
			continue
		}
		made, err := r.role(role)
		if err != nil {
			return err
		}
		r.there[role.Name], r.made[role.Name] = made, made
	}
	return nil
}

// role makes one. False: the server does not take its name.
func (r *restorer) role(role catalog.Role) (made bool, err error) {
	q, attributes := sqltext.Ident(role.Name), r.attributes(role)
	refused, err := sqltext.Try(r.ctx, r.conn, "CREATE ROLE "+q+" WITH "+strings.Join(attributes, " "))
	if err == nil && refused != nil {
		made, err = r.lesser(role, attributes)
		if !made || err != nil {
			return false, err
		}
	}
	if err != nil {
		return false, fmt.Errorf("create role %q: %w", role.Name, err)
	}
	if role.Comment != "" {
		what := fmt.Sprintf("the comment on role %q", role.Name)
		if _, err := r.try(what, "COMMENT ON ROLE "+q+" IS "+sqltext.Literal(role.Comment)); err != nil {
			return false, err
		}
	}
	for _, l := range role.Labels {
		what := fmt.Sprintf("the security label of %q on role %q", l.Provider, role.Name)
		if _, err := r.try(what, "SECURITY LABEL FOR "+sqltext.Ident(l.Provider)+" ON ROLE "+q+" IS "+sqltext.Literal(l.Label)); err != nil {
			return false, err
		}
	}
	return true, nil
}

// lesser makes a role without what it can't have: what it owns comes back, and it can do less than it could.
func (r *restorer) lesser(role catalog.Role, attributes []string) (made bool, err error) {
	q := sqltext.Ident(role.Name)
	refused, err := sqltext.Try(r.ctx, r.conn, "CREATE ROLE "+q)
	if err == nil && refused != nil {
		var pg *pgconn.PgError
		// Not in this server's encoding, or, since 19, with a line break.
		if errors.As(refused, &pg) && (pg.Code == "22021" || pg.Code == "22P05" || pg.Code == "22023") {
			r.note(fmt.Sprintf("role %q", role.Name), refused)
			return false, nil
		}
		err = refused
	}
	if err != nil {
		return false, fmt.Errorf("create role %q: %w", role.Name, err)
	}
	bounded := true
	for _, a := range attributes {
		if a == "NOCREATEROLE" || a == "NOCREATEDB" || a == "NOLOGIN" {
			continue // it was made so, and saying so takes a right
		}
		word, _, _ := strings.Cut(a, "'") // no password in a note
		word = strings.TrimSuffix(strings.TrimSpace(word), " E")
		ok, err := r.try(fmt.Sprintf("role %q is without %s", role.Name, word), "ALTER ROLE "+q+" WITH "+a)
		if err != nil {
			return false, err
		}
		if !ok && (word == "VALID UNTIL" || strings.HasPrefix(word, "CONNECTION LIMIT")) {
			bounded = false
		}
	}
	if !bounded && role.Login {
		r.note(fmt.Sprintf("role %q may not log in", role.Name), errors.New("without its limits it could do more than it could"))
		return true, sqltext.Exec(r.ctx, r.conn, "ALTER ROLE "+q+" WITH NOLOGIN")
	}
	return true, nil
}

// attributes are all of a role's, also those that are PostgreSQL's own defaults: those may change. A role that
// does not have an attribute that takes a superuser to name is made without naming it.
func (r *restorer) attributes(role catalog.Role) []string {
	var all []string
	for _, a := range []struct {
		on   bool
		word string
	}{{role.Inherit, "INHERIT"}, {role.CreateRole, "CREATEROLE"}, {role.CreateDB, "CREATEDB"}, {role.Login, "LOGIN"}} {
		if !a.on {
			a.word = "NO" + a.word
		}
		all = append(all, a.word)
	}
	for _, a := range []struct {
		on   bool
		word string
	}{{role.Superuser, "SUPERUSER"}, {role.Replication, "REPLICATION"}, {role.BypassRLS, "BYPASSRLS"}} {
		if a.on {
			all = append(all, a.word)
		}
	}
	all = append(all, "CONNECTION LIMIT "+strconv.Itoa(role.ConnectionLimit))
	if p := r.g.Passwords[role.Name]; p != "" {
		all = append(all, "PASSWORD "+sqltext.Literal(p))
	}
	if role.ValidUntil != "" {
		all = append(all, "VALID UNTIL "+sqltext.Literal(role.ValidUntil))
	}
	return all
}

// parameters gives the privileges on parameters (PostgreSQL 15 and later) to the roles that were made.
func (r *restorer) parameters() error {
	for _, p := range r.g.Parameters {
		if !r.made[p.Grantee] && !r.o.WholeServer {
			continue
		}
		to := "PUBLIC"
		if p.Grantee != "" {
			to = sqltext.Ident(p.Grantee)
		}
		if p.Grantable {
			to += " WITH GRANT OPTION"
		}
		if p.Privilege != "SET" && p.Privilege != "ALTER SYSTEM" {
			r.note(fmt.Sprintf("privilege %q on parameter %q", p.Privilege, p.Parameter), errors.New("there is no such privilege"))
			continue
		}
		// The grantor is the bootstrap superuser, whoever it was: only a superuser can do this here.
		what := fmt.Sprintf("the privilege of %q to %s parameter %q", p.Grantee, p.Privilege, p.Parameter)
		if _, err := r.try(what, "GRANT "+p.Privilege+" ON PARAMETER "+sqltext.Setting(p.Parameter)+" TO "+to); err != nil {
			return err
		}
	}
	return nil
}

// settings gives the settings to the roles that were made, and to all on a whole server.
func (r *restorer) settings() error {
	for _, s := range r.g.Settings {
		who := "ALL"
		switch {
		case s.Role == "" && !r.o.WholeServer, s.Role != "" && !r.made[s.Role]:
			continue
		case s.Role != "":
			who = sqltext.Ident(s.Role)
		}
		what := fmt.Sprintf("setting %q of role %q", s.Name, s.Role)
		set, err := sqltext.Set(s.Name, s.Value)
		if err != nil {
			r.note(what, err)
			continue
		}
		if _, err := r.try(what, "ALTER ROLE "+who+" "+set); err != nil {
			return err
		}
	}
	return nil
}
