package definition

import (
	"strconv"
	"strings"
)

// extensionSchema stands in a query for the schema of the extension it requires, as in CREATE EXTENSION's own
// scripts: nobody can know beforehand where it was put.
const extensionSchema = "@extschema@"

// InstalledSQL lists the extensions of the database. One whose library the server has not loaded is left out,
// where that can be told: each query on it would fail.
const InstalledSQL = `
SELECT e.extname, pg_catalog.quote_ident(n.nspname), e.extversion
  FROM pg_catalog.pg_extension AS e
  JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace
 WHERE e.extname <> 'pg_stat_statements'
    OR EXISTS (SELECT FROM pg_catalog.pg_show_all_settings() WHERE name = 'pg_stat_statements.max')`

// Extension is one that is installed; Schema is quoted as SQL needs it.
type Extension struct{ Schema, Version string }

// WithExtension is the query for the extension as it is installed, or false where that won't do.
func (r Requirements) WithExtension(sql string, installed map[string]Extension) (string, bool) {
	if r.Extension == "" {
		return sql, true
	}
	x, ok := installed[r.Extension]
	if !ok || olderVersion(x.Version, r.ExtensionVersion) {
		return "", false
	}
	return strings.ReplaceAll(sql, extensionSchema, x.Schema), true
}

// olderVersion compares numbers between dots: 1.9 is older than 1.10. What is no number counts as 0.
func olderVersion(version, than string) bool {
	a, b := strings.Split(version, "."), strings.Split(than, ".")
	for i := range max(len(a), len(b)) {
		if x, y := part(a, i), part(b, i); x != y {
			return x < y
		}
	}
	return false
}

func part(parts []string, i int) int {
	if i >= len(parts) {
		return 0
	}
	n, _ := strconv.Atoi(parts[i])
	return n
}
