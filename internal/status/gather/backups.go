package gather

import (
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

// backups are nil without a repository and before it was read once.
func (g *Gatherer) backups(p page, now time.Time) *status.Backups {
	const prefix = "pg_reliability_backup_"
	readable := p.yes(prefix + "catalog_up")
	if g.o.Backups == nil || readable == nil {
		return nil
	}
	b := &status.Backups{Readable: *readable, Recent: []status.Backup{}}
	listing := g.o.Backups()
	if !b.Readable || listing == nil {
		b.Readable, b.CatalogError = false, p.word(prefix+"catalog_error_info", "reason")
		return b
	}
	if listing.Good != nil {
		newest := entry(*listing.Good)
		b.Newest = &newest
		if age := now.Sub(newest.FinishedAt); age >= 0 {
			b.NewestAgeSeconds = seconds(age)
		}
	}
	for _, each := range listing.Newest {
		b.Recent = append(b.Recent, entry(each))
	}
	b.LastVerifiedAt = p.time(prefix + "last_verified_timestamp_seconds")
	b.RestoreSeconds = p.number(prefix + "restore_duration_seconds")
	if age := now.Sub(listing.RecoveryPoint); !listing.RecoveryPoint.IsZero() && age >= 0 {
		b.RecoveryPointAgeSeconds = seconds(age)
	}
	b.GoodCount, b.BadCount = new(int64), new(int64)
	p.each(prefix+"count", func(labels map[string]string, n float64) {
		if catalog.Health(labels["state"]).Good() {
			*b.GoodCount += int64(n)
		} else {
			*b.BadCount += int64(n)
		}
	})
	b.RepositoryBytes, b.FreeBytes = p.count(prefix+"repository_size_bytes"), p.count(prefix+"repository_free_bytes")
	b.RunningSince = p.time(prefix + "running_since_timestamp_seconds")
	b.NextRunAt, b.IntervalSeconds = p.time(prefix+"next_run_timestamp_seconds"), p.number(prefix+"schedule_interval_seconds")
	b.LastFailureAt, b.LastFailureReason = p.time(prefix+"last_failure_timestamp_seconds"), p.word(prefix+"last_failure_info", "reason")
	b.OffsiteAgeSeconds, b.OffsiteFailing = p.number(prefix+"offsite_age_seconds"), p.yes(prefix+"offsite_failing")
	return b
}

// entry is one backup of the catalogue. Of a manifest that can't be read only the id's time is known.
func entry(b catalog.Backup) status.Backup {
	out := status.Backup{ID: b.ID, FinishedAt: b.Manifest.Finished.UTC(), State: string(b.Health), Engine: b.Manifest.Engine}
	if b.Manifest.Engine != "" {
		size := b.Manifest.Bytes
		out.SizeBytes, out.DurationSeconds = &size, seconds(b.Manifest.Duration())
	}
	if v := b.Status.Verified; v != nil {
		out.VerifiedAt = timeOf(v.At)
		if v.RestoreSeconds > 0 {
			out.RestoreSeconds = &v.RestoreSeconds
		}
	}
	return out
}
