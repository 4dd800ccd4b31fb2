package properties

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/sqltext"
)

// Apply gives a database the owner, settings, privileges, comment, security labels and connection limit that another
// one had, all or nothing, in the session's transaction or in one of its own. Whether it is a template or takes
// connections is left as it is. Applied twice, it is as applied once.
//
// The owner must be there. What else the server refuses is left out and named in the notes: a setting it does not know,
// a privilege of a role that it lacks, a label whose provider is not loaded.
func Apply(ctx context.Context, conn *pgx.Conn, name string, db catalog.Database) (notes []string, err error) {
	if conn.PgConn().TxStatus() == 'I' {
		tx, err := conn.Begin(ctx)
		if err != nil {
			return nil, fmt.Errorf("restore the properties of database %s: %w", db.Name, err)
		}
		defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
		if notes, err = Apply(ctx, conn, name, db); err == nil {
			err = tx.Commit(ctx)
		}
		return notes, err
	}
	a := &applier{ctx: ctx, conn: conn, name: sqltext.Ident(name), db: db}
	for _, step := range []func() error{a.owner, a.settings, a.grants, a.words} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("restore the properties of database %s: %w", db.Name, err)
		}
	}
	return a.notes, nil
}

type applier struct {
	ctx   context.Context
	conn  *pgx.Conn
	name  string // quoted
	db    catalog.Database
	notes []string
}

func (a *applier) note(what string, err error) {
	a.notes = append(a.notes, fmt.Sprintf("%s of database %q: %v", what, a.db.Name, err))
}

// try executes what the server may refuse, and notes it then.
func (a *applier) try(what string, statements ...string) error {
	refused, err := sqltext.Try(a.ctx, a.conn, statements...)
	if refused != nil {
		a.note(what, refused)
	}
	return err
}

func (a *applier) owner() error {
	// It decides how the server writes the elements of a list into its catalogue.
	if err := sqltext.Exec(a.ctx, a.conn, "SET LOCAL quote_all_identifiers = off"); err != nil || a.db.Owner == "" {
		return err
	}
	return sqltext.Exec(a.ctx, a.conn, "ALTER DATABASE "+a.name+" OWNER TO "+sqltext.Ident(a.db.Owner))
}

func (a *applier) settings() error {
	for _, s := range a.db.Properties.Settings {
		what, who := fmt.Sprintf("setting %q", s.Name), "DATABASE "+a.name
		if s.Role != "" {
			what, who = fmt.Sprintf("setting %q of role %q", s.Name, s.Role), "ROLE "+sqltext.Ident(s.Role)+" IN DATABASE "+a.name
		}
		set, err := sqltext.Set(s.Name, s.Value)
		if err != nil {
			a.note(what, err)
			continue
		}
		if err := a.try(what, "ALTER "+who+" "+set); err != nil {
			return err
		}
	}
	return nil
}

// words are what is only said of a database, and its limit of connections.
func (a *applier) words() error {
	p := a.db.Properties
	// The mark of an unfinished database goes in any case.
	if err := sqltext.Exec(a.ctx, a.conn, "COMMENT ON DATABASE "+a.name+" IS NULL"); err != nil {
		return err
	}
	if p.Comment != "" {
		if err := a.try("the comment", "COMMENT ON DATABASE "+a.name+" IS "+sqltext.Literal(p.Comment)); err != nil {
			return err
		}
	}
	for _, l := range p.Labels {
		what := fmt.Sprintf("the security label of %q", l.Provider)
		if err := a.try(what, "SECURITY LABEL FOR "+sqltext.Ident(l.Provider)+" ON DATABASE "+a.name+" IS "+
			sqltext.Literal(l.Label)); err != nil {
			return err
		}
	}
	if p.ConnectionLimit < 0 {
		return nil
	}
	return sqltext.Exec(a.ctx, a.conn, "ALTER DATABASE "+a.name+" CONNECTION LIMIT "+strconv.Itoa(p.ConnectionLimit))
}

// granted is who may grant what on.
type granted struct{ role, privilege string }

// grants gives the privileges, each in its grantor's name: the owner's first, then those of others as soon as they have
// been granted the right to.
func (a *applier) grants() error {
	p := a.db.Properties
	if p.DefaultGrants {
		return nil
	}
	from := "PUBLIC"
	if a.db.Owner != "" { // who may have taken something from himself
		from += ", " + sqltext.Ident(a.db.Owner)
	}
	if err := sqltext.Exec(a.ctx, a.conn, "REVOKE ALL ON DATABASE "+a.name+" FROM "+from); err != nil {
		return err
	}
	may := map[granted]bool{}
	waiting := p.Grants
	for len(waiting) > 0 {
		var rest []catalog.Grant
		for _, g := range waiting {
			own := g.Grantor == "" || g.Grantor == a.db.Owner
			if !own && !may[granted{g.Grantor, g.Privilege}] {
				rest = append(rest, g)
				continue
			}
			if own {
				g.Grantor = ""
			}
			if err := a.grant(g); err != nil {
				return err
			}
			may[granted{g.Grantee, g.Privilege}] = may[granted{g.Grantee, g.Privilege}] || g.Grantable
		}
		if len(rest) == len(waiting) { // nobody can grant these any more: they are the owner's then
			for i := range rest {
				a.note(fmt.Sprintf("privilege %s of %q", rest[i].Privilege, rest[i].Grantee),
					fmt.Errorf("role %q may not grant it here, so that it is granted by the owner", rest[i].Grantor))
				rest[i].Grantor = ""
			}
		}
		waiting = rest
	}
	return nil
}

// grant gives one privilege in the name of its grantor, "" for the owner.
func (a *applier) grant(g catalog.Grant) error {
	what := fmt.Sprintf("privilege %s of %q", g.Privilege, g.Grantee)
	switch g.Privilege {
	case "CREATE", "CONNECT", "TEMPORARY":
	default:
		a.note(what, errors.New("there is no such privilege"))
		return nil
	}
	to := "PUBLIC"
	if g.Grantee != "" {
		to = sqltext.Ident(g.Grantee)
	}
	if g.Grantable {
		to += " WITH GRANT OPTION"
	}
	grant := "GRANT " + g.Privilege + " ON DATABASE " + a.name + " TO " + to
	if g.Grantor == "" {
		return a.try(what, grant)
	}
	var role string
	if err := a.conn.QueryRow(a.ctx, "SELECT pg_catalog.current_setting('role')").Scan(&role); err != nil {
		return err
	}
	as := func(role string) string {
		return "SELECT pg_catalog.set_config('role', " + sqltext.Literal(role) + ", true)"
	}
	return a.try(what, as(g.Grantor), grant, as(role))
}
