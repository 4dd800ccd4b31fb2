package collector

import (
	"context"
	"errors"
	"slices"

	"github.com/pg-reliability/pg_reliability_exporter/collector/definition"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
)

// facts are what the queries depend on in one database.
type facts struct {
	extensions map[string]definition.Extension // nil until known
	denied     map[string]bool                 // functions that the role may not call; nil until known
}

// query is a definition's SQL where these facts hold, and the functions it does without; or why it does not apply.
func (f facts) query(d *definition.Definition, version, top int, role probe.Role) (sql string, without []string, why string) {
	sql, ok := d.SQLWithTop(version, top)
	plain := sql
	sql, usable := d.Requires.WithExtension(sql, f.extensions)
	sql, without = d.OptionalFor(version).Without(sql, f.denied)
	if sql != plain {
		sql = d.Shared(sql)
	}
	switch need := d.Requires; {
	case !ok:
		why = "version"
	case need.Role != "" && role != probe.UnknownRole && need.Role != string(role):
		why = "role"
	case !usable:
		why = "extension"
	}
	return sql, without, why
}

// readFacts reads them of the connection's database.
func (e *Engine) readFacts(ctx context.Context) error {
	extensions, functions := needs(e.units(Selection{}))
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
	f, err := factsOf(ctx, lease.Session, extensions, functions)
	if err != nil {
		return err
	}
	e.mu.Lock()
	e.extensions, e.denied, e.askRights = f.extensions, f.denied, false
	e.mu.Unlock()
	return nil
}

// factsOf asks a session for what is needed.
func factsOf(ctx context.Context, session *postgres.Session, extensions bool, functions []string) (facts, error) {
	f := facts{extensions: map[string]definition.Extension{}, denied: map[string]bool{}}
	if extensions {
		rows, err := session.Query(ctx, definition.InstalledSQL)
		if err != nil {
			return facts{}, err
		}
		for _, r := range rows {
			if len(r) != 3 || slices.Contains(r, nil) {
				return facts{}, errors.New("pg_extension has rows without a name")
			}
			f.extensions[*r[0]] = definition.Extension{Schema: *r[1], Version: *r[2]}
		}
	}
	if len(functions) > 0 {
		rows, err := session.Query(ctx, definition.DeniedSQL(functions))
		if err != nil {
			return facts{}, err
		}
		for _, r := range rows {
			if len(r) == 1 && r[0] != nil && slices.Contains(functions, *r[0]) {
				f.denied[*r[0]] = true
			}
		}
	}
	return f, nil
}

// needs says whether a collector requires an extension, and lists the functions that collectors can do without.
func needs(units []*queryUnit) (extensions bool, functions []string) {
	for _, u := range units {
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

// wantRights makes the background worker ask anew what the role may do: something was denied.
func (e *Engine) wantRights() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.askRights {
		e.askRights = true
		e.poke()
	}
}

func (e *Engine) rightsWanted() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.askRights
}
