package globals

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/sqltext"
)

// pair is who is in what.
type pair struct{ Role, Member string }

// memberships grants those that the server lacks. A membership that it has, whoever granted it, stays as it is.
//
// PostgreSQL 16 and later keep who granted what, and let nobody grant a role without ADMIN OPTION on it: such a grant
// waits until its grantor has been granted that.
func (r *restorer) memberships() error {
	admins, all, err := r.members() // whoever has ADMIN OPTION, and all
	if err != nil {
		return err
	}
	source := ""
	for _, role := range r.g.Roles {
		if role.Bootstrap {
			source = role.Name
		}
	}
	var waiting []catalog.Membership
	for _, m := range r.g.Memberships {
		if all[pair{m.Role, m.Member}] {
			continue
		}
		if !r.there[m.Role] || !r.there[m.Member] {
			r.note(fmt.Sprintf("the membership of %q in %q", m.Member, m.Role), errors.New("the server has no such role"))
			continue
		}
		if m.Grantor == source || r.major >= 16 && m.Inherit == nil { // before 16, the grantor means nothing
			m.Grantor = r.bootstrap
		}
		waiting = append(waiting, m)
	}
	for len(waiting) > 0 {
		var rest []catalog.Membership
		for _, m := range waiting {
			if r.major >= 16 && m.Grantor != r.bootstrap && !admins[pair{m.Role, m.Grantor}] {
				rest = append(rest, m)
				continue
			}
			ok, err := r.grant(m)
			if err != nil {
				return err
			}
			if ok && m.Admin {
				admins[pair{m.Role, m.Member}] = true
			}
		}
		if len(rest) == len(waiting) { // nobody can grant these any more: they are granted, by a superuser
			for i := range rest {
				r.note(fmt.Sprintf("the membership of %q in %q", rest[i].Member, rest[i].Role),
					fmt.Errorf("role %q may not grant it here, so that it is granted by %q", rest[i].Grantor, r.bootstrap))
				rest[i].Grantor = r.bootstrap
			}
		}
		waiting = rest
	}
	return nil
}

func (r *restorer) grant(m catalog.Membership) (ok bool, err error) {
	sql := "GRANT " + sqltext.Ident(m.Role) + " TO " + sqltext.Ident(m.Member)
	option := func(word string, on bool) string {
		if on {
			return word + " TRUE"
		}
		return word + " FALSE"
	}
	switch {
	case r.major >= 16:
		sql += " WITH " + option("ADMIN", m.Admin)
		if m.Inherit != nil {
			sql += ", " + option("INHERIT", *m.Inherit)
		}
		if m.Set != nil {
			sql += ", " + option("SET", *m.Set)
		}
	case m.Admin:
		sql += " WITH ADMIN OPTION"
	}
	if r.super && r.there[m.Grantor] { // nobody else may grant in another's name
		sql += " GRANTED BY " + sqltext.Ident(m.Grantor)
	}
	return r.try(fmt.Sprintf("the membership of %q in %q", m.Member, m.Role), sql)
}

func (r *restorer) members() (admins, all map[pair]bool, err error) {
	rows, err := r.conn.Query(r.ctx, `
		SELECT r.rolname, m.rolname, a.admin_option
		  FROM pg_catalog.pg_auth_members a
		  JOIN pg_catalog.pg_roles r ON r.oid = a.roleid
		  JOIN pg_catalog.pg_roles m ON m.oid = a.member`)
	if err != nil {
		return nil, nil, err
	}
	admins, all = map[pair]bool{}, map[pair]bool{}
	var p pair
	var admin bool
	_, err = pgx.ForEachRow(rows, []any{&p.Role, &p.Member, &admin}, func() error {
		key := pair{sqltext.Text(p.Role), sqltext.Text(p.Member)}
		all[key] = true
		admins[key] = admins[key] || admin
		return nil
	})
	return admins, all, err
}
