package gather

import (
	"sync"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/collector/sqlmetric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

// watched are the counters whose growth is a problem, with the window that their rules look at.
var watched = map[*metric.Desc]time.Duration{
	sqlmetric.PgStatDatabaseDeadlocks:           5 * time.Minute,
	sqlmetric.PgStatDatabaseTempBytes:           5 * time.Minute,
	sqlmetric.PgStatBgwriterCheckpointsReqTotal: time.Hour,
	sqlmetric.PgStatArchiverArchivedCount:       5 * time.Minute,
}

const (
	// pointsKept of one counter's window are as many as tell its growth.
	pointsKept = 20
	// mostCounters bounds what is remembered of a server with many databases.
	mostCounters = 1000
	// rateOver is what a rate must have been seen for: a burst of seconds is no rate.
	rateOver = time.Minute
)

// counters remembers the values of some counters while somebody reads the status: their growth is told from then on.
type counters struct {
	mu   sync.Mutex
	seen map[counter][]reading
}

type counter struct {
	metric   *metric.Desc
	database string
}

type reading struct {
	at    time.Time
	value float64
}

// note takes one collection in.
func (c *counters) note(p page, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		c.seen = map[counter][]reading{}
	}
	for m, window := range watched {
		for database, value := range p.by(m, "datname") {
			key := counter{m, database}
			points := c.seen[key]
			switch n := len(points); {
			case n == 0 && len(c.seen) >= mostCounters:
				continue
			case n > 0 && now.Before(points[n-1].at): // the clock was set back
				points = nil
			case n > 1 && now.Sub(points[n-2].at) < window/pointsKept:
				points = points[:n-1] // the newest one stands for those near to it
			}
			c.seen[key] = append(points, reading{now, value})
		}
	}
	for key, points := range c.seen {
		for len(points) > 0 && now.Sub(points[0].at) > watched[key.metric] {
			points = points[1:]
		}
		if c.seen[key] = points; len(points) == 0 {
			delete(c.seen, key)
		}
	}
}

// growth is what a counter has grown by within its window, and over how long that was seen. A reset begins at 0.
func (c *counters) growth(m *metric.Desc, each func(by float64, over time.Duration)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, points := range c.seen {
		if key.metric != m || len(points) < 2 {
			continue
		}
		by := 0.0
		for i, p := range points[1:] {
			if by += p.value; p.value >= points[i].value {
				by -= points[i].value
			}
		}
		each(by, points[len(points)-1].at.Sub(points[0].at))
	}
}

// counted tells of what grew while somebody looked.
func (f *found) counted(c *counters, p page, t Thresholds) {
	deadlocks, spill, checkpoints := 0.0, 0.0, 0.0
	c.growth(sqlmetric.PgStatDatabaseDeadlocks, func(by float64, _ time.Duration) { deadlocks = max(deadlocks, by) })
	c.growth(sqlmetric.PgStatDatabaseTempBytes, func(by float64, over time.Duration) {
		if over >= rateOver {
			spill = max(spill, by/over.Seconds())
		}
	})
	c.growth(sqlmetric.PgStatBgwriterCheckpointsReqTotal, func(by float64, _ time.Duration) { checkpoints = max(checkpoints, by) })
	f.warning(deadlocks > t.ByName["deadlocks_count"], "PostgresDeadlocks", "deadlocks in a database within 5 minutes: %s", count(deadlocks))
	f.warning(spill > t.ByName["temp_bytes_per_second"], "PostgresTempFiles", "queries write %s/s of temporary files",
		status.Size(int64(spill)))
	f.warning(checkpoints > t.ByName["checkpoints_requested_count"], "PostgresCheckpointsFrequent",
		"checkpoints that were requested within an hour: %s",
		count(checkpoints))
	stands := status.OrZero(p.number(sqlmetric.ArchiverEnabled)) == 1 && status.OrZero(p.number(sqlmetric.ArchiverFailing)) != 1 &&
		status.OrZero(p.number(sqlmetric.ArchiverReadyFiles)) > 0
	window := sqlmetric.PgStatArchiverArchivedCount
	c.growth(window, func(by float64, over time.Duration) {
		f.warning(stands && by == 0 && over >= watched[window]*(pointsKept-2)/pointsKept, "PostgresArchiveFailing",
			"WAL files wait to be archived, and none was for %s", status.Lasting(over.Seconds()))
	})
}
