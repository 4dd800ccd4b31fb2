package collector

import (
	"maps"
	"slices"
	"time"
)

// oneCollection is how old live data is at the most where the page did not join a collection that had been under way for long.
const oneCollection = time.Second

// engineDescs are what the engine tells of itself, for each collector also when it fails.
type engineDescs struct {
	success, duration, age, errors, demoted, skipped, denied, collections, shared, connections *Desc
}

func newEngineDescs() engineDescs {
	perCollector := []string{"collector"}
	return engineDescs{
		success: &Desc{"pg_reliability_collector_success", "Whether the collector's newest run succeeded; 0 as well where it had not ended when this page had to go out.", Gauge, perCollector},
		duration: &Desc{"pg_reliability_collector_duration_seconds",
			"How long the collector's newest run took; 0 when it was not tried because the server is down.", Gauge, perCollector},
		age: &Desc{"pg_reliability_collector_data_age_seconds",
			"Age of the collector's newest data; since the exporter's start where there never was any.", Gauge, perCollector},
		errors: &Desc{"pg_reliability_collector_errors_total",
			"Failed runs by reason, pages that went out without the collector, and samples left out because they were malformed, duplicates or too many.", Counter, []string{"collector", "reason"}},
		demoted: &Desc{"pg_reliability_collector_demoted",
			"1 for a live collector that was slow several times in a row, or held up a page, and is refreshed in the background.", Gauge, perCollector},
		skipped: &Desc{"pg_reliability_collector_skipped",
			"1 for a collector that does not apply to this server, by what it lacks: version, role or extension.", Gauge, []string{"collector", "reason"}},
		denied: &Desc{"pg_reliability_collector_denied",
			"1 for a function that the exporter's role may not call and the collector does without: what needs it is absent.", Gauge, []string{"collector", "function"}},
		collections: &Desc{"pg_reliability_collections_total", "Collections of live queries: one round trip each.", Counter, nil},
		shared:      &Desc{"pg_reliability_collections_shared_total", "Scrapes that shared a collection with another scrape at the same time.", Counter, nil},
		connections: &Desc{"pg_reliability_pool_connections", "Connections of the pool, the prober's own not among them.", Gauge, []string{"state"}},
	}
}

// EngineDescs lists the metrics the engine has of itself, for the catalogue.
func EngineDescs() []*Desc {
	d := newEngineDescs()
	return []*Desc{d.success, d.duration, d.age, d.errors, d.demoted, d.skipped, d.denied, d.collections, d.shared, d.connections}
}

// selfMetrics says how each collector fares. missing are live collectors whose run had not ended when this page had to go out.
func (e *Engine) selfMetrics(out *families, sel Selection, units []*queryUnit, missing map[*queryUnit]bool, now time.Time) {
	d := newEngineDescs()
	add := func(d *Desc, v float64, labels ...string) { out.add(sample{desc: d, value: v, labels: labels}) }
	for _, u := range units {
		u.mu.Lock()
		skipped, denied := u.skipped, u.denied
		u.mu.Unlock()
		if skipped != "" {
			add(d.skipped, 1, u.def.Name, skipped)
			continue
		}
		for _, function := range denied {
			add(d.denied, 1, u.def.Name, function)
		}
		u.status.emit(d, add, u.def.Name, now, u.isLive(), missing[u])
		if u.def.Live() {
			add(d.demoted, number(u.status.isDemoted()), u.def.Name)
		}
	}
	for _, s := range e.sources {
		if sel.has(s.Name()) {
			s.status.emit(d, add, s.Name(), now, false, false)
		}
	}
	started, joined := e.flights.counts()
	add(d.collections, float64(started))
	add(d.shared, float64(joined))
	idle, lent := e.pool.Open()
	add(d.connections, float64(lent), "in_use")
	add(d.connections, float64(idle), "idle")
}

func (s *status) emit(d engineDescs, add func(*Desc, float64, ...string), name string, now time.Time, live, missing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	add(d.success, number(s.ran && s.success && !missing), name)
	add(d.duration, s.took.Seconds(), name)
	age := now.Sub(s.since)
	if !s.dataAt.IsZero() {
		age = now.Sub(s.dataAt)
	}
	if live && s.success && !missing && age < oneCollection {
		age = 0 // read for this very page
	}
	add(d.age, age.Seconds(), name)
	for _, reason := range slices.Sorted(maps.Keys(s.errors)) {
		add(d.errors, float64(s.errors[reason]), name, reason)
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
