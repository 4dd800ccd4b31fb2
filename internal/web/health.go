package web

import (
	"fmt"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
)

// Prober tells the database's state; *probe.Prober is one.
type Prober interface {
	Snapshot() probe.Snapshot
}

// Words for the state of the database.
const (
	// statusUp: reads and logins succeed, and writes where they are probed.
	statusUp = "up"
	// statusDegraded: reads and logins succeed, the write probe fails.
	statusDegraded = "degraded"
	// statusDown: reads or logins fail. This is an outage.
	statusDown = "down"
	// statusUnknown: no probe has reported yet, or none for too long.
	statusUnknown = "unknown"
)

// reasonUnknown stands beside the prober's reasons where the state is unknown.
const reasonUnknown = "unknown"

// probeOrder is the order of checks in every answer.
var probeOrder = [...]probe.Kind{probe.Read, probe.Login, probe.Write}

// health judges the prober's newest snapshot. It asks the server nothing.
type health struct {
	prober Prober
	maxAge map[probe.Kind]time.Duration
	now    func() time.Time
}

// verdict is what one snapshot means at one moment.
type verdict struct {
	snapshot probe.Snapshot
	status   string
	reason   string
	since    time.Time // zero while unknown
	message  string    // the status in a sentence
}

// fit is whether the database takes reads and logins.
func (v verdict) fit() bool { return v.status == statusUp || v.status == statusDegraded }

func (h *health) judge() verdict {
	s := h.prober.Snapshot()
	v := verdict{snapshot: s, status: statusUnknown, reason: reasonUnknown}
	if !s.Known {
		v.message = "no probe has reported yet"
		return v
	}
	for _, kind := range [...]probe.Kind{probe.Read, probe.Login} {
		if age, stale := h.stale(s, kind); stale {
			v.message = fmt.Sprintf("the newest %s probe ended %s ago", kind, age.Round(time.Second))
			return v
		}
	}
	v.reason, v.since = string(s.Reason), s.Since
	if s.Reason != postgres.OK {
		v.status = statusDown
		v.message = fmt.Sprintf("reads or logins fail: %s", s.Reason)
		return v
	}
	if w, failing := writeFails(s); failing {
		v.status, v.reason, v.since = statusDegraded, string(w.Reason), w.Since
		v.message = fmt.Sprintf("reads and logins succeed, writes fail: %s", w.Reason)
		return v
	}
	v.status, v.message = statusUp, "reads and logins succeed"
	return v
}

// stale is whether a probe has reported too long ago to be believed. One that is switched off is not stale.
func (h *health) stale(s probe.Snapshot, kind probe.Kind) (time.Duration, bool) {
	r, on := s.Probes[kind]
	limit, limited := h.maxAge[kind]
	if !on || !limited {
		return 0, false
	}
	age := h.now().Sub(r.At)
	return age, age > limit
}

// writeFails is whether writes fail that should succeed: a standby's never do.
func writeFails(s probe.Snapshot) (probe.Result, bool) {
	w, on := s.Probes[probe.Write]
	if !on || w.At.IsZero() || w.Reason == postgres.OK {
		return w, false
	}
	return w, !(s.Server.Role == probe.Standby && w.Reason == postgres.ReadOnly)
}

// alive is whether the database's processes answer, even if only to say no. An answer given before the read probe
// began to fail proves nothing now.
func (h *health) alive(s probe.Snapshot) bool {
	read := s.Probes[probe.Read]
	for _, kind := range probeOrder {
		r, on := s.Probes[kind]
		if !on || r.At.IsZero() || !answered(r.Reason) {
			continue
		}
		if _, stale := h.stale(s, kind); stale {
			continue
		}
		if kind == probe.Read || answered(read.Reason) || !r.At.Before(read.Since) {
			return true
		}
	}
	return false
}

// answered is whether a probe that ended so had an answer from PostgreSQL.
func answered(r postgres.Reason) bool {
	switch r {
	case postgres.Refused, postgres.Timeout, postgres.DNS, postgres.TLS, postgres.Other:
		return false
	}
	return true
}
