package collector

import (
	"maps"
	"slices"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
)

// oneCollection is how old live data is at the most where the page did not join a collection that had been under way for long.
const oneCollection = time.Second

// The engine's metrics of itself: each collector has them, also when it fails.
var (
	declared metric.List

	collectorSuccess = declared.Gauge("pg_reliability_collector_success",
		"Whether the collector's newest run succeeded; 0 as well where it had not ended when this page had to go out.", "collector")
	collectorDuration = declared.Gauge("pg_reliability_collector_duration_seconds",
		"How long the collector's newest run took; 0 when it was not tried because the server is down.", "collector")
	collectorAge = declared.Gauge("pg_reliability_collector_data_age_seconds",
		"Age of the collector's newest data; since the exporter's start where there never was any.", "collector")
	collectorErrors = declared.Counter("pg_reliability_collector_errors_total",
		"Failed runs by reason, pages that went out without the collector, and samples left out because they were malformed, duplicates, "+
			"too many, or more than the memory for all servers together allows (no_memory).", "collector", "reason")
	collectorDemoted = declared.Gauge("pg_reliability_collector_demoted",
		"1 for a live collector that was slow several times in a row, or held up a page, and is refreshed in the background.", "collector")
	collectorSkipped = declared.Gauge("pg_reliability_collector_skipped",
		"1 for a collector that does not apply to this server, by what it lacks: version, role or extension.", "collector", "reason")
	// CollectorDenied is asked for by the status page, too.
	CollectorDenied = declared.Gauge("pg_reliability_collector_denied",
		"1 for a function that the exporter's role may not call and the collector does without: what needs it is absent.",
		"collector", "function")
	collections       = declared.Counter("pg_reliability_collections_total", "Collections of live queries: one round trip each.")
	collectionsShared = declared.Counter("pg_reliability_collections_shared_total",
		"Scrapes that shared a collection with another scrape at the same time.")
	poolConnections = declared.Gauge("pg_reliability_pool_connections",
		"Connections of the pool, the prober's own not among them.", "state")

	// Dashboards and rules of postgres_exporter ask for these three.
	lastScrapeError = declared.Gauge("pg_exporter_last_scrape_error",
		"Whether something on this page is missing or old (1) or not (0): the server does not answer, or a collector's newest run failed.")
	lastScrapeDuration = declared.Gauge("pg_exporter_last_scrape_duration_seconds", "How long this page's values took to collect.")
	scrapesTotal       = declared.Counter("pg_exporter_scrapes_total", "Pages that were collected; who asks at the same moment shares one.")

	visitSuccess = declared.Gauge("pg_reliability_database_visit_success",
		"Whether the newest visit to the database succeeded; the connection's own is not visited, see pg_reliability_collector_success.",
		"datname")
	visitAge = declared.Gauge("pg_reliability_database_visit_age_seconds",
		"Time since the newest visit in which everything succeeded; since the database was seen first where there was none.", "datname")
	visitErrors = declared.Counter("pg_reliability_database_visit_errors_total",
		"Visits in which a login or a collector failed, by the first reason.", "datname", "reason")
	databasesLeftOut = declared.Gauge("pg_reliability_databases_left_out",
		"Databases that are not visited: excluded by --databases.include and --databases.exclude, denied to the role, or too_many.", "reason")
)

// Declared lists the engine's metrics of itself.
func Declared() []*metric.Desc { return declared }

// told is what a page says of the background's runs. It has to be read before their samples, which are stored before a run's end is: a run
// that ends meanwhile is told by the next page, and no page calls a run successful whose samples it has not.
type told struct {
	runs   map[*status]newest
	visits []metric.Sample
}

// tell reads how the newest runs of collectors have ended that are not answered live, of sources, and of the visits to databases.
func (e *Engine) tell(units []*queryUnit, answered map[*queryUnit]bool, now time.Time) told {
	t := told{runs: map[*status]newest{}}
	for _, u := range units {
		if !u.isLive() && !answered[u] {
			t.runs[&u.status] = u.status.newest()
		}
	}
	for _, s := range e.sources {
		t.runs[&s.status] = s.status.newest()
	}
	e.visits.emit(func(d *metric.Desc, v float64, labels ...string) {
		t.visits = append(t.visits, metric.Sample{Desc: d, Value: v, Labels: labels})
	}, now)
	return t
}

// selfMetrics says how each collector fares. missing are live collectors whose run had not ended when this page had to go out, told is
// how the others had ended when their samples were taken.
func (e *Engine) selfMetrics(out *metric.Page, sel Selection, units []*queryUnit, missing map[*queryUnit]bool, told told, began,
	now time.Time) {
	add := func(d *metric.Desc, v float64, labels ...string) {
		out.Add(metric.Sample{Desc: d, Value: v, Labels: labels})
	}
	failed := false
	tell := func(st *status, name string, live, missing bool) {
		n, ok := told.runs[st]
		if !ok {
			n = st.newest()
		}
		st.emit(add, name, now, n, live, missing)
		failed = failed || n.failed() || missing
	}
	for _, u := range units {
		u.mu.Lock()
		skipped, denied := u.skipped, u.denied
		u.mu.Unlock()
		if skipped != "" {
			add(collectorSkipped, 1, u.def.Name, skipped)
			continue
		}
		for _, function := range denied {
			add(CollectorDenied, 1, u.def.Name, function)
		}
		tell(&u.status, u.def.Name, u.isLive(), missing[u])
		if u.def.Live() {
			add(collectorDemoted, metric.Bool(u.status.isDemoted()), u.def.Name)
		}
	}
	for _, s := range e.sources {
		if sel.has(s.Name()) {
			tell(&s.status, s.Name(), false, false)
		}
	}
	if e.hasServer() {
		failed = failed || e.prober.Snapshot().Probes[probe.Read].Reason != postgres.OK
	}
	add(lastScrapeError, metric.Bool(failed))
	add(lastScrapeDuration, time.Since(began).Seconds())
	add(scrapesTotal, float64(e.pages.Add(1)))
	if !e.hasServer() {
		return
	}
	for _, s := range told.visits {
		out.Add(s)
	}
	started, joined := e.flights.counts()
	add(collections, float64(started))
	add(collectionsShared, float64(joined))
	idle, lent := e.pool.Open()
	add(poolConnections, float64(lent), "in_use")
	add(poolConnections, float64(idle), "idle")
}

func (s *status) emit(add func(*metric.Desc, float64, ...string), name string, now time.Time, n newest, live, missing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	add(collectorSuccess, metric.Bool(n.ran && n.success && !missing), name)
	add(collectorDuration, n.took.Seconds(), name)
	age := now.Sub(s.since)
	if !n.dataAt.IsZero() {
		age = now.Sub(n.dataAt)
	}
	if live && n.success && !missing && age < oneCollection {
		age = 0 // read for this very page
	}
	add(collectorAge, age.Seconds(), name)
	for _, reason := range slices.Sorted(maps.Keys(s.errors)) {
		add(collectorErrors, float64(s.errors[reason]), name, reason)
	}
}
