package collector

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// extensionSchema stands in a query for the schema of the extension it requires, as in CREATE EXTENSION's own
// scripts: nobody can know beforehand where it was put.
const extensionSchema = "@extschema@"

// installedSQL lists the extensions of the database. One whose library the server has not loaded is left out,
// where that can be told: each query on it would fail.
const installedSQL = `
SELECT e.extname, pg_catalog.quote_ident(n.nspname), e.extversion
  FROM pg_catalog.pg_extension AS e
  JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace
 WHERE e.extname <> 'pg_stat_statements'
    OR EXISTS (SELECT FROM pg_catalog.pg_settings WHERE name = 'pg_stat_statements.max')`

// extension is one that is installed; schema is quoted as SQL needs it.
type extension struct{ schema, version string }

// readExtensions notes what is installed in the database of the connection.
func (e *Engine) readExtensions(ctx context.Context) error {
	if !e.needsExtensions() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, clientGrace)
	defer cancel()
	lease, err := e.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer lease.Release()
	rows, err := lease.Query(ctx, installedSQL)
	if err != nil {
		return err
	}
	found := map[string]extension{}
	for _, r := range rows {
		if len(r) != 3 || slices.Contains(r, nil) {
			return errors.New("pg_extension has rows without a name")
		}
		found[*r[0]] = extension{schema: *r[1], version: *r[2]}
	}
	e.mu.Lock()
	e.extensions = found
	e.mu.Unlock()
	return nil
}

func (e *Engine) needsExtensions() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.ContainsFunc(e.queries, func(u *queryUnit) bool { return u.def.Requires.Extension != "" })
}

// withExtension is the query for the extension as it is installed, or false where that won't do.
func (r Requirements) withExtension(sql string, installed map[string]extension) (string, bool) {
	if r.Extension == "" {
		return sql, true
	}
	x, ok := installed[r.Extension]
	if !ok || olderVersion(x.version, r.ExtensionVersion) {
		return "", false
	}
	return strings.ReplaceAll(sql, extensionSchema, x.schema), true
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
