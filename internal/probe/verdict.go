package probe

import (
	"fmt"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// Status is the state of the database in one word.
type Status string

const (
	// StatusUp: reads and logins succeed, and writes where they are probed.
	StatusUp Status = "up"
	// StatusDegraded: reads and logins succeed, the write probe fails.
	StatusDegraded Status = "degraded"
	// StatusDown: reads or logins fail: a user of the database who comes now is turned away, or gets no answer.
	StatusDown Status = "down"
	// StatusUnknown: no probe has reported yet, or none for too long.
	StatusUnknown Status = "unknown"
)

// ReasonUnknown stands beside the failures' reasons where the state is unknown.
const ReasonUnknown postgres.Reason = "unknown"

// Verdict is what a snapshot means at one moment.
type Verdict struct {
	Status Status
	// Reason is OK, ReasonUnknown, or why the status is what it is.
	Reason postgres.Reason
	// Since is when Reason began to hold; zero while unknown.
	Since time.Time
	// Message says it in a sentence.
	Message string
}

// Fit is whether the database takes reads and logins: pg_up, and what a load balancer asks for.
func (v Verdict) Fit() bool { return v.Status == StatusUp || v.Status == StatusDegraded }

// UpReason is pg_reliability_up_reason: why pg_up is not 1. Writes that fail don't count there.
func (v Verdict) UpReason() postgres.Reason {
	if v.Fit() {
		return postgres.OK
	}
	return v.Reason
}

// Judge is the only place that says whether the database is up: pg_up, pg_reliability_up_reason, the health endpoints, the
// page and /api/status all ask it. docs/up.md has its table.
func (s Snapshot) Judge(now time.Time) Verdict {
	v := Verdict{Status: StatusUnknown, Reason: ReasonUnknown}
	if !s.Known {
		v.Message = "no probe has reported yet"
		return v
	}
	for _, kind := range [...]Kind{Read, Login} {
		if age, stale := s.Stale(kind, now); stale {
			v.Message = fmt.Sprintf("the newest %s probe ended %s ago", kind, age.Round(time.Second))
			return v
		}
	}
	v.Reason, v.Since = s.Reason, s.Since
	if s.Reason != postgres.OK {
		v.Status = StatusDown
		v.Message = fmt.Sprintf("reads or logins fail: %s", s.Reason)
		return v
	}
	if w, failing := s.writeFails(); failing {
		v.Status, v.Reason, v.Since = StatusDegraded, w.Reason, w.Since
		v.Message = fmt.Sprintf("reads and logins succeed, writes fail: %s", w.Reason)
		return v
	}
	v.Status, v.Message = StatusUp, "reads and logins succeed"
	return v
}

// Stale is whether a probe has reported too long ago to be believed. One that is switched off is not stale.
func (s Snapshot) Stale(kind Kind, now time.Time) (age time.Duration, stale bool) {
	r, on := s.Probes[kind]
	limit, limited := s.MaxAge[kind]
	if !on || !limited {
		return 0, false
	}
	age = now.Sub(r.At)
	return age, age > limit
}

// writeFails is whether writes fail that should succeed: a standby's never do.
func (s Snapshot) writeFails() (Result, bool) {
	w, on := s.Probes[Write]
	if !on || w.At.IsZero() || w.Reason == postgres.OK {
		return w, false
	}
	return w, !(s.Server.Role == Standby && w.Reason == postgres.ReadOnly)
}

// maxAges are how old the newest report of each probe may be: three intervals and a timeout.
func (o Options) maxAges() map[Kind]time.Duration {
	return map[Kind]time.Duration{
		Read: 3*o.ReadInterval + o.ReadTimeout, Login: 3*o.CalmLoginInterval + o.LoginTimeout, Write: 3*o.WriteInterval + o.WriteTimeout,
	}
}
