package sessions

import (
	"cmp"
	"slices"
)

const (
	// none is what stands for no wait, as in pg_reliability_backend_processes.
	none = "none"
	// starting is the state of a session that logs in.
	starting = "starting"
	// other is what has a name that no server of ours gives, or for which there was no room.
	other = "other"
	// maxSeries bounds the label sets whose events have a name. A server has more wait events than that, and one extension may
	// make as many as it likes.
	maxSeries = 150
	// maxName bounds a wait event's name.
	maxName = 63
)

// key is what sessions are counted by.
type key struct{ state, kind, event string }

// states and kinds are those of PostgreSQL 13 to 19.
func states() []string {
	return []string{"active", "disabled", "fastpath function call", "idle", "idle in transaction", "idle in transaction (aborted)", starting}
}

func kinds() []string {
	return []string{"Activity", "Buffer", "BufferPin", "Client", "Extension", "IO", "IPC", "InjectionPoint", "LWLock", "Lock", "Timeout"}
}

// keyOf makes a key of the server's words. A session that begins has no state before PostgreSQL 18.
func keyOf(state, kind, event string) key {
	k := key{cmp.Or(state, starting), cmp.Or(kind, none), cmp.Or(event, none)}
	if !slices.Contains(states(), k.state) {
		k.state = other
	}
	if k.kind != none && !slices.Contains(kinds(), k.kind) {
		k.kind, k.event = other, other
	}
	if !named(k.event) {
		k.event = other
	}
	return k
}

// named is whether a wait event has a name as servers give it: a word.
func named(event string) bool {
	for i := range len(event) {
		switch c := event[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_', i > 0 && c >= '0' && c <= '9':
		default:
			return false
		}
	}
	return event != "" && len(event) <= maxName
}

// counts of sessions that were seen, by key. At most maxSeries have a name of their own.
type counts map[key]uint64

func (c counts) add(groups []group) {
	for _, g := range groups {
		if _, known := c[g.key]; !known && len(c) >= maxSeries {
			g.key.event = other // of a state and a kind: as many as there are of these
		}
		c[g.key] += uint64(max(0, g.count)) //nolint:gosec // not negative
	}
}
