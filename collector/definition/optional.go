package definition

import (
	"fmt"
	"slices"
	"strings"
)

// Optional is a function that a query can do without. Managed services take some from everybody, and the server checks that right for a
// whole query before it runs: no CASE can guard a call, and one function less would be a collector less.
type Optional struct {
	// Function is it with the types of its arguments, as PostgreSQL writes signatures: pg_current_wal_lsn().
	Function string
	// Text is what stands in the query for it: the call itself, or a view that calls it.
	Text string
	// Otherwise stands in the query in its place where the role may not call it, such as NULL::pg_lsn. A value that
	// is NULL is absent.
	Otherwise string
}

// Optionals are those of one query.
type Optionals []Optional

// OptionalFor is what the query for a server_version_num can do without.
func (d *Definition) OptionalFor(version int) Optionals {
	for _, q := range d.Queries {
		if q.Versions.Contains(version) {
			return q.Optional
		}
	}
	return nil
}

// Without is the query as the role may run it, and the functions it does without.
func (o Optionals) Without(sql string, denied map[string]bool) (string, []string) {
	var out []string
	for _, f := range o {
		if denied[f.Function] {
			sql = strings.ReplaceAll(sql, f.Text, f.Otherwise)
			if !slices.Contains(out, f.Function) {
				out = append(out, f.Function)
			}
		}
	}
	return sql, out
}

// DeniedSQL lists those of the functions that the role may not call, and those the server does not have.
func DeniedSQL(functions []string) string {
	var values []string
	for _, f := range functions {
		values = append(values, "('"+strings.ReplaceAll(f, "'", "''")+"')")
	}
	return fmt.Sprintf("SELECT f.name FROM (VALUES %s) AS f (name)"+
		" WHERE coalesce(NOT pg_catalog.has_function_privilege(pg_catalog.to_regprocedure(f.name), 'EXECUTE'), true)", strings.Join(values, ", "))
}
