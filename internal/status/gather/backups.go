package gather

import (
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/metrics"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

// backups are nil without a repository, before it was read once, and while nobody answers for it any more. All they say is
// of one reading: the metrics on the page may be of the one before.
func (g *Gatherer) backups(p page, now time.Time) *status.Backups {
	if g.o.Backups == nil || p.yes(metrics.CatalogUp) == nil {
		return nil
	}
	l := g.o.Backups()
	if l == nil {
		return nil
	}
	b := &status.Backups{Readable: l.Error == "", CatalogError: l.Error, Recent: []status.Backup{}}
	if !b.Readable {
		return b
	}
	if l.Good != nil {
		newest := entry(*l.Good)
		b.Newest, b.NewestAgeSeconds = &newest, ageOf(now, newest.FinishedAt)
	}
	for _, each := range l.Newest {
		b.Recent = append(b.Recent, entry(each))
	}
	if l.Good != nil {
		b.ReadBackAt = timeOf(l.Good.ReadBackAt())
	}
	b.LastVerifiedAt, b.RestoreSeconds = verified(l.Verification)
	b.RecoveryPointAgeSeconds = ageOf(now, l.RecoveryPoint)
	b.GoodCount, b.BadCount = new(int64), new(int64)
	for h, n := range l.Count {
		if h.Good() {
			*b.GoodCount += int64(n)
		} else {
			*b.BadCount += int64(n)
		}
	}
	b.RepositoryBytes, b.FreeBytes = &l.Bytes, l.FreeBytes
	b.RunningSince = timeOf(l.RunningSince)
	if s := l.Schedule; s != nil {
		b.NextRunAt, b.IntervalSeconds = timeOf(s.Next), &s.IntervalSeconds
		if l.AgeLimit > 0 {
			b.AgeLimitSeconds = seconds(l.AgeLimit)
		}
	}
	b.DaemonAlive = l.Attended
	b.Unwatched = unwatched(b, now)
	if f := l.LastFailure; f != nil {
		b.LastFailureAt, b.LastFailureReason = timeOf(f.At), string(f.Reason)
	}
	b.Recovery = recovery(l, g.o.Objectives, now)
	b.OffsiteAgeSeconds, b.OffsiteFailing = ageOf(now, l.OffsiteFinished), l.OffsiteFailing
	return b
}

// unwatched is Backups.Unwatched.
func unwatched(b *status.Backups, now time.Time) bool {
	late := b.NextRunAt != nil && b.RunningSince == nil && now.Sub(*b.NextRunAt) > catalog.LateRun
	gone := b.DaemonAlive != nil && !*b.DaemonAlive
	old := b.AgeLimitSeconds != nil && b.NewestAgeSeconds != nil && *b.NewestAgeSeconds > *b.AgeLimitSeconds
	return late || old || gone
}

// ageOf is nil for a time that is unknown or in the future.
func ageOf(now, t time.Time) *float64 {
	if t.IsZero() || t.After(now) {
		return nil
	}
	return seconds(now.Sub(t))
}

// verified is when a verification passed, and what its restore took.
func verified(v *catalog.Verification) (at *time.Time, restoreSeconds *float64) {
	if v == nil {
		return nil, nil
	}
	if v.RestoreSeconds > 0 {
		restoreSeconds = &v.RestoreSeconds
	}
	return timeOf(v.At), restoreSeconds
}

// entry is one backup of the catalogue. Of a manifest that can't be read only the id's time is known.
func entry(b catalog.Backup) status.Backup {
	out := status.Backup{ID: b.ID, FinishedAt: b.Manifest.Finished.UTC(), State: string(b.Health), Engine: b.Manifest.Engine}
	if b.Manifest.Engine != "" {
		size := b.Manifest.Bytes
		out.SizeBytes, out.DurationSeconds = &size, seconds(b.Manifest.Duration())
	}
	out.VerifiedAt, out.RestoreSeconds = verified(b.Status.Verified)
	return out
}
