package metrics

import (
	"cmp"
	"maps"
	"math"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/schedule"
)

// Listing is what one reading of the repository found. The metrics of that reading say the same. It is never written to
// again; what is unknown is zero or nil.
type Listing struct {
	// Error is why the repository can't be read, in a word; all below is unknown then.
	Error string
	// Newest are at most recentBackups of whatever state, newest first.
	Newest []catalog.Backup
	// Good is the newest good one, nil without one. Of several servers it is the one of theirs that is the latest by its schedule, nil where
	// one has none: a fresh backup of one does not hide that another's are late. RecoveryPoint, Verification and OffsiteFinished are the
	// oldest of theirs.
	Good *catalog.Backup
	// RecoveryPoint is the newest moment whose state can be recovered.
	RecoveryPoint time.Time
	// Count has every state, Bytes are all backups', FreeBytes what is left on their file system.
	Count     map[catalog.Health]int
	Bytes     int64
	FreeBytes *int64
	// Verification is the last that passed, of the newest backup that is verified.
	Verification *catalog.Verification
	// VerifiedBytes is that backup's size.
	VerifiedBytes int64
	// OffsiteFinished is when the newest backup with a complete off-site copy was completed.
	OffsiteFinished time.Time
	// OffsiteFailing is whether the last attempt to copy the newest good backup failed, nil when none was made.
	OffsiteFailing *bool
	// RunningSince is when the run in progress began.
	RunningSince time.Time
	LastFailure  *catalog.Failure
	// Schedule is the daemon's plan; of those of several servers it is the one whose next run is first.
	Schedule *catalog.Schedule
	// Attended says whether the daemons that made the schedules live, each of them; nil where that can't be told.
	Attended *bool
	// AgeLimit is how old Good may be at the moment of the reading, by its server's schedule; 0 is unknown.
	AgeLimit time.Duration
	// unplanned: Good's server has no schedule.
	unplanned bool
}

// recentBackups are listed one by one.
const recentBackups = 5

// Listing is what the newest reading found, nil before the first. It reads nothing.
func (c *Collector) Listing() *Listing { return c.listed.Load() }

func listing(r Reading, now time.Time) *Listing {
	all, s := r.All, r.State
	var l *Listing
	for line, list := range withBackups(r.Servers.Awaited(all)) {
		one := freshest(list, s, s.ScheduleOf(line, r.Servers), now)
		if one.Schedule != nil {
			if alive, known := r.attended[one.Schedule.Lock]; known {
				one.Attended = &alive
			}
		}
		if l == nil {
			l = one
		} else {
			l.orOlder(one, now)
		}
	}
	if l.Schedule != nil && l.unplanned { // the plan is another server's
		l.AgeLimit = schedule.Unplanned
	}
	l.Count, l.LastFailure = map[catalog.Health]int{}, s.LastFailure
	for _, h := range catalog.Healths() {
		l.Count[h] = 0
	}
	for _, b := range all {
		l.Count[b.Health]++
		l.Bytes += b.Manifest.OwnBytes()
		if len(l.Newest) < recentBackups {
			l.Newest = append(l.Newest, light(b))
		}
	}
	if l.Good != nil && l.Good.Status.Offsite != nil {
		failing := l.Good.Status.Offsite.Error != ""
		l.OffsiteFailing = &failing
	}
	if s.Running != nil && r.running {
		l.RunningSince = s.Running.Since
	}
	l.FreeBytes = r.free
	return l
}

// withBackups leaves out the servers that were let in and have no backup yet, unless there are no others: that the repository holds no good
// backup would not be so.
func withBackups(lines map[string][]catalog.Backup) map[string][]catalog.Backup {
	have := maps.Clone(lines)
	maps.DeleteFunc(have, func(_ string, list []catalog.Backup) bool { return len(list) == 0 })
	if len(have) == 0 {
		return lines
	}
	return have
}

// light is a backup without what may be large.
func light(b catalog.Backup) catalog.Backup {
	b.Manifest.Files, b.Manifest.Databases = nil, nil
	return b
}

// freshest is what is newest of one line of servers, which has a plan or nil.
func freshest(list []catalog.Backup, s catalog.State, plan *catalog.Schedule, now time.Time) *Listing {
	l := &Listing{RecoveryPoint: recoveryPoint(list, s), Schedule: plan, unplanned: plan == nil}
	for _, b := range list {
		if l.Good == nil && b.Health.Good() {
			b := light(b)
			l.Good = &b
		}
		if l.Verification == nil && b.Health == catalog.Verified {
			l.Verification, l.VerifiedBytes = b.Status.Verified, b.Manifest.Bytes
		}
		if o := b.Status.Offsite; l.OffsiteFinished.IsZero() && o != nil && o.Completed != nil {
			l.OffsiteFinished = b.Manifest.Finished
		}
	}
	l.AgeLimit, _ = schedule.Limit(plan, l.Good, now)
	return l
}

// overdue is how much older the newest good backup is than it may be. Without one it is beyond all measure, and so is one of the future,
// whose age nobody knows.
func (l *Listing) overdue(now time.Time) time.Duration {
	if l.Good == nil {
		return math.MaxInt64
	}
	age := now.Sub(l.Good.Manifest.Finished)
	if age < -futureTolerance {
		return math.MaxInt64 - 1
	}
	return age - cmp.Or(l.AgeLimit, schedule.Unplanned)
}

// orOlder takes what is later or older with another server, or unknown. A server whose backups have no copies at all has none to wait for.
func (l *Listing) orOlder(o *Listing, now time.Time) {
	if o.overdue(now) > l.overdue(now) {
		l.Good, l.AgeLimit, l.unplanned = o.Good, o.AgeLimit, o.unplanned
	}
	if l.Schedule == nil || o.Schedule != nil && o.Schedule.Next.Before(l.Schedule.Next) {
		l.Schedule = o.Schedule
	}
	if o.Attended != nil && (l.Attended == nil || !*o.Attended) {
		l.Attended = o.Attended
	}
	if o.RecoveryPoint.Before(l.RecoveryPoint) { // unknown is before all
		l.RecoveryPoint = o.RecoveryPoint
	}
	if l.Verification != nil && (o.Verification == nil || o.Verification.At.Before(l.Verification.At)) {
		l.Verification, l.VerifiedBytes = o.Verification, o.VerifiedBytes
	}
	if l.OffsiteFinished.IsZero() || !o.OffsiteFinished.IsZero() && o.OffsiteFinished.Before(l.OffsiteFinished) {
		l.OffsiteFinished = o.OffsiteFinished
	}
}

// Estimate is how many seconds a restore of the newest good backup takes: what the last one that was compared took, by the byte. It is not
// known where none was measured.
func Estimate(l *Listing) (seconds float64, known bool) {
	if l.Good == nil || l.Verification == nil || l.Verification.RestoreSeconds <= 0 || l.VerifiedBytes <= 0 || l.Good.Manifest.Bytes <= 0 {
		return 0, false
	}
	return l.Verification.RestoreSeconds * float64(l.Good.Manifest.Bytes) / float64(l.VerifiedBytes), true
}

// recoveryPoint is the newest good backup's, or as far as archived WAL leads from it. The list is newest first; a later
// one in it is older, whatever its clock said.
func recoveryPoint(all []catalog.Backup, s catalog.State) time.Time {
	for i := range all {
		b := &all[i]
		if !b.Health.Good() {
			continue
		}
		if s.WAL != nil && s.WAL.Engine == b.Manifest.Engine && s.WAL.ArchivedTo.After(b.Manifest.RecoveryPoint) {
			return s.WAL.ArchivedTo
		}
		return b.Manifest.RecoveryPoint
	}
	return time.Time{}
}
