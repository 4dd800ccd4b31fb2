package catalog_test

import (
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
)

// A lock that was given back is free at once, also while others in this process start programs: for a moment, each
// child has open what we have.
func TestALockGivenBackIsFreeWhileProgramsAreStarted(t *testing.T) {
	repo, err := catalog.Init(t.TempDir(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var starters sync.WaitGroup
	for range 4 {
		starters.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = exec.Command("true").Run()
				}
			}
		})
	}
	for range 3000 {
		release, err := repo.Lock()
		if err != nil {
			t.Errorf("the lock is not free: %v", err)
			break
		}
		release()
	}
	close(stop)
	starters.Wait()
}
