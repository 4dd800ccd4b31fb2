package server

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// Selection says which databases a run backs up: those of Only, or all where it is empty, without those whose name
// matches a pattern of Except. In a pattern * stands for any characters and ? for one; all else means itself.
type Selection struct{ Only, Except []string }

// Excludes says whether a pattern of Except matches a database's name.
func (s Selection) Excludes(name string) bool {
	return slices.ContainsFunc(s.Except, func(pattern string) bool {
		p := strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(regexp.QuoteMeta(pattern))
		return regexp.MustCompile(`(?s)^(?:` + p + `)$`).MatchString(name)
	})
}

// String names the selection in manifests: backups are compared, kept and pruned among those of the same one.
func (s Selection) String() string {
	name := "all"
	if len(s.Only) > 0 {
		name = list(s.Only)
	}
	if len(s.Except) > 0 {
		name += " but " + list(s.Except)
	}
	return name
}

func list(names []string) string {
	sorted := slices.Sorted(slices.Values(names))
	return strings.Join(slices.Compact(sorted), ",")
}

// closed to everybody, or to this role; what an interrupted DROP DATABASE leaves has the limit invalidLimit.
const invalidLimit = -2

// Databases lists the databases of a selection that can be entered, by name, and what of it can't. Of all databases,
// template0 is nothing of the user's, template1 is for the caller to look into, and unfinished restores are ours;
// templates that a user made are databases like others. A chosen one that does not exist is an error.
func Databases(ctx context.Context, conn *pgx.Conn, s Selection) (names []string, omitted []catalog.Omission, err error) {
	rows, err := conn.Query(ctx, `
		SELECT datname, datallowconn, datconnlimit = $1, pg_catalog.has_database_privilege(oid, 'CONNECT'), pg_catalog.quote_ident(CURRENT_USER),
		       `+UnfinishedComment+`
		  FROM pg_catalog.pg_database
		 ORDER BY datname`, invalidLimit)
	if err != nil {
		return nil, nil, fmt.Errorf("list the databases: %w", err)
	}
	var all []string
	var name, role, comment string
	var open, invalid, may bool
	_, err = pgx.ForEachRow(rows, []any{&name, &open, &invalid, &may, &role, &comment}, func() error {
		usual := name != "template0" && name != "template1" && !IsUnfinished(name, comment)
		name = Text(name)
		all = append(all, name)
		o := catalog.Omission{Database: name}
		switch {
		case len(s.Only) > 0 && !slices.Contains(s.Only, name), len(s.Only) == 0 && !usual:
			return nil
		case s.Excludes(name):
			o.Kind, o.Why = catalog.ExcludedDatabase, "it was excluded"
		case invalid:
			o.Kind, o.Why = catalog.InvalidDatabase, "it is what an interrupted DROP DATABASE left, and nobody can use it"
			o.Remedy = "DROP DATABASE " + Quote(name)
		case !open:
			o.Kind, o.Why = catalog.ClosedDatabase, "it allows no connections, so that nothing can dump it"
			o.Remedy = "ALTER DATABASE " + Quote(name) + " ALLOW_CONNECTIONS true, or --exclude-database if it may be lost"
		case !may:
			o.Kind, o.Why = catalog.RefusedDatabase, "the job's role has no CONNECT on it"
			o.Remedy = "GRANT CONNECT ON DATABASE " + Quote(name) + " TO " + role + ", or --exclude-database if it may be lost"
		default:
			names = append(names, name)
			return nil
		}
		if len(s.Only) > 0 && (invalid || !open) && o.Kind != catalog.ExcludedDatabase {
			o.Kind = catalog.FailedDatabase // somebody asked for it by its name
		}
		omitted = append(omitted, o)
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("list the databases: %w", err)
	}
	for _, want := range s.Only {
		if !slices.Contains(all, want) {
			return nil, nil, failure.New(failure.Config, "database %q does not exist on the server", want).
				WithHint("It has: %v.", all)
		}
		if s.Excludes(want) {
			return nil, nil, failure.New(failure.Config, "database %q is asked for and excluded", want).
				WithHint("Leave it out of --database, or out of --exclude-database.")
		}
	}
	return names, omitted, nil
}
