package restore

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
)

// Standing is a database that stands where another one is to come, with what hangs on it besides its data.
type Standing struct {
	Database string `json:"database"`
	// Bytes is its size.
	Bytes int64 `json:"bytes"`
	// Sessions are those in it now.
	Sessions int `json:"sessions"`
	// Untouchable are the users among them whose sessions this role may not end.
	Untouchable []string `json:"untouchable_sessions,omitempty"`
	// Prepared are the global identifiers of prepared transactions. With one, no rename succeeds.
	Prepared []string `json:"prepared_transactions,omitempty"`
	// Slots are logical replication slots. They stay with the old database and are dropped with it.
	Slots []string `json:"logical_slots,omitempty"`
	// Subscriptions stay with the old database, too, and go on filling it.
	Subscriptions []string `json:"subscriptions,omitempty"`
	// Owner is its owner, where this role has not that one's rights: then it may not rename it. "" otherwise.
	Owner string `json:"owner_of_other_role,omitempty"`
}

// standing looks at a database; nil when there is none of that name.
func standing(ctx context.Context, conn *pgx.Conn, name string) (*Standing, error) {
	st := Standing{Database: name}
	var there bool
	err := conn.QueryRow(ctx, `
		SELECT count(d.oid) > 0, coalesce(max(pg_catalog.pg_database_size(d.oid)), 0),
		       (SELECT count(*)::int FROM pg_catalog.pg_stat_activity a WHERE a.datname = $1 AND a.pid <> pg_catalog.pg_backend_pid()),
		       coalesce((SELECT array_agg(DISTINCT a.usename::text) FROM pg_catalog.pg_stat_activity a JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
		                  WHERE a.datname = $1 AND NOT pg_catalog.pg_has_role(r.oid, 'USAGE')
		                    AND (r.rolsuper OR NOT pg_catalog.pg_has_role('pg_signal_backend', 'USAGE'))), '{}'),
		       coalesce((SELECT array_agg(gid ORDER BY gid) FROM pg_catalog.pg_prepared_xacts WHERE database = $1), '{}'),
		       coalesce((SELECT array_agg(slot_name::text ORDER BY slot_name) FROM pg_catalog.pg_replication_slots WHERE database = $1 AND NOT temporary), '{}'),
		       coalesce((SELECT array_agg(subname::text ORDER BY subname) FROM pg_catalog.pg_subscription WHERE subdbid = max(d.oid)), '{}'),
		       coalesce(max(pg_catalog.pg_get_userbyid(d.datdba)::text) FILTER (WHERE NOT pg_catalog.pg_has_role(d.datdba, 'USAGE')), '')
		  FROM pg_catalog.pg_database d
		 WHERE d.datname = $1`, server.Bytes(name)).
		Scan(&there, &st.Bytes, &st.Sessions, &st.Untouchable, &st.Prepared, &st.Slots, &st.Subscriptions, &st.Owner)
	if err != nil {
		return nil, fmt.Errorf("look at database %s: %w", name, err)
	}
	if !there {
		return nil, nil
	}
	return &st, nil
}

// refusal is why the database can't be moved aside, or dropped after that; nil when nothing is in the way.
func (st *Standing) refusal(dropOld bool) error {
	switch {
	case len(st.Prepared) > 0:
		return failure.New(failure.Refused, "database %s has prepared transactions (%s), with which it can't be renamed; nothing was changed",
			st.Database, strings.Join(st.Prepared, ", ")).WithHint("End them, in that database: COMMIT PREPARED '...' or ROLLBACK PREPARED '...'.")
	case dropOld && len(st.Slots) > 0:
		return failure.New(failure.Refused, "dropping database %s would drop its logical replication slots (%s); nothing was changed",
			st.Database, strings.Join(st.Slots, ", ")).
			WithHint("Leave out --drop-old, or drop the slots first: SELECT pg_drop_replication_slot('...').")
	case dropOld && len(st.Subscriptions) > 0:
		return failure.New(failure.Refused, "database %s has subscriptions (%s), with which it can't be dropped; nothing was changed",
			st.Database, strings.Join(st.Subscriptions, ", ")).WithHint("Leave out --drop-old, or drop the subscriptions first.")
	case st.Owner != "":
		return failure.New(failure.Permission, "database %s is of role %s, and this login may not rename it; nothing was changed", st.Database,
			st.Owner).WithHint("Restore as a superuser, or as a role with the rights of %s, or beside it, with --as.", st.Owner)
	case len(st.Untouchable) > 0:
		return failure.New(failure.Permission, "sessions of %s are in database %s, and this role may not end them; nothing was changed",
			strings.Join(st.Untouchable, ", "), st.Database).
			WithHint("Restore as a superuser, or as a member of pg_signal_backend where no superuser is connected.")
	}
	return nil
}

// remarks are what will not be as before once the database is moved aside.
func (st *Standing) remarks() []string {
	var all []string
	if len(st.Slots) > 0 {
		all = append(all, fmt.Sprintf("logical replication slots (%s) stay with the old database %s: their consumers find none in the new one",
			strings.Join(st.Slots, ", "), st.Database))
	}
	if len(st.Subscriptions) > 0 {
		all = append(all, fmt.Sprintf("subscriptions (%s) stay with the old database %s and go on filling it; those of the new one are disabled",
			strings.Join(st.Subscriptions, ", "), st.Database))
	}
	return all
}

// mayRestore says what a login that is no superuser lacks, before hours of loading: every restore makes a database, that of a table a
// passing one.
func (s *session) mayRestore(ctx context.Context, databases ...catalog.Database) error {
	var user string
	var super, create bool
	err := s.conn.QueryRow(ctx, `SELECT rolname, rolsuper, rolcreatedb FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER`).
		Scan(&user, &super, &create)
	if err != nil {
		return fmt.Errorf("look for the privileges of the login: %w", err)
	}
	if super {
		return nil
	}
	if !create {
		return failure.New(failure.Permission, "role %s may not create databases; nothing was changed", user).
			WithHint("Restore as a superuser, or, with --no-owner, as a role with CREATEDB.")
	}
	if s.NoOwner {
		return nil
	}
	become := "MEMBER"
	if s.facts.Major() >= 16 {
		become = "SET"
	}
	for _, d := range slices.Concat(databases, s.alike) {
		var may bool
		err := s.conn.QueryRow(ctx, `
			SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = $1 AND NOT pg_catalog.pg_has_role(oid, $2))`,
			server.Bytes(d.Owner), become).Scan(&may)
		if err != nil {
			return fmt.Errorf("look for the privileges of the login: %w", err)
		}
		if !may {
			return failure.New(failure.Permission, "database %s is of role %s in the backup, and role %s may not give it away; nothing was changed",
				d.Name, d.Owner, user).WithHint("Restore as a superuser, or with --no-owner: then everything belongs to %s.", user)
		}
	}
	return nil
}

// survey finds out, before hours of loading, what would make the swap fail, and names what stands in the way aside.
func (s *session) survey(ctx context.Context, places []*place) error {
	taken := map[string]bool{}
	var databases []catalog.Database
	for _, p := range places {
		databases = append(databases, p.database)
	}
	if err := s.mayRestore(ctx, databases...); err != nil {
		return err
	}
	for _, p := range places {
		st, err := standing(ctx, s.conn, p.as)
		if err != nil {
			return err
		}
		if st != nil {
			if err := st.refusal(p.dropOld); err != nil {
				return err
			}
			for _, r := range st.remarks() {
				s.warn("%s", r)
			}
		}
		if err := s.nameAside(ctx, p, taken); err != nil {
			return err
		}
	}
	return s.checkSpace(ctx, databases...)
}

// nameAside finds the name for what stands in a database's place.
func (s *session) nameAside(ctx context.Context, p *place, taken map[string]bool) error {
	if p.keepAs != "" {
		there, err := exists(ctx, s.conn, p.keepAs)
		if err == nil && (there || p.keepAs == p.as) {
			err = failure.New(failure.Refused, "restore %s: database %q exists, nothing was changed", p.as, p.keepAs).
				WithHint("Drop it or choose another --keep-as.")
		}
		return err
	}
	stamp := s.Now().UTC().Format("20060102T150405")
	for n := 1; ; n++ {
		suffix := "_before_" + stamp
		if n > 1 { // names that begin alike, or a second restore within the second
			suffix += fmt.Sprintf("_%d", n)
		}
		name := trimName(p.as, suffix)
		there, err := exists(ctx, s.conn, name)
		if err != nil {
			return err
		}
		if !there && !taken[name] {
			taken[name], p.keepAs = true, name
			return nil
		}
	}
}
