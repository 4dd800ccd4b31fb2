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
    OR EXISTS (SELECT FROM pg_catalog.pg_show_all_settings() WHERE name = 'pg_stat_statements.max')`

// extension is one that is installed; schema is quoted as SQL needs it.
type extension struct{ schema, version string }

// readFacts notes what the queries depend on: the extensions of the connection's database, and the functions the role may not call.
func (e *Engine) readFacts(ctx context.Context) error {
	extensions, functions := e.needs()
	if !extensions && len(functions) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, clientGrace)
	defer cancel()
	lease, err := e.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer lease.Release()
	found := map[string]extension{}
	if extensions {
		rows, err := lease.Query(ctx, installedSQL)
		if err != nil {
			return err
		}
		for _, r := range rows {
			if len(r) != 3 || slices.Contains(r, nil) {
				return errors.New("pg_extension has rows without a name")
			}
			found[*r[0]] = extension{schema: *r[1], version: *r[2]}
		}
	}
	denied := map[string]bool{}
	if len(functions) > 0 {
		rows, err := lease.Query(ctx, deniedSQL(functions))
		if err != nil {
			return err
		}
		for _, r := range rows {
			if len(r) == 1 && r[0] != nil && slices.Contains(functions, *r[0]) {
				denied[*r[0]] = true
			}
		}
	}
	e.mu.Lock()
	e.extensions, e.denied, e.askRights = found, denied, false
	e.mu.Unlock()
	return nil
}

// needs says whether a collector requires an extension, and lists the functions that collectors can do without.
func (e *Engine) needs() (extensions bool, functions []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, u := range e.queries {
		extensions = extensions || u.def.Requires.Extension != ""
		for _, q := range u.def.Queries {
			for _, o := range q.Optional {
				functions = append(functions, o.Function)
			}
		}
	}
	slices.Sort(functions)
	return extensions, slices.Compact(functions)
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
