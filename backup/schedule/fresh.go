package schedule

import (
	"time"
	_ "time/tzdata" // for images without the system's list of time zones

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
)

// minFresh is the age until which no backup is stale, whatever the schedule.
const minFresh = 3 * time.Minute

// slack is how late a run may be before it counts as lost: a twelfth of the time since the one before, at least a minute, at most two
// hours.
func slack(interval time.Duration) time.Duration {
	return min(max(interval/12, time.Minute), 2*time.Hour)
}

// Freshness is how old the newest good backup may be where there is no schedule and backups are made at an interval.
func Freshness(interval time.Duration) time.Duration { return interval + slack(interval) }

// Unplanned is how old the newest good backup may be where no schedule is known: 26 h.
const Unplanned = 24*time.Hour + 2*time.Hour

// Limit is how old the newest good backup may be at a time: as old as the latest run that should have ended by then. A run
// should have ended when it was due, and has taken as long as a backup takes, and some slack. A backup that is older misses
// a run. 0 means that no run should have ended yet.
func (p Plan) Limit(now time.Time, takes time.Duration) time.Duration {
	takes = max(takes, 0)
	if d := p.every(); d > 0 { // counted from the end of the run before
		return max(d+takes+slack(d), minFresh)
	}
	for due := p.Last(now); !due.IsZero(); {
		before := p.Last(due.Add(-1))
		interval := slack(0)
		if !before.IsZero() {
			interval = slack(due.Sub(before))
		}
		if !due.Add(takes + interval).After(now) {
			return max(now.Sub(due), minFresh)
		}
		// The run before is the next candidate. Where runs follow each other faster than one can end, the latest that
		// could have ended is looked for at once.
		due = before
		if limit := p.Last(now.Add(-takes - time.Minute)); limit.Before(due) {
			due = limit
		}
	}
	return 0
}

// Limit is how old the newest good backup may be now, by what the daemon noted of its schedule; false where there is none, or it
// can't be understood (another program's expression, an unknown time zone).
func Limit(s *catalog.Schedule, good *catalog.Backup, now time.Time) (time.Duration, bool) {
	if s == nil {
		return 0, false
	}
	var takes time.Duration
	if good != nil {
		takes = good.Manifest.Duration()
	}
	if zone, err := time.LoadLocation(s.TimeZone); err == nil {
		if p, err := Parse(s.Expression, zone); err == nil {
			limit := p.Limit(now, takes)
			return limit, limit > 0
		}
	}
	if s.IntervalSeconds <= 0 {
		return 0, false
	}
	return max(Freshness(time.Duration(s.IntervalSeconds*float64(time.Second)))+takes, minFresh), true
}
