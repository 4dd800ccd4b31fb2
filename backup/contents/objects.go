package contents

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
)

// kindsVersion is what Contents.Kinds says of a count by this program.
const kindsVersion = 1

// firstKinds are what a manifest without Kinds counted.
var firstKinds = []string{
	"views", "materialized_views", "partitioned_tables", "foreign_tables", "functions", "triggers", "policies", "large_objects",
}

// Privileges are the kinds that a restore without owners and privileges leaves out.
var Privileges = []string{"default_privileges"}

// inSchema counts the objects of a catalogue that live in a schema.
func inSchema(kind, catalogue, namespace, also string) string {
	return `SELECT '` + kind + `', pg_catalog.count(*) FROM pg_catalog.` + catalogue + ` x
		  JOIN pg_catalog.pg_namespace n ON n.oid = x.` + namespace + ` WHERE ` + ours("x.oid", catalogue) + also
}

// firstNormal is the first oid that is not given by initdb.
const firstNormal = "16384"

// inDatabase counts the objects of a catalogue that live in no schema.
func inDatabase(kind, catalogue, also string) string {
	return `SELECT '` + kind + `', pg_catalog.count(*) FROM pg_catalog.` + catalogue + ` x
		 WHERE x.oid >= ` + firstNormal + ` AND ` + notOfExtension("x.oid", catalogue) + also
}

// notInternal leaves out what another object brings with it, other things in other versions: a range type its constructors, and casts.
func notInternal(oid, class string) string {
	return ` AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend i
	                    WHERE i.classid = 'pg_catalog.` + class + `'::regclass AND i.objid = ` + oid + ` AND i.deptype = 'i')`
}

// onTable counts what hangs on a relation of the user's.
func onTable(kind, catalogue, relation, also string) string {
	return `SELECT '` + kind + `', pg_catalog.count(*) FROM pg_catalog.` + catalogue + ` x
		  JOIN pg_catalog.pg_class c ON c.oid = x.` + relation + `
		  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		 WHERE c.relpersistence <> 't' AND ` + ours("c.oid", "pg_class") + also
}

// commentOn counts comments on objects that live in a schema; on columns, too.
func commentOn(catalogue, namespace, also string) string {
	return `SELECT 'comments', pg_catalog.count(*) FROM pg_catalog.pg_description d
		  JOIN pg_catalog.` + catalogue + ` x ON x.oid = d.objoid AND d.classoid = 'pg_catalog.` + catalogue + `'::regclass
		  JOIN pg_catalog.pg_namespace n ON n.oid = x.` + namespace + ` WHERE ` + ours("x.oid", catalogue) + also
}

// objectCounts are one row a kind, or several to be added up. Only what pg_dump dumps of it is counted: no shell types and
// operators, no types that another object brings with it.
var objectCounts = strings.Join([]string{
	`SELECT CASE c.relkind WHEN 'v' THEN 'views' WHEN 'm' THEN 'materialized_views'
		                      WHEN 'p' THEN 'partitioned_tables' ELSE 'foreign_tables' END, pg_catalog.count(*)
		  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		 WHERE c.relkind IN ('v', 'm', 'p', 'f') AND c.relpersistence <> 't' AND ` + ours("c.oid", "pg_class") + ` GROUP BY 1`,
	inSchema("functions", "pg_proc", "pronamespace", ""), // for manifests without Kinds
	inSchema("routines", "pg_proc", "pronamespace", notInternal("x.oid", "pg_proc")),
	onTable("triggers", "pg_trigger", "tgrelid", " AND NOT x.tgisinternal AND x.tgparentid = 0"),
	onTable("policies", "pg_policy", "polrelid", ""),
	`SELECT 'large_objects', pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata`,

	inDatabase("schemas", "pg_namespace", ` AND x.nspname NOT IN ('public', 'pg_toast') AND x.nspname !~ '^pg_(toast_)?temp_'`),
	inSchema("types", "pg_type", "typnamespace", ` AND x.typisdefined
		AND (x.typtype IN ('d', 'e', 'r') OR x.typtype = 'b' AND NOT EXISTS (SELECT FROM pg_catalog.pg_type e WHERE e.typarray = x.oid)
		     OR x.typtype = 'c' AND EXISTS (SELECT FROM pg_catalog.pg_class r WHERE r.oid = x.typrelid AND r.relkind = 'c'))`),
	inSchema("operators", "pg_operator", "oprnamespace", " AND x.oprcode <> 0"),
	inSchema("operator_classes", "pg_opclass", "opcnamespace", ""),
	inSchema("operator_families", "pg_opfamily", "opfnamespace", ""),
	inSchema("collations", "pg_collation", "collnamespace", ""),
	inSchema("conversions", "pg_conversion", "connamespace", ""),
	inSchema("text_search_configurations", "pg_ts_config", "cfgnamespace", ""),
	inSchema("text_search_dictionaries", "pg_ts_dict", "dictnamespace", ""),
	inSchema("text_search_parsers", "pg_ts_parser", "prsnamespace", ""),
	inSchema("text_search_templates", "pg_ts_template", "tmplnamespace", ""),
	inSchema("statistics_objects", "pg_statistic_ext", "stxnamespace", ""),
	inDatabase("casts", "pg_cast", notInternal("x.oid", "pg_cast")),
	inDatabase("languages", "pg_language", ""),
	inDatabase("transforms", "pg_transform", ""),
	inDatabase("access_methods", "pg_am", ""),
	inDatabase("event_triggers", "pg_event_trigger", ""),
	inDatabase("publications", "pg_publication", ""),
	onTable("publication_tables", "pg_publication_rel", "prrelid", ""),
	inDatabase("foreign_data_wrappers", "pg_foreign_data_wrapper", ""),
	inDatabase("foreign_servers", "pg_foreign_server", ""),
	`SELECT 'user_mappings', pg_catalog.count(*) FROM pg_catalog.pg_user_mappings x WHERE ` + notOfExtension("x.srvid", "pg_foreign_server"),
	`SELECT 'subscriptions', pg_catalog.count(*) FROM pg_catalog.pg_subscription x
		  JOIN pg_catalog.pg_database d ON d.oid = x.subdbid AND d.datname = pg_catalog.current_database()
		 WHERE pg_catalog.current_setting('is_superuser') = 'on'`, // pg_dump dumps none for others
	`SELECT 'default_privileges', pg_catalog.count(*) FROM pg_catalog.pg_default_acl`,
	onTable("rules", "pg_rewrite", "ev_class", ` AND x.rulename <> '_RETURN'`),
	commentOn("pg_class", "relnamespace", ` AND x.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')`),
	commentOn("pg_proc", "pronamespace", ""),
}, "\n\t\tUNION ALL\n\t\t")

// counts counts the objects that are not listed by name.
func counts(ctx context.Context, q Querier, c *catalog.Contents) error {
	rows, err := q.Query(ctx, objectCounts)
	if err != nil {
		return fmt.Errorf("count the other objects: %w", err)
	}
	c.Objects, c.Kinds = map[string]int64{}, kindsVersion
	var kind string
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&kind, &n}, func() error {
		if n > 0 {
			c.Objects[kind] += n
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("count the other objects: %w", err)
	}
	return nil
}

// counted says whether contents of a version of Kinds count a kind of object.
func counted(version int, kind string) bool {
	if version == 0 {
		return slices.Contains(firstKinds, kind)
	}
	return kind != "functions" // routines say it better
}
