package pgdump

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/contents"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
)

// notAsMade is the condition that somebody set something of template1 (d) that a bootstrap brings back: it is not as initdb makes it
// (src/bin/initdb/initdb.c): the first superuser's, 10, who has all privileges, while all others may connect.
const notAsMade = `
	datdba <> 10 OR datconnlimit <> -1
	OR coalesce(pg_catalog.shobj_description(oid, 'pg_database'), '') <> 'default template for new databases'
	OR EXISTS (SELECT FROM pg_catalog.pg_db_role_setting WHERE setdatabase = d.oid)
	OR EXISTS (SELECT FROM pg_catalog.pg_shseclabel WHERE classoid = 'pg_catalog.pg_database'::pg_catalog.regclass AND objoid = d.oid)
	OR (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', grantor, grantee, privilege_type, is_grantable), ', '
	                                 ORDER BY grantee, privilege_type COLLATE "C")
	      FROM pg_catalog.aclexplode(datacl)) IS DISTINCT FROM '10 0 CONNECT f, 10 10 CONNECT f, 10 10 CREATE f, 10 10 TEMPORARY f'`

// template1 looks whether template1 holds anything of a user's, or somebody set something of it: then it is dumped like other
// databases. With most nobody did, and whoever is in it keeps others from making databases.
func template1(ctx context.Context, maintenance *pgx.Conn, req engine.Request) (dump bool, omitted []catalog.Omission) {
	const name = "template1"
	if len(req.Databases.Only) > 0 || req.Databases.Excludes(name) {
		return false, nil
	}
	unread := func(err error) []catalog.Omission {
		return []catalog.Omission{{
			Kind: catalog.UnreadTemplate, Database: name, Why: "it could not be looked into, and may hold something: " + err.Error(),
			Remedy: "GRANT CONNECT ON DATABASE template1 to the job's role, or --exclude-database=template1.",
		}}
	}
	var there, may, set bool
	err := maintenance.QueryRow(ctx, `
		SELECT count(*) > 0, coalesce(bool_and(datallowconn AND has_database_privilege(oid, 'CONNECT')), false),
		       coalesce(bool_or(`+notAsMade+`), false)
		  FROM pg_database d WHERE datname = $1`, name).Scan(&there, &may, &set)
	if err != nil {
		return false, unread(err)
	}
	if !there {
		return false, nil
	}
	if !may {
		return false, unread(errors.New("the job's role has no CONNECT on it, or nobody has"))
	}
	if set {
		return true, nil
	}
	conn, err := req.Target.Connect(ctx, name)
	if err != nil {
		return false, unread(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	what, err := contents.Anything(ctx, conn)
	if err != nil {
		return false, unread(err)
	}
	var extensions int
	if err := conn.QueryRow(ctx, `SELECT count(*) FROM pg_catalog.pg_extension WHERE extname <> 'plpgsql'`).Scan(&extensions); err != nil {
		return false, unread(err)
	}
	return what != "" || extensions > 0, nil
}
