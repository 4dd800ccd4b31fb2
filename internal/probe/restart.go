package probe

import (
	"cmp"
	"slices"
	"time"
)

// RestartKind is how a server came to be another one than before.
type RestartKind string

const (
	// Restart: the postmaster was started anew.
	Restart RestartKind = "restart"
	// Crash: a backend died, and the postmaster threw out all sessions and recovered.
	Crash RestartKind = "crash"
	// Failover: the address leads to another server.
	Failover RestartKind = "failover"
	// Promotion: a standby became a primary.
	Promotion RestartKind = "promotion"
	// Demotion: a primary became a standby.
	Demotion RestartKind = "demotion"
	// Container: the container engine started the database's container again.
	Container RestartKind = "container"
)

// RestartKinds lists every kind.
func RestartKinds() []RestartKind {
	return []RestartKind{Restart, Crash, Failover, Promotion, Demotion, Container}
}

// identity is what restarts are told by: of each fact the last that was known. Zero is unknown, and
// unknown never counts as a change. All times are UTC and without a monotonic part, fit for ==.
type identity struct {
	Role              Role      `json:"role,omitempty"`
	StartTime         time.Time `json:"start_time,omitzero"`
	CheckpointerStart time.Time `json:"checkpointer_start,omitzero"`
	SystemIdentifier  string    `json:"system_identifier,omitempty"`
	Timeline          int64     `json:"timeline,omitempty"`
	Address           string    `json:"address,omitempty"`
}

func identityOf(s Server) identity {
	return identity{
		Role: s.Role, StartTime: s.StartTime, CheckpointerStart: s.CheckpointerStart,
		SystemIdentifier: s.SystemIdentifier, Timeline: s.Timeline, Address: s.Address,
	}
}

// changes names what happened between two answers. The server is asked first whether it is another one:
// a failover moves the start time too.
func (was identity) changes(is identity) []RestartKind {
	var (
		anotherCluster = differ(was.SystemIdentifier, is.SystemIdentifier)
		moved          = differ(was.StartTime, is.StartTime)
		sameStart      = !was.StartTime.IsZero() && was.StartTime.Equal(is.StartTime)
		anotherAddress = differ(was.Address, is.Address)
		changedRole    = roleChange(was.Role, is.Role)
	)
	switch {
	case anotherCluster:
		return []RestartKind{Failover}
	case !sameStart && anotherAddress && changedRole != "":
		return []RestartKind{Failover}
	case moved && was.Role == Primary && is.Role == Primary && differ(was.Timeline, is.Timeline):
		// Another address is no sign here: a container made anew gets one. A server that is
		// only restarted keeps its timeline, one that was promoted (or recovered to a point in time) has its own.
		return []RestartKind{Failover}
	case moved && was.Role == Standby && is.Role == Standby && anotherAddress:
		return []RestartKind{Failover}
	}
	var kinds []RestartKind
	if moved {
		kinds = append(kinds, Restart)
	}
	if sameStart && differ(was.CheckpointerStart, is.CheckpointerStart) {
		kinds = append(kinds, Crash)
	}
	if changedRole != "" {
		kinds = append(kinds, changedRole)
	}
	return kinds
}

// began is whether a server that answers now has started since the one before was asked, or is another.
func (was identity) began(is identity) bool {
	return slices.ContainsFunc(was.changes(is), func(k RestartKind) bool { return k == Restart || k == Crash || k == Failover })
}

func roleChange(was, is Role) RestartKind {
	switch {
	case was == Standby && is == Primary:
		return Promotion
	case was == Primary && is == Standby:
		return Demotion
	}
	return ""
}

// differ is false while either is unknown.
func differ[T comparable](a, b T) bool {
	var unknown T
	return a != unknown && b != unknown && a != b
}

// merge keeps what was known where the newer answer is silent, but nothing of another server or of an
// earlier start: its checkpointer would pass for a crash.
func (was identity) merge(is identity) identity {
	if differ(was.SystemIdentifier, is.SystemIdentifier) || differ(was.StartTime, is.StartTime) {
		return is
	}
	return identity{
		Role:              cmp.Or(is.Role, was.Role),
		StartTime:         cmp.Or(is.StartTime, was.StartTime),
		CheckpointerStart: cmp.Or(is.CheckpointerStart, was.CheckpointerStart),
		SystemIdentifier:  cmp.Or(is.SystemIdentifier, was.SystemIdentifier),
		Timeline:          cmp.Or(is.Timeline, was.Timeline),
		Address:           cmp.Or(is.Address, was.Address),
	}
}

// at is when a change happened, as well as it is known: the server's own word, else when it was seen.
func (is identity) at(k RestartKind, seen time.Time) time.Time {
	switch {
	case k == Restart && !is.StartTime.IsZero():
		return is.StartTime
	case k == Crash && !is.CheckpointerStart.IsZero():
		return is.CheckpointerStart
	}
	return seen
}
