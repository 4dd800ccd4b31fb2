package collector

import (
	"maps"
	"slices"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/collector/definition"
	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

const (
	// ownDatabase stands for the connection's database among those that are visited.
	ownDatabase = ""
	// atLeast rows has each database of a server, however many share a collector's limit.
	atLeast = 1
	// perVisit is what visits are apart on average at the least: with more databases than that, their intervals grow. A visit is a login and a
	// dozen queries that the server plans anew.
	perVisit = time.Second
)

// asked is the limit that a query had, and how many rows came. The zero value is that it was not asked.
type asked struct{ top, rows int }

// full is whether there may be more rows than came.
func (a asked) full() bool { return a.top == 0 || a.rows >= a.top }

// portion is what one database that is visited has for a collector.
type portion struct {
	asked
	samples *metric.Batch
	want    int64         // as of queryUnit
	at      time.Time     // the newest run that succeeded began
	every   time.Duration // the longest that it may be until the next
	failed  bool          // the newest run
	// next is when it is to run again, and calm when nobody was there but us.
	next, calm time.Time
}

// share is the limit of a collector's rows in one database: what the databases that have few rows leave of the whole, divided by the
// others, so that the size of a page does not grow with the number of databases. What is of the whole server is asked once, and has it all.
func (e *Engine) share(u *queryUnit, database string) int {
	if u.def.Top == 0 || u.def.Scope == definition.ScopeCluster {
		return u.def.Top
	}
	if u.def.TopOf != "" {
		for _, other := range e.units(Selection{}) {
			if other.def.Name == u.def.TopOf {
				u = other
			}
		}
	}
	if u.def.Top == 0 {
		return 0
	}
	names := e.visits.names()
	u.mu.Lock()
	defer u.mu.Unlock()
	left, sharers := u.def.Top, 1
	for _, name := range append(names, ownDatabase) {
		a := u.apart[name].asked
		if name == ownDatabase {
			a = u.asked
		}
		switch {
		case name == database:
		case a.full():
			sharers++
		default:
			left -= a.rows
		}
	}
	return min(max(left/sharers, atLeast), u.def.Top)
}

// freshApart is the rows of the databases that are visited, without those that are too old to be shown.
func (u *queryUnit) freshApart(now time.Time) []*metric.Batch {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := make([]*metric.Batch, 0, len(u.apart)+1)
	for _, name := range slices.Sorted(maps.Keys(u.apart)) {
		if p := u.apart[name]; !tooOld(now.Sub(p.at), p.every) {
			out = append(out, p.samples)
		}
	}
	return out
}
