package probe

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/sessions"
)

const (
	phaseDial  = "dial"
	phaseAuth  = "auth"
	phaseQuery = "query"
)

// The prober's metrics.
var (
	declared metric.List

	descUp = declared.Gauge("pg_up", "Whether the database takes reads and logins: 1, or 0 with the reason in "+
		"pg_reliability_up_reason. Absent before the first probe has ended.")
	descUpReason = declared.Gauge("pg_reliability_up_reason", "1 for the reason of pg_up, ok when it is 1. unknown before the first probe "+
		"has ended, and when none has for too long.", "reason")
	descProbeSuccess = declared.Gauge("pg_reliability_probe_success", "Whether the newest probe succeeded. Absent before the first, "+
		"when that was too long ago, and for writes on a standby.", "probe")
	descProbeReason = declared.Gauge("pg_reliability_probe_reason", "1 for the reason of the newest probe, ok when it succeeded.",
		"probe", "reason")
	descProbeTime     = declared.Gauge("pg_reliability_probe_timestamp_seconds", "When the newest probe ended.", "probe")
	descProbeDuration = declared.Histogram("pg_reliability_probe_duration_seconds", "Time a probe spent in each phase it completed: dial "+
		"(name and network), auth (until ready for a query), query. A dial of the read probe is a login.", "probe", "phase")
	descProbeTotal = declared.Counter("pg_reliability_probe_total", "Probes by result: ok, or the reason of the failure.", "probe",
		"result")
	descProbeLateness = declared.Histogram("pg_reliability_probe_lateness_seconds", "How late the exporter noticed that a probe was due, or "+
		"that a part of its timeout had passed. High values: the exporter gets too little CPU. It does not call the server down for that, "+
		"but sees less of it.")
	descOutages = declared.Counter("pg_reliability_outages_total", "Outages by the reason they began with: reads or logins failed. "+
		"None is counted before the database was fit for use once. Survives restarts of the exporter.", "reason")
	descDowntime = declared.Counter("pg_reliability_downtime_seconds_total", "Seconds of outages by the reason of each moment, "+
		"growing during an outage. Survives restarts of the exporter.", "reason")
	descStalls = declared.Counter("pg_reliability_stall_seconds_total", "Seconds in which a read or a sign of life took longer than "+
		"--probe.stall-threshold "+
		"and was answered before --probe.timeout: the server stood still, and it was no outage. Survives restarts of the exporter.")
	descOutageInProgress = declared.Gauge("pg_reliability_outage_in_progress_seconds",
		"How long the present outage has lasted; 0 without one.")
	descLastOutageStart = declared.Gauge("pg_reliability_last_outage_start_timestamp_seconds", "When the newest outage began.")
	descLastOutageEnd   = declared.Gauge("pg_reliability_last_outage_end_timestamp_seconds", "When the newest outage that has ended did.")
	descRecovery        = declared.Histogram("pg_reliability_recovery_duration_seconds", "Lengths of outages that have ended. "+
		"Survives restarts of the exporter.")
	descLongestOutage = declared.Gauge("pg_reliability_longest_outage_seconds", "The longest outage that has ended.")
	descRestarts      = declared.Counter("pg_reliability_restarts_total", "Restarts of the server by kind. A kind that can't be observed is "+
		"absent. Survives restarts of the exporter.", "kind")
	descLastRestart = declared.Gauge("pg_reliability_last_restart_timestamp_seconds", "When the newest restart of each kind was.", "kind")
	descObservable  = declared.Gauge("pg_reliability_restart_kind_observable", "Whether restarts of a kind can be told with what the server "+
		"tells: crashes need pg_monitor, container the container engine's word.", "kind")
	descStartTime = declared.Gauge("pg_postmaster_start_time_seconds", "When the server was started. Absent while it does not answer.")
	descRole      = declared.Gauge("pg_reliability_role", "1 for the server's role: primary or standby. Absent while it does not answer.",
		"role")
	descSight = declared.Gauge("pg_reliability_role_has_pg_monitor", "Whether the exporter's role has pg_monitor: without it values are "+
		"incomplete. Absent while the server does not answer.")
	descClockSkew = declared.Gauge("pg_reliability_clock_skew_seconds", "How far the server's clock is ahead of the exporter's, "+
		"negative when "+
		"behind, by the shortest round trip of the last minute. Absent while it does not answer.")
	descClockSkewUncertainty = declared.Gauge("pg_reliability_clock_skew_uncertainty_seconds",
		"Half of that round trip: how far clock_skew may be off.")
	descCertificateExpiry = declared.Gauge("pg_reliability_tls_certificate_expiry_timestamp_seconds", "When the certificate ends that the "+
		"server showed at the newest login. Absent without TLS.")
	descChainExpiry = declared.Gauge("pg_reliability_tls_chain_expiry_timestamp_seconds", "When the first of all certificates ends that the "+
		"server showed at the newest login. Absent without TLS.")
	descStatePersistence = declared.Gauge("pg_reliability_state_persistence", "1 for how the state file fares: ok, loading (not read "+
		"yet: the "+
		"counts are absent), off (no directory), locked (another exporter uses it), failing.", "status")
	descStateSaveErrors = declared.Counter("pg_reliability_state_save_errors_total", "Failures to read or save the state file.")
	descStateLastSave   = declared.Gauge("pg_reliability_state_last_save_timestamp_seconds", "When the state file was saved last.")
	descStateSetAside   = declared.Counter("pg_reliability_state_set_aside_total", "State files found at the start that could not be used: "+
		"they were renamed, and counts began at 0.", "reason")
)

// Declared lists the prober's metrics.
func Declared() []*metric.Desc { return declared }

// metrics of a prober. What the state knows is read from the published view at each collection; latencies
// and results are counted as they come.
type metrics struct {
	p        *Prober
	kinds    []Kind
	duration *prometheus.HistogramVec
	total    *prometheus.CounterVec
	lateness *prometheus.HistogramVec
}

func newMetrics(p *Prober, write bool) *metrics {
	m := &metrics{p: p, kinds: []Kind{Read, Login}, total: descProbeTotal.CounterVec()}
	if write {
		m.kinds = append(m.kinds, Write)
	}
	m.duration = descProbeDuration.HistogramVec(prometheus.HistogramOpts{
		Buckets: []float64{
			0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
		},
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100,
		NativeHistogramMinResetDuration: time.Hour,
	})
	m.lateness = descProbeLateness.HistogramVec(prometheus.HistogramOpts{Buckets: []float64{0.01, 0.05, 0.25, 1, 5}})
	m.lateness.WithLabelValues()
	for _, k := range m.kinds {
		for _, r := range reasonsAndOK() {
			m.total.WithLabelValues(string(k), string(r))
		}
	}
	return m
}

// Metrics are for the registry. They never wait for a probe.
func (p *Prober) Metrics() prometheus.Collector {
	m := p.metrics
	return metric.NewCollector(slices.Concat(declared, sessions.Declared()), m.fill, m.duration, m.total, m.lateness)
}

func (m *metrics) fill(out *metric.Sink) {
	v := m.p.published.Load()
	m.collectProbes(out, v, time.Now())
	if v.Loaded { // what is not known is absent: 0 would be a reset
		m.collectOutages(out, v)
		m.collectRestarts(out, v)
	}
	m.collectServer(out, v)
	m.collectConnection(out, v)
	m.collectStore(out)
	m.p.sessions.Fill(out)
}

func (m *metrics) collectProbes(out *metric.Sink, v *view, now time.Time) {
	verdict := v.Judge(now)
	if v.Known {
		out.Bool(descUp, verdict.Fit())
	}
	metric.OneOf(out, descUpReason, append(reasonsAndOK(), ReasonUnknown), verdict.UpReason())
	for _, k := range m.kinds {
		r, ok := v.Probes[k]
		if !ok {
			continue
		}
		if _, stale := v.Stale(k, now); stale {
			out.Time(descProbeTime, r.At, string(k))
			continue
		}
		out.Bool(descProbeSuccess, r.Reason == postgres.OK, string(k))
		metric.OneOf(out, descProbeReason, reasonsAndOK(), r.Reason, string(k))
		out.Time(descProbeTime, r.At, string(k))
	}
}

func (m *metrics) collectOutages(out *metric.Sink, v *view) {
	for _, r := range postgres.Reasons() {
		out.Add(descOutages, float64(v.outages.Count[r]), string(r))
		out.Add(descDowntime, v.outages.Seconds[r], string(r))
	}
	out.Add(descStalls, v.Stalled.Seconds())
	out.Add(descOutageInProgress, v.outages.lasted(time.Now()).Seconds())
	out.Time(descLastOutageStart, v.outages.LastStart)
	out.Time(descLastOutageEnd, v.outages.LastEnd)
	if v.outages.Recovery.Count > 0 {
		out.Add(descLongestOutage, v.outages.Longest)
	}
	out.Histogram(descRecovery, v.outages.Recovery.Count, v.outages.Recovery.Sum, v.outages.Recovery.buckets())
}

func (m *metrics) collectRestarts(out *metric.Sink, v *view) {
	for _, k := range RestartKinds() {
		observable, known := v.observable(k)
		if known {
			out.Bool(descObservable, observable, string(k))
		}
		// A kind that can be seen begins at 0, so that increase() sees its first event.
		if n := v.Restarts[k]; n > 0 || observable || !known && k != Crash {
			out.Add(descRestarts, float64(n), string(k))
		}
		out.Time(descLastRestart, v.LastRestart[k], string(k))
	}
}

func (m *metrics) collectServer(out *metric.Sink, v *view) {
	if !v.Answers() {
		return
	}
	out.Time(descStartTime, v.Server.StartTime)
	if v.Server.Sight != UnknownSight {
		out.Bool(descSight, v.Server.Sight == FullSight)
	}
	if v.Server.Role != UnknownRole {
		metric.OneOf(out, descRole, []Role{Primary, Standby}, v.Server.Role)
	}
}

// collectConnection tells what a connection shows of the server. A certificate stays known while nobody can log in.
func (m *metrics) collectConnection(out *metric.Sink, v *view) {
	if v.Answers() && !v.Server.Clock.IsZero() {
		out.Add(descClockSkew, v.skew.Offset.Seconds())
		out.Add(descClockSkewUncertainty, v.skew.Uncertainty.Seconds())
	}
	out.Time(descCertificateExpiry, v.cert.NotAfter)
	out.Time(descChainExpiry, v.cert.ChainNotAfter)
}

// observable says whether a kind of restart can be told. Nothing is known before the server has answered.
func (v *view) observable(k RestartKind) (observable, known bool) {
	s := v.Server
	switch k {
	case Container:
		return v.container, true
	case Restart:
		return !s.StartTime.IsZero(), v.met
	case Crash:
		return !s.CheckpointerStart.IsZero(), v.met
	case Failover:
		return s.SystemIdentifier != "", v.met
	default: // promotion, demotion
		return s.Role != UnknownRole, v.met
	}
}

func (m *metrics) collectStore(out *metric.Sink) {
	s := m.p.store.read()
	metric.OneOf(out, descStatePersistence, []persistence{persistenceOK, persistenceLoading, persistenceOff, persistenceLocked,
		persistenceFailing}, s.persistence)
	out.Add(descStateSaveErrors, float64(s.saveErrors))
	out.Time(descStateLastSave, s.lastSave)
	for _, why := range []setAside{asideCorrupt, asideFutureVersion, asideOtherTarget} {
		out.Add(descStateSetAside, float64(s.aside[why]), string(why))
	}
}

// phases of a connect.
func (m *metrics) phases(k Kind, p postgres.Phases) {
	m.phase(k, phaseDial, p.Dial)
	m.phase(k, phaseAuth, p.Auth)
}

func (m *metrics) phase(k Kind, phase string, d time.Duration) {
	m.duration.WithLabelValues(string(k), phase).Observe(d.Seconds())
}

func (m *metrics) late(by time.Duration) { m.lateness.WithLabelValues().Observe(by.Seconds()) }

func (m *metrics) count(o Outcome) {
	if !o.Skipped {
		m.total.WithLabelValues(string(o.Kind), string(o.Reason)).Inc()
	}
}

func reasonsAndOK() []postgres.Reason {
	return append([]postgres.Reason{postgres.OK}, postgres.Reasons()...)
}
