package contents

import (
	"context"
	"fmt"
	"strings"
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

// Anything names something a user made in the database, "" when there is nothing: whatever is neither the system's nor
// an extension's, and extensions but plpgsql themselves. It reads no shared catalogue but pg_subscription, so that it
// also works while pg_database is locked.
func Anything(ctx context.Context, q Querier) (string, error) {
	var parts []string
	for _, k := range madeByUsers {
		name, from := "x."+k.name, " FROM pg_catalog."+k.catalogue+" AS x"
		where := fmt.Sprintf(" WHERE x.oid >= %d AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e"+
			" WHERE e.classid = 'pg_catalog.%s'::pg_catalog.regclass AND e.objid = x.oid AND e.deptype = 'e')", firstOfUsers, k.catalogue)
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
