// Package sessions knows what a server's sessions do: a sample with each read of the prober, counts of what was seen in them, the
// last five minutes in memory, and a closer look where somebody waits. It is all told by the server, and so bounded where it comes in.
package sessions

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Sample is what the sessions of clients did at a moment.
type Sample struct {
	At time.Time `json:"at"`
	// Used are connections of clients, of at most Max.
	Used              int `json:"used"`
	Max               int `json:"max,omitempty"`
	Active            int `json:"active"`
	IdleInTransaction int `json:"idle_in_transaction"`
	// Blocked wait for a lock that another session holds.
	Blocked int `json:"blocked"`
	// OldestSeconds is how long the oldest transaction has been open.
	OldestSeconds float64 `json:"oldest_seconds,omitempty"`
	// Waits are what active sessions waited for, those of the most sessions first.
	Waits []Wait `json:"waits,omitempty"`
	// ByUser are used connections by user, of the users with the most; known while connections are scarce.
	ByUser map[string]int `json:"by_user,omitempty"`
	// Blockers are the roots of blocking trees: who is waited for, and waits for nobody.
	Blockers []Blocker `json:"blockers,omitempty"`
}

// Wait is how many sessions waited for something, such as Lock:transactionid; none is those that did not wait.
type Wait struct {
	Event    string `json:"event"`
	Sessions int    `json:"sessions"`
}

// Blocker is a session that others wait for.
type Blocker struct {
	PID         int    `json:"pid"`
	User        string `json:"user,omitempty"`
	Application string `json:"application,omitempty"`
	State       string `json:"state,omitempty"`
	// Seconds its transaction is old.
	Seconds float64 `json:"seconds"`
	// Wait is what it waits for itself, such as Client:ClientRead; empty where it does not.
	Wait string `json:"wait,omitempty"`
	// Blocks is how many sessions wait for it, also those that wait for one that does. Logins of them are not logged in yet, and Ours
	// are the exporter's own.
	Blocks int `json:"blocks"`
	Logins int `json:"logins,omitempty"`
	Ours   int `json:"ours,omitempty"`
	// Statement is masked, unless it is to be shown.
	Statement string `json:"statement,omitempty"`
}

// SQL asks for a sample, of PostgreSQL 13 to 19: shared memory through one function, no relation, hence no lock that a user could
// hold. One row for each state and wait event, those of the most sessions first.
const SQL = `SELECT a.state, a.wait_event_type, a.wait_event, count(*),
       count(*) FILTER (WHERE a.backend_type = 'client backend'),
       extract(epoch FROM pg_catalog.clock_timestamp() - min(a.xact_start))::pg_catalog.float8,
       (SELECT pg_catalog.current_setting('max_connections'))
  FROM pg_catalog.pg_stat_get_activity(NULL) AS a
 WHERE a.backend_type IN ('client backend', 'parallel worker') AND a.pid <> pg_catalog.pg_backend_pid()
 GROUP BY 1, 2, 3
 ORDER BY 4 DESC
 LIMIT 200`

const (
	columns = 7
	// MaxRows and MaxBytes are more than an honest answer has.
	MaxRows  = 200
	MaxBytes = 64 << 10
	// maxCount is more sessions than a server can have.
	maxCount = 1 << 18
	// maxAge is more seconds than a transaction can be old: ten years.
	maxAge = 10 * 365 * 24 * 3600
	// keptWaits of a sample.
	keptWaits = 6
)

// group is a row of the answer.
type group struct {
	key   key
	count int
}

// parse reads the answer. Its own session is one of those in use.
func parse(at time.Time, rows [][]*string) (s Sample, groups []group, err error) {
	s = Sample{At: at.UTC(), Used: 1}
	if len(rows) > MaxRows {
		return s, nil, fmt.Errorf("the sample of sessions has %d rows, more than the %d that were asked for", len(rows), MaxRows)
	}
	for _, row := range rows {
		if len(row) != columns {
			return s, nil, fmt.Errorf("a row of the sample of sessions has %d columns, not %d", len(row), columns)
		}
		n, err1 := number(row[3], maxCount)
		clients, err2 := number(row[4], maxCount)
		age, err3 := number(row[5], maxAge)
		most, err4 := number(row[6], maxCount)
		if err := cmp.Or(err1, err2, err3, err4); err != nil {
			return s, nil, fmt.Errorf("read the sample of sessions: %w", err)
		}
		g := group{keyOf(text(row[0]), text(row[1]), text(row[2])), int(n)}
		groups = append(groups, g)
		s.Used, s.Max, s.OldestSeconds = s.Used+int(clients), int(most), max(s.OldestSeconds, age)
		if g.key.kind == "Lock" {
			s.Blocked += g.count
		}
		switch g.key.state {
		case "active", "fastpath function call":
			s.Active += g.count
		case "idle in transaction", "idle in transaction (aborted)":
			s.IdleInTransaction += g.count
		}
	}
	return s, groups, nil
}

// waits are what the active sessions of a sample waited for.
func waits(groups []group) (out []Wait) {
	for _, g := range groups {
		if g.key.state != "active" {
			continue
		}
		event := g.key.event
		if event != none {
			event = g.key.kind + ":" + g.key.event
		}
		if i := slices.IndexFunc(out, func(w Wait) bool { return w.Event == event }); i >= 0 {
			out[i].Sessions += g.count
		} else {
			out = append(out, Wait{event, g.count})
		}
	}
	slices.SortStableFunc(out, func(a, b Wait) int { return b.Sessions - a.Sessions })
	return slices.Clip(out[:min(len(out), keptWaits)])
}

func text(v *string) string {
	if v == nil {
		return ""
	}
	return *v
}

// number reads one from 0 to most; NULL is 0.
func number(v *string, most float64) (float64, error) {
	if v == nil {
		return 0, nil
	}
	n, err := strconv.ParseFloat(*v, 64)
	if err != nil {
		return 0, fmt.Errorf("%.40q is no number", *v)
	}
	if !(n > 0) { // clocks step back, and NaN is nothing
		return 0, nil
	}
	return min(n, most), nil
}
