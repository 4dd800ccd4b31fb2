package collector

import (
	"context"
	"maps"
	"strconv"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// databasesSQL lists the databases, the connection's own and templates apart, whether the role may connect, how many are connected, and how
// many sessions there have been so far, which servers before 14 do not know.
func databasesSQL(version int, countable bool) string {
	backends, sessions := "pg_catalog.pg_stat_get_db_numbackends(d.oid)", "pg_catalog.pg_stat_get_db_sessions(d.oid)"
	if version < 140000 || !countable {
		backends, sessions = "NULL", "NULL"
	}
	return `
SELECT d.datname, pg_catalog.has_database_privilege(d.oid, 'CONNECT'), ` + backends + ", " + sessions + `
  FROM pg_catalog.pg_database AS d
 WHERE d.datallowconn
   AND NOT d.datistemplate
   AND d.datconnlimit <> -2
   AND d.datname <> pg_catalog.current_database()
 ORDER BY d.datname`
}

// listDatabases notes new databases and forgets those that are gone, with their rows.
func (e *Engine) listDatabases(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, clientGrace)
	defer cancel()
	lease, err := e.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer lease.Release()
	rows, err := lease.Query(ctx, databasesSQL(lease.Version(), true))
	if postgres.ReasonOf(err) == postgres.Permission {
		rows, err = lease.Query(ctx, databasesSQL(lease.Version(), false))
	}
	if err != nil {
		return err
	}
	left := map[string]int{"excluded": 0, "denied": 0, "too_many": 0}
	there := map[string][]*string{}
	for _, r := range rows {
		switch {
		case len(r) != 4 || r[0] == nil || r[1] == nil:
		case !e.visits.options.wants(*r[0]):
			left["excluded"]++
		case *r[1] != "t":
			left["denied"]++
		case len(there) >= mostDatabases:
			left["too_many"]++
		default:
			there[*r[0]] = r[2:]
		}
	}
	v := &e.visits
	v.mu.Lock()
	if v.databases == nil {
		v.databases = map[string]*visited{}
	}
	now := time.Now()
	for name, use := range there {
		if v.databases[name] == nil {
			v.databases[name] = &visited{name: name, since: now, others: now, errors: map[postgres.Reason]uint64{}}
		}
		v.databases[name].used(now, use)
	}
	maps.DeleteFunc(v.databases, func(name string, _ *visited) bool { return there[name] == nil })
	v.left = left
	v.mu.Unlock()
	for _, u := range e.units(Selection{}) {
		u.mu.Lock()
		maps.DeleteFunc(u.apart, func(name string, _ portion) bool { return there[name] == nil })
		u.mu.Unlock()
	}
	return nil
}

// used takes how many are connected, and how many sessions there have been: where neither tells of others, nobody has changed anything
// since the newest visit but autovacuum.
func (v *visited) used(now time.Time, use []*string) {
	sessions := int64(-1)
	if backends, count := use[0], use[1]; backends != nil && *backends == "0" && count != nil {
		if n, err := strconv.ParseInt(*count, 10, 64); err == nil {
			sessions = n
		}
	}
	if sessions < 0 || sessions != v.sessions {
		v.sessions, v.others = sessions, now
	}
}
