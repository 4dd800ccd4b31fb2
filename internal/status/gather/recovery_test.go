package gather

import (
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/metrics"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

// TestRecoveryIsMeasuredOrUnknown says what is known of each store, and nothing that is not.
func TestRecoveryIsMeasuredOrUnknown(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	good := &catalog.Backup{}
	good.Manifest.Bytes = 2000
	verified := &catalog.Verification{At: now.Add(-6 * time.Hour), RestoreSeconds: 125}
	whole := metrics.Listing{
		Good: good, RecoveryPoint: now.Add(-52 * time.Second), Verification: verified, VerifiedBytes: 1000,
		OffsiteFinished: now.Add(-7*time.Hour - 12*time.Minute),
	}
	without := func(change func(*metrics.Listing)) metrics.Listing { l := whole; change(&l); return l }
	const (
		local = "If the server's data is lost now"
		host  = "If this host burns now, and the repository with it"
	)
	for name, tc := range map[string]struct {
		is            metrics.Listing
		local, remote string
	}{
		"all is known": {whole, local + ", you lose the last 52 s; back in about 4 min 10 s, proved 6 h ago.",
			host + ", you lose the last 7 h 12 min; back in about 4 min 10 s, and what the download takes, proved 6 h ago."},
		"no copy elsewhere": {without(func(l *metrics.Listing) { l.OffsiteFinished = time.Time{} }),
			local + ", you lose the last 52 s; back in about 4 min 10 s, proved 6 h ago.",
			host + ", everything is lost: no complete copy is off-site."},
		"never verified": {without(func(l *metrics.Listing) { l.Verification, l.OffsiteFinished = nil, time.Time{} }),
			local + ", you lose the last 52 s; how long a restore takes is not known, and no backup was proven by a restore.",
			host + ", everything is lost: no complete copy is off-site."},
		"no backup": {metrics.Listing{}, local + ", everything is lost: there is no good backup.",
			host + ", everything is lost: no complete copy is off-site."},
	} {
		list := recovery(&tc.is, Objectives{Loss: time.Minute, Return: 4 * time.Minute}, now)
		if len(list) != 2 || list[0].Sentence != tc.local || list[1].Sentence != tc.remote {
			t.Errorf("%s: %+v", name, list)
		}
	}
	f := &found{}
	f.recovery(&status.Backups{Recovery: recovery(&whole, Objectives{Loss: time.Minute, Return: 4 * time.Minute}, now)})
	if len(f.list) != 1 || f.list[0].Alert != "PostgresRecoveryTimeMissed" {
		t.Errorf("problems: %+v", f.list)
	}
	f = &found{}
	f.recovery(&status.Backups{Recovery: recovery(&whole, Objectives{}, now)})
	if len(f.list) > 0 {
		t.Errorf("problems without an objective: %+v", f.list)
	}
}
