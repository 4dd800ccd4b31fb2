package job_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine/enginetest"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// TestADiskThatIsFullWhenTheManifestIsWritten: the archives had room, and what says what they are has none, or half of it. The run
// fails, its failure is noted, nothing of it is left, and the next run, with room, is good.
func TestADiskThatIsFullWhenTheManifestIsWritten(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	enginetest.SmallDisk(t, dir, 32<<20)
	repo, err := catalog.Init(filepath.Join(dir, "repo"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	b.repo, b.job.Repo, b.job.Verifier.Repo, b.job.NoSpaceCheck = repo, repo, repo, true
	good := b.run(t)
	filler := filepath.Join(dir, "filler")
	const page = 4096
	// SHA256SUMS takes one page and is written first, the manifest takes more than one.
	for left := range int64(3) {
		t.Run(fmt.Sprint(left, " pages"), func(t *testing.T) {
			b.job.Request.Progress = func(phase string, _, _ int64) {
				if phase != "seal" {
					return
				}
				free, err := catalog.FreeBytes(dir)
				if err == nil {
					err = os.WriteFile(filler, make([]byte, free-left*page), 0o600)
				}
				if err != nil {
					t.Error(err)
				}
			}
			res, err := b.job.Run(t.Context())
			if failure.Of(err) != failure.Space || res.Backup != nil {
				t.Errorf("reason %q (%v), want space", failure.Of(err), err)
			}
			if s, err := repo.State(); err != nil || s.LastFailure == nil || s.LastFailure.Reason != failure.Space {
				t.Errorf("the failure is not noted: %+v, %v", s.LastFailure, err)
			}
			if all, err := repo.List(); err != nil || len(all) != 1 || all[0].ID != good.ID || !all[0].Health.Good() {
				t.Errorf("the list has %d backups, %v, want the one before", len(all), err)
			}
			if drafts, err := os.ReadDir(filepath.Join(repo.Dir(), "tmp")); err != nil || len(drafts) > 0 {
				t.Errorf("left behind: %v, %v", drafts, err)
			}
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
		})
	}
	b.job.Request.Progress = nil
	if next := b.run(t); !next.Health.Good() {
		t.Errorf("the next backup is %s", next.Health)
	}
}
