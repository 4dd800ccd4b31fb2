package web

import (
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
)

// Prober tells the database's state; *probe.Prober is one.
type Prober interface {
	Snapshot() probe.Snapshot
}

// probeOrder is the order of checks in every answer.
var probeOrder = [...]probe.Kind{probe.Read, probe.Login, probe.Write}

// health judges the prober's newest snapshot. It asks the server nothing.
type health struct {
	prober Prober
	now    func() time.Time
}

// verdict is what one snapshot means at one moment.
type verdict struct {
	probe.Verdict
	snapshot probe.Snapshot
}

func (h *health) judge() verdict {
	s := h.prober.Snapshot()
	return verdict{Verdict: s.Judge(h.now()), snapshot: s}
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
		if _, stale := s.Stale(kind, h.now()); stale {
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
	case postgres.Refused, postgres.Timeout, postgres.DNS, postgres.TLS, postgres.Protocol, postgres.Other:
		return false
	}
	return true
}
