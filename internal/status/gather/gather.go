// Package gather makes the answer of GET /api/status. The prober's part is read anew each time and waits for nothing. The
// rest is what the engine collects for a scrape, or less: at most one collection every 5 s however many ask, in the
// background, so that an answer never waits for a server that hangs.
package gather

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/metrics"
	"github.com/pg-reliability/pg_reliability_exporter/collector"
	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
	"github.com/pg-reliability/pg_reliability_exporter/internal/watchdog"
)

const (
	// measureEvery bounds the collections for those who read the status.
	measureEvery = 5 * time.Second
	// measureTimeout is longer than the server's statement_timeout, so that no collection costs a connection.
	measureTimeout = 5 * time.Second
	// patience is how long an answer waits for a collection before it goes out with the one before; a healthy one takes
	// some milliseconds.
	patience = 300 * time.Millisecond
)

// Engine collects; *collector.Engine is one.
type Engine interface {
	Names() []string
	Select(include, exclude []string) (collector.Selection, error)
	Gather(ctx context.Context, s collector.Selection) []*metric.Family
	Conditions() []collector.Condition
}

// Prober keeps the books; *probe.Prober is one.
type Prober interface {
	Snapshot() probe.Snapshot
	History(now time.Time) probe.History
	HistoryTotals(now time.Time) (hour, day, month probe.HistoryBucket)
	Recent(now time.Time) probe.HistoryBucket
	Outages(now time.Time) []probe.Outage
	Observable(k probe.RestartKind) (observable, known bool)
}

// Options of a Gatherer. Engine, Prober and Target are required.
type Options struct {
	Engine Engine
	Prober Prober
	// Target names the server without a secret.
	Target func() string
	// Volumes are directories by the volume's name.
	Volumes map[string]string
	// Trends knows the volumes' trends; nil leaves them out.
	Trends *Trends
	// Backups is what the newest reading of the repository found; nil without a repository.
	Backups func() *metrics.Listing
	// Sessions are samples of what sessions do; nil leaves them out.
	Sessions Samples
	// Watchdog tells what it is about; nil without one.
	Watchdog func() watchdog.View
	// Objectives are what was promised of a recovery.
	Objectives Objectives
	// Thresholds are what is a problem.
	Thresholds Thresholds
	// Links to other pages. Runbooks also makes the problems' links.
	Links   status.Links
	Version string
	Started time.Time
}

// Gatherer makes answers. It is safe for concurrent use.
type Gatherer struct {
	o Options

	counters counters

	mu      sync.Mutex
	newest  *measurement
	running chan struct{} // closed at the end of the collection under way, nil without one
}

// New makes a Gatherer. It does nothing before the first question.
func New(o Options) *Gatherer { return &Gatherer{o: o} }

// Judged is the state of the database as the health endpoints tell it.
type Judged struct {
	State  status.State
	Probes []status.Probe
}

// Windows are the parts of the history that are asked for bucket by bucket.
type Windows struct{ Hour, Day, Month bool }

// Status is the answer at a moment. It waits at most 0.3 s.
func (g *Gatherer) Status(ctx context.Context, now time.Time, judged Judged, windows Windows) status.Status {
	var since time.Time // of what holds now: what was measured before tells of another state
	if judged.State.Since != nil && !judged.State.Since.After(now) {
		since = *judged.State.Since
	}
	m := g.measure(ctx, since)
	s := status.Status{
		SchemaVersion: status.SchemaVersion,
		GeneratedAt:   now.UTC(),
		Exporter:      status.Exporter{Version: g.o.Version, StartedAt: g.o.Started.UTC()},
		Target:        g.o.Target(),
		State:         judged.State,
		Probes:        orEmpty(judged.Probes),
		Volumes:       []status.Volume{},
		Watchdog:      watchdogOf(g.o.Watchdog),
		Links:         g.o.Links,
	}
	g.prober(&s, now, windows)
	var shown page // nothing of another state
	if m != nil {
		s.MeasuredAt = &m.at
		s.Container = m.page.container()
		if !m.at.Before(since) {
			shown = m.page
			s.Connections, s.Replication = m.page.connections(), m.page.replication()
		}
		s.Volumes = m.page.volumes(g.o.Volumes, g.o.Trends)
		s.Backups = g.backups(m.page, now)
	}
	if g.o.Prober.Snapshot().Answers() { // also while logins fail: a lock may be why
		s.Sessions = SessionsOf(g.o.Sessions, now)
	}
	shown.releases(s.Server)
	s.Collectors = collectors(g.o.Engine.Conditions(), now)
	s.Problems = problems(&s, g.o.Thresholds, g.o.Prober.Snapshot(), shown, g.o.Prober.Recent(now), &g.counters)
	if r := s.Replication; r != nil {
		r.Slots = r.Slots[:min(len(r.Slots), listed)] // after the problems: those of the others are some, too
	}
	status.Presentable(&s)
	return s
}

// measurement is what one collection gave. It is never written to again.
type measurement struct {
	at   time.Time
	page page
}

// measure returns the newest collection, after waiting a moment for a newer one if it is time for that.
func (g *Gatherer) measure(ctx context.Context, since time.Time) *measurement {
	done := g.refresh(since)
	if done != nil {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		select {
		case <-done:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.newest
}

// refresh begins a collection when the newest is too old or from before a change, and returns what is closed at its end;
// nil when there is nothing to wait for.
func (g *Gatherer) refresh(since time.Time) <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.running != nil:
		return g.running
	case g.newest != nil && time.Since(g.newest.at) < measureEvery && !g.newest.at.Before(since):
		return nil
	}
	done := make(chan struct{})
	g.running = done
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), measureTimeout)
		defer cancel()
		m := g.collect(ctx)
		g.mu.Lock()
		g.newest, g.running = m, nil
		g.mu.Unlock()
		close(done)
	}()
	return done
}

func (g *Gatherer) collect(ctx context.Context) *measurement {
	m := &measurement{page: page{}}
	var running []string
	for _, name := range g.o.Engine.Names() {
		if slices.Contains(wanted(), name) {
			running = append(running, name)
		}
	}
	if len(running) > 0 { // no names would select everything
		selection, err := g.o.Engine.Select(running, nil)
		if err == nil { // a reload may have taken one away meanwhile; the next collection knows
			m.page = newPage(metric.DTO(g.o.Engine.Gather(ctx, selection)))
		}
	}
	m.at = time.Now().UTC()
	g.counters.note(m.page, m.at)
	return m
}

// wanted are the collectors whose values are shown.
func wanted() []string {
	return []string{
		"connections", "stat_activity", "replication", "stat_replication", "replication_slots", // live: one round trip
		"long_running_transactions", "prepared_transactions", "blocked", "stat_archiver", "database_wraparound",
		"stat_database", "stat_bgwriter", "checksums", "vacuum_horizon", "subscriptions",
		// as new as their last refresh
		"wal", "sequences", "invalid_indexes", "settings_state", "settings_summary", "settings", "stat_user_tables", "role_passwords",
		"minor_release",
		"volume", "container", "backup", "pgbouncer",
	}
}

func collectors(conditions []collector.Condition, now time.Time) status.Collectors {
	out := status.Collectors{Count: len(conditions), Failing: []status.FailingCollector{}}
	for _, c := range conditions {
		if c.Error == "" {
			continue
		}
		f := status.FailingCollector{Name: c.Name, Error: string(c.Error)}
		if !c.DataAt.IsZero() {
			f.DataAgeSeconds = seconds(now.Sub(c.DataAt))
		}
		out.Failing = append(out.Failing, f)
	}
	slices.SortFunc(out.Failing, func(a, b status.FailingCollector) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// versionText is a server_version_num for people.
func versionText(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf("%d.%d", n/10000, n%10000)
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func seconds(d time.Duration) *float64 {
	s := inSeconds(max(0, d))
	return &s
}

// inSeconds drops what is below a microsecond.
func inSeconds(d time.Duration) float64 { return d.Round(time.Microsecond).Seconds() }

// timeOf is nil for a time that is unknown.
func timeOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
