package probe

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

const (
	phaseDial  = "dial"
	phaseAuth  = "auth"
	phaseQuery = "query"

	namespace = "pg_reliability_"
)

// metrics of a prober. What the state knows is read from the published view at each collection; latencies
// and results are counted as they come.
type metrics struct {
	p        *Prober
	kinds    []Kind
	duration *prometheus.HistogramVec
	total    *prometheus.CounterVec
	lateness prometheus.Histogram
	d        descs
}

type descs struct {
	up, upReason, probeSuccess, probeReason, probeTime                   *prometheus.Desc
	outages, downtime, inProgress, lastStart, lastEnd, recovery, longest *prometheus.Desc
	stalls                                                               *prometheus.Desc
	restarts, lastRestart, observable, startTime, role                   *prometheus.Desc
	persistence, saveErrors, lastSave, setAside                          *prometheus.Desc
	sight                                                                *prometheus.Desc
	skew, skewUncertainty, certificate, chain                            *prometheus.Desc
}

func newMetrics(p *Prober, write bool) *metrics {
	m := &metrics{p: p, kinds: []Kind{Read, Login}, d: newDescs()}
	if write {
		m.kinds = append(m.kinds, Write)
	}
	m.duration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: namespace + "probe_duration_seconds",
		Help: "Time a probe spent in each phase it completed: dial (name and network), auth (until ready for a query), " +
			"query. A dial of the read probe is a login.",
		Buckets: []float64{
			0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
		},
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100,
		NativeHistogramMinResetDuration: time.Hour,
	}, []string{"probe", "phase"})
	m.total = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: namespace + "probe_total",
		Help: "Probes by result: ok, or the reason of the failure.",
	}, []string{"probe", "result"})
	m.lateness = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: namespace + "probe_lateness_seconds",
		Help: "How late the exporter noticed that a probe was due, or that a part of its timeout had passed. High values: the " +
			"exporter gets too little CPU. It does not call the server down for that, but sees less of it.",
		Buckets: []float64{0.01, 0.05, 0.25, 1, 5},
	})
	for _, k := range m.kinds {
		for _, r := range reasonsAndOK() {
			m.total.WithLabelValues(string(k), string(r))
		}
	}
	return m
}

func newDescs() descs {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return descs{
		up: desc("pg_up", "Whether the database takes reads and logins: 1, or 0 with the reason in "+
			"pg_reliability_up_reason. Absent before the first probe has ended."),
		upReason: desc(namespace+"up_reason", "1 for the reason of pg_up, ok when it is 1. unknown before the first probe "+
			"has ended, and when none has for too long.", "reason"),
		probeSuccess: desc(namespace+"probe_success", "Whether the newest probe succeeded. Absent before the first, "+
			"when that was too long ago, and for writes on a standby.", "probe"),
		probeReason: desc(namespace+"probe_reason", "1 for the reason of the newest probe, ok when it succeeded.", "probe", "reason"),
		probeTime:   desc(namespace+"probe_timestamp_seconds", "When the newest probe ended.", "probe"),
		outages: desc(namespace+"outages_total", "Outages by the reason they began with: reads or logins failed. "+
			"None is counted before the database was fit for use once. Survives restarts of the exporter.", "reason"),
		downtime: desc(namespace+"downtime_seconds_total", "Seconds of outages by the reason of each moment, "+
			"growing during an outage. Survives restarts of the exporter.", "reason"),
		stalls: desc(namespace+"stall_seconds_total", "Seconds of reads that took longer than --probe.stall-threshold and were answered "+
			"before --probe.timeout: the server stood still, and it was no outage. Survives restarts of the exporter."),
		inProgress: desc(namespace+"outage_in_progress_seconds", "How long the present outage has lasted; 0 without one."),
		lastStart:  desc(namespace+"last_outage_start_timestamp_seconds", "When the newest outage began."),
		lastEnd:    desc(namespace+"last_outage_end_timestamp_seconds", "When the newest outage that has ended did."),
		recovery: desc(namespace+"recovery_duration_seconds", "Lengths of outages that have ended. "+
			"Survives restarts of the exporter."),
		longest: desc(namespace+"longest_outage_seconds", "The longest outage that has ended."),
		restarts: desc(namespace+"restarts_total", "Restarts of the server by kind. A kind that can't be observed is absent. "+
			"Survives restarts of the exporter.", "kind"),
		lastRestart: desc(namespace+"last_restart_timestamp_seconds", "When the newest restart of each kind was.", "kind"),
		observable: desc(namespace+"restart_kind_observable", "Whether restarts of a kind can be told with what the server tells: "+
			"crashes need pg_monitor, container the container engine's word.", "kind"),
		startTime: desc("pg_postmaster_start_time_seconds", "When the server was started. Absent while it does not answer."),
		role: desc(namespace+"role", "1 for the server's role: primary or standby. "+
			"Absent while it does not answer.", "role"),
		sight: desc(namespace+"role_has_pg_monitor", "Whether the exporter's role has pg_monitor: without it values are incomplete. "+
			"Absent while the server does not answer."),
		skew: desc(namespace+"clock_skew_seconds", "How far the server's clock is ahead of the exporter's, negative when behind, "+
			"by the shortest round trip of the last minute. Absent while it does not answer."),
		skewUncertainty: desc(namespace+"clock_skew_uncertainty_seconds", "Half of that round trip: how far clock_skew may be off."),
		certificate: desc(namespace+"tls_certificate_expiry_timestamp_seconds", "When the certificate ends that the server showed "+
			"at the newest login. Absent without TLS."),
		chain: desc(namespace+"tls_chain_expiry_timestamp_seconds", "When the first of all certificates ends that the server showed "+
			"at the newest login. Absent without TLS."),
		persistence: desc(namespace+"state_persistence", "1 for how the state file fares: ok, loading (not read yet: the "+
			"counts are absent), off (no directory), "+
			"locked (another exporter uses it), failing.", "status"),
		saveErrors: desc(namespace+"state_save_errors_total", "Failures to read or save the state file."),
		lastSave:   desc(namespace+"state_last_save_timestamp_seconds", "When the state file was saved last."),
		setAside: desc(namespace+"state_set_aside_total", "State files found at the start that could not be used: "+
			"they were renamed, and counts began at 0.", "reason"),
	}
}

// Describe implements prometheus.Collector.
func (p *Prober) Describe(ch chan<- *prometheus.Desc) { p.metrics.describe(ch) }

// Collect implements prometheus.Collector. It never waits for a probe.
func (p *Prober) Collect(ch chan<- prometheus.Metric) { p.metrics.collect(ch) }

func (m *metrics) describe(ch chan<- *prometheus.Desc) {
	m.duration.Describe(ch)
	m.total.Describe(ch)
	m.lateness.Describe(ch)
	d := m.d
	for _, desc := range []*prometheus.Desc{
		d.up, d.upReason, d.probeSuccess, d.probeReason, d.probeTime,
		d.outages, d.downtime, d.stalls, d.inProgress, d.lastStart, d.lastEnd, d.recovery, d.longest,
		d.restarts, d.lastRestart, d.observable, d.startTime, d.role, d.sight,
		d.persistence, d.saveErrors, d.lastSave, d.setAside,
		d.skew, d.skewUncertainty, d.certificate, d.chain,
	} {
		ch <- desc
	}
}

func (m *metrics) collect(ch chan<- prometheus.Metric) {
	m.duration.Collect(ch)
	m.total.Collect(ch)
	m.lateness.Collect(ch)
	v := m.p.published.Load()
	out := sink{ch}
	m.collectProbes(out, v, time.Now())
	if v.Loaded { // what is not known is absent: 0 would be a reset
		m.collectOutages(out, v)
		m.collectRestarts(out, v)
	}
	m.collectServer(out, v)
	m.collectConnection(out, v)
	m.collectStore(out)
}

func (m *metrics) collectProbes(out sink, v *view, now time.Time) {
	verdict := v.Judge(now)
	if v.Known {
		out.gauge(m.d.up, number(verdict.Fit()))
	}
	states(out, m.d.upReason, append(reasonsAndOK(), ReasonUnknown), verdict.UpReason())
	for _, k := range m.kinds {
		r, ok := v.Probes[k]
		if !ok {
			continue
		}
		if _, stale := v.Stale(k, now); stale {
			out.time(m.d.probeTime, r.At, string(k))
			continue
		}
		out.gauge(m.d.probeSuccess, number(r.Reason == postgres.OK), string(k))
		states(out, m.d.probeReason, reasonsAndOK(), r.Reason, string(k))
		out.time(m.d.probeTime, r.At, string(k))
	}
}

func (m *metrics) collectOutages(out sink, v *view) {
	for _, r := range postgres.Reasons() {
		out.counter(m.d.outages, float64(v.outages.Count[r]), string(r))
		out.counter(m.d.downtime, v.outages.Seconds[r], string(r))
	}
	out.counter(m.d.stalls, v.Stalled.Seconds())
	out.gauge(m.d.inProgress, v.outages.lasted(time.Now()).Seconds())
	out.time(m.d.lastStart, v.outages.LastStart)
	out.time(m.d.lastEnd, v.outages.LastEnd)
	if v.outages.Recovery.Count > 0 {
		out.gauge(m.d.longest, v.outages.Longest)
	}
	out.ch <- prometheus.MustNewConstHistogram(m.d.recovery, v.outages.Recovery.Count, v.outages.Recovery.Sum, v.outages.Recovery.buckets())
}

func (m *metrics) collectRestarts(out sink, v *view) {
	for _, k := range RestartKinds() {
		observable, known := v.observable(k)
		if known {
			out.gauge(m.d.observable, number(observable), string(k))
		}
		// A kind that can be seen begins at 0, so that increase() sees its first event.
		if n := v.Restarts[k]; n > 0 || observable || !known && k != Crash {
			out.counter(m.d.restarts, float64(n), string(k))
		}
		out.time(m.d.lastRestart, v.LastRestart[k], string(k))
	}
}

func (m *metrics) collectServer(out sink, v *view) {
	if !v.Answers() {
		return
	}
	out.time(m.d.startTime, v.Server.StartTime)
	if v.Server.Sight != UnknownSight {
		out.gauge(m.d.sight, number(v.Server.Sight == FullSight))
	}
	if v.Server.Role != UnknownRole {
		states(out, m.d.role, []Role{Primary, Standby}, v.Server.Role)
	}
}

// collectConnection tells what a connection shows of the server. A certificate stays known while nobody can log in.
func (m *metrics) collectConnection(out sink, v *view) {
	if v.Answers() && !v.Server.Clock.IsZero() {
		out.gauge(m.d.skew, v.skew.Offset.Seconds())
		out.gauge(m.d.skewUncertainty, v.skew.Uncertainty.Seconds())
	}
	out.time(m.d.certificate, v.cert.NotAfter)
	out.time(m.d.chain, v.cert.ChainNotAfter)
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

func (m *metrics) collectStore(out sink) {
	s := m.p.store.read()
	states(out, m.d.persistence, []persistence{persistenceOK, persistenceLoading, persistenceOff, persistenceLocked, persistenceFailing}, s.persistence)
	out.counter(m.d.saveErrors, float64(s.saveErrors))
	out.time(m.d.lastSave, s.lastSave)
	for _, why := range []setAside{asideCorrupt, asideFutureVersion, asideOtherTarget} {
		out.counter(m.d.setAside, float64(s.aside[why]), string(why))
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

func (m *metrics) late(by time.Duration) { m.lateness.Observe(by.Seconds()) }

func (m *metrics) count(o Outcome) {
	if !o.Skipped {
		m.total.WithLabelValues(string(o.Kind), string(o.Reason)).Inc()
	}
}

func reasonsAndOK() []postgres.Reason {
	return append([]postgres.Reason{postgres.OK}, postgres.Reasons()...)
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
