package contents

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
)

// firstOfUsers is the first number that an object made after initdb gets (FirstNormalObjectId of PostgreSQL's transam.h).
const firstOfUsers = 16384

// madeByUsers are the catalogues whose objects a user makes, each with how one is named. Triggers, policies, rules,
// constraints, indexes and the like are left out: they hang on a relation.
var madeByUsers = []struct{ catalogue, what, name, schema string }{
	{"pg_extension", "extension", "extname", ""},
	{"pg_namespace", "schema", "nspname", "oid"},
	{"pg_class", "relation", "relname", "relnamespace"},
	{"pg_proc", "function", "proname", "pronamespace"},
	{"pg_type", "type", "typname", "typnamespace"},
	{"pg_operator", "operator", "oprname", "oprnamespace"},
	{"pg_opclass", "operator class", "opcname", "opcnamespace"},
	{"pg_opfamily", "operator family", "opfname", "opfnamespace"},
	{"pg_collation", "collation", "collname", "collnamespace"},
	{"pg_conversion", "conversion", "conname", "connamespace"},
	{"pg_statistic_ext", "statistics", "stxname", "stxnamespace"},
	{"pg_ts_config", "text search configuration", "cfgname", "cfgnamespace"},
	{"pg_ts_dict", "text search dictionary", "dictname", "dictnamespace"},
	{"pg_ts_parser", "text search parser", "prsname", "prsnamespace"},
	{"pg_ts_template", "text search template", "tmplname", "tmplnamespace"},
	{"pg_cast", "cast", "oid::text", ""},
	{"pg_transform", "transform", "oid::text", ""},
	{"pg_am", "access method", "amname", ""},
	{"pg_language", "language", "lanname", ""},
	{"pg_foreign_data_wrapper", "foreign-data wrapper", "fdwname", ""},
	{"pg_foreign_server", "foreign server", "srvname", ""},
	{"pg_event_trigger", "event trigger", "evtname", ""},
	{"pg_publication", "publication", "pubname", ""},
	{"pg_default_acl", "default privileges", "oid::text", ""},
}

// Catalogues are the system's catalogues whose objects a user makes, but for those that hang on a relation.
func Catalogues() []string {
	var all []string
	for _, k := range madeByUsers {
		all = append(all, k.catalogue)
	}
	return all
}

// marksByUsers are what a user does to what initdb made, and pg_dump carries: comment, privileges and owner of the schema public, and
// security labels.
var marksByUsers = []string{
	`(SELECT 'the comment of schema public' FROM pg_catalog.pg_namespace n WHERE n.oid = 2200
		AND coalesce(pg_catalog.obj_description(n.oid, 'pg_namespace'), '') <> 'standard public schema')`,
	`(SELECT 'the privileges of schema public' FROM pg_catalog.pg_namespace n WHERE n.oid = 2200 AND n.nspacl IS DISTINCT FROM
		(SELECT i.initprivs FROM pg_catalog.pg_init_privs i WHERE i.classoid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND i.objoid = n.oid))`,
	`(SELECT 'the owner of schema public' FROM pg_catalog.pg_namespace n WHERE n.oid = 2200 AND n.nspowner <>
		CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 150000 THEN 6171 ELSE 10 END)`,
	`(SELECT 'no schema public' WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.oid = 2200))`,
	`(SELECT 'security label ' || provider FROM pg_catalog.pg_seclabel LIMIT 1)`,
}

// Anything names something a user made in the database, "" when there is nothing: whatever is neither the system's nor
// an extension's, extensions but plpgsql themselves, and what was done to the schema public. It reads no shared catalogue but
// pg_subscription, so that it also works while pg_database is locked.
func Anything(ctx context.Context, q Querier) (string, error) { return anything(ctx, q, true) }

// AnythingOfUsers is Anything without extensions, as images make some at their first start: of an extension only the rows count that
// users put into its tables, which pg_dump would dump.
func AnythingOfUsers(ctx context.Context, q Querier) (string, error) {
	what, err := anything(ctx, q, false)
	if what != "" || err != nil {
		return what, err
	}
	return anythingInExtensions(ctx, q)
}

// anythingInExtensions names a table of an extension that holds rows of users: those that fulfil the condition which the extension set,
// as pg_dump reads it.
func anythingInExtensions(ctx context.Context, q Querier) (string, error) {
	tables, err := KeptTables(ctx, q)
	if err != nil {
		return "", err
	}
	for _, t := range tables {
		name := server.Quote(t.Schema, t.Name)
		var there bool
		if err := q.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+name+" "+t.Condition+")").Scan(&there); err != nil {
			return "", fmt.Errorf("look for rows of users in %s: %w", name, err)
		}
		if there {
			return "rows in " + name, nil
		}
	}
	return "", nil
}

// hangsOn are the kinds of dependency of what counts with something else: with an extension, and of types with the table or the type
// that they were made for, as an array type is.
func hangsOn(catalogue string) string {
	if catalogue == "pg_type" {
		return "'e', 'i'"
	}
	return "'e'"
}

func anything(ctx context.Context, q Querier, extensions bool) (string, error) {
	parts := slices.Clone(marksByUsers)
	for _, k := range madeByUsers {
		if k.catalogue == "pg_extension" && !extensions {
			continue
		}
		name, from := "x."+k.name, " FROM pg_catalog."+k.catalogue+" AS x"
		where := fmt.Sprintf(" WHERE x.oid >= %d AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e"+
			" WHERE e.classid = 'pg_catalog.%s'::pg_catalog.regclass AND e.objid = x.oid AND e.deptype IN (%s))", firstOfUsers, k.catalogue,
			hangsOn(k.catalogue))
		if k.catalogue == "pg_class" {
			where += " AND x.relkind NOT IN ('i', 'I')"
		}
		if k.schema != "" { // temporary objects go with their session
			from += " JOIN pg_catalog.pg_namespace n ON n.oid = x." + k.schema
			where += " AND n.nspname !~ '^pg_(toast|temp|toast_temp)(_|$)'"
		}
		if k.schema != "" && k.schema != "oid" {
			name = "n.nspname || '.' || " + name
		}
		if k.catalogue == "pg_extension" {
			where += " AND x.extname <> 'plpgsql'"
		}
		parts = append(parts, "(SELECT '"+k.what+" ' || "+name+from+where+" LIMIT 1)")
	}
	parts = append(parts,
		"(SELECT 'large object ' || oid FROM pg_catalog.pg_largeobject_metadata LIMIT 1)",
		"(SELECT 'subscription ' || subname FROM pg_catalog.pg_subscription"+
			" WHERE subdbid = (SELECT datid FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid())) LIMIT 1)")
	var what string
	if err := q.QueryRow(ctx, "SELECT coalesce("+strings.Join(parts, ", ")+", '')").Scan(&what); err != nil {
		return "", fmt.Errorf("look for what users made: %w", err)
	}
	return what, nil
}
