package job_test

import (
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/schedule"
	"github.com/pg-reliability/pg_reliability_exporter/backup/verify"
)

// TestAClockSetBackDuringARunPrunesNoNewerBackup: the clock goes back by an hour, then by a day, while a backup is made. Each is
// good, the order of the runs counts for what is pruned, a rehearsal passes, and no backup is stale that was just made.
func TestAClockSetBackDuringARunPrunesNoNewerBackup(t *testing.T) {
	b := newBench(t)
	clock := time.Now()
	now := func() time.Time { return clock }
	b.job.Now, b.job.Verifier.Now, b.job.Policy.Keep = now, now, 2
	plan, err := schedule.Parse("0 * * * *", time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	var made []catalog.Backup
	for _, back := range []time.Duration{0, time.Hour, 24 * time.Hour, 0} {
		b.job.Request.Progress = func(phase string, _, _ int64) {
			if phase == "seal" {
				clock = clock.Add(-back)
			}
		}
		made = append([]catalog.Backup{b.run(t)}, made...)
		newest := made[0]
		if !newest.Health.Good() || newest.Sequence != uint64(len(made)) {
			t.Errorf("%s back: backup %s is %s (%s)", back, newest.ID, newest.Health, newest.Problem)
		}
		all, err := b.repo.List()
		if err != nil || len(all) != min(len(made), 2) {
			t.Fatalf("%s back: %d backups are left, %v", back, len(all), err)
		}
		for i := range all {
			if all[i].ID != made[i].ID {
				t.Errorf("%s back: backup %d of the list is %s, want %s", back, i, all[i].ID, made[i].ID)
			}
		}
		if limit := plan.Limit(clock, newest.Manifest.Duration()); limit > 0 && clock.Sub(newest.Manifest.Finished) > limit {
			t.Errorf("%s back: a backup of this moment is stale", back)
		}
	}
	// And while one is verified.
	b.job.Verifier.Progress = func(phase string, _, _ int64) {
		if phase == "restore" {
			clock = clock.Add(-24 * time.Hour)
		}
	}
	v, err := b.job.Verifier.Verify(t.Context(), made[0].ID, verify.Rehearsal)
	if err != nil || v.Result != catalog.Passed {
		t.Errorf("the verification is %q: %v", v.Result, err)
	}
	if got, err := b.repo.Get(made[0].ID); err != nil || got.Health != catalog.Verified {
		t.Errorf("after it, the backup is %s (%s), %v", got.Health, got.Problem, err)
	}
	decisions, err := b.job.Decide()
	if err != nil {
		t.Fatal(err)
	}
	if removed, err := b.job.Prune(t.Context(), decisions); err != nil || len(removed) > 0 {
		t.Errorf("pruned %v, %v", removed, err)
	}
}
