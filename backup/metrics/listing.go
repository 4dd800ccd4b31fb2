package metrics

import (
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
	// Good is the newest good one, nil without one.
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
	Schedule     *catalog.Schedule
	// AgeLimit is how old the newest good backup may be at the moment of the reading, by the schedule; 0 is unknown.
	AgeLimit time.Duration
}

// recentBackups are listed one by one.
const recentBackups = 5

// Listing is what the newest reading found, nil before the first. It reads nothing.
func (c *Collector) Listing() *Listing { return c.listed.Load() }

func listing(r Reading, now time.Time) *Listing {
	all, s := r.All, r.State
	l := &Listing{
		RecoveryPoint: recoveryPoint(all, s), Count: map[catalog.Health]int{}, LastFailure: s.LastFailure, Schedule: s.Schedule,
	}
	for _, h := range catalog.Healths() {
		l.Count[h] = 0
	}
	for i := range all {
		b := all[i]
		b.Manifest.Files, b.Manifest.Databases = nil, nil // may be large
		l.add(b)
	}
	if l.Good != nil && l.Good.Status.Offsite != nil {
		failing := l.Good.Status.Offsite.Error != ""
		l.OffsiteFailing = &failing
	}
	l.AgeLimit, _ = schedule.Limit(s.Schedule, l.Good, now)
	if s.Running != nil && r.running {
		l.RunningSince = s.Running.Since
	}
	l.FreeBytes = r.free
	return l
}

// add takes the next older backup.
func (l *Listing) add(b catalog.Backup) {
	l.Count[b.Health]++
	l.Bytes += b.Manifest.OwnBytes()
	if len(l.Newest) < recentBackups {
		l.Newest = append(l.Newest, b)
	}
	if l.Good == nil && b.Health.Good() {
		l.Good = &b
	}
	if l.Verification == nil && b.Health == catalog.Verified {
		l.Verification, l.VerifiedBytes = b.Status.Verified, b.Manifest.Bytes
	}
	if o := b.Status.Offsite; l.OffsiteFinished.IsZero() && o != nil && o.Completed != nil {
		l.OffsiteFinished = b.Manifest.Finished
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
