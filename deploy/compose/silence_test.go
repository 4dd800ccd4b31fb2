//go:build linux

package compose_test

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// silenceObjective is how soon a person must hear that the backup job is dead. Nothing is shortened for it: the rule's own five
// minutes are waited for, while other steps break what has no need of the job.
const silenceObjective = 10 * time.Minute

// silence is a backup job whose container is stopped, and the receiver that is to hear of it.
type silence struct {
	began time.Time
	paged *atomic.Pointer[time.Time]
	stop  func()   // ends the receiver: a later step counts the ports that are open
	kept  []string // the stack's settings before
}

// begin stops the job behind everybody's back, as a failing disk or a colleague would.
func (q *silence) begin(t *testing.T, s *stack) {
	q.kept = slices.Clone(s.settings)
	_, q.paged, q.stop = s.receiver(`"alertname":"PostgresBackupJobSilent"`)
	s.settings = append(s.settings, "ALERTMANAGER_CONFIG="+s.dir+"/alertmanager.yml")
	s.mustCompose("up", "--detach")
	pgtest.Eventually(t, patience, s.unhealthy)
	// The alert knows the job from having scraped it: once by each, and a rule's interval.
	pgtest.Eventually(t, patience, func() error {
		result, err := s.query(`pgr:backup_target:known{job="backup"} and up == 1`)
		if err == nil && len(result) != 1 {
			err = errors.New("Prometheus does not know the backup job yet")
		}
		return err
	})
	s.mustCompose("stop", "backup")
	q.began = time.Now()
}

// heard waits for the page, and starts the job again.
func (q *silence) heard(t *testing.T, s *stack) {
	if q.paged == nil {
		t.Skip("the step before, which stops the job, was not run")
	}
	defer q.stop()
	pgtest.Eventually(t, silenceObjective+time.Minute, func() error {
		if q.paged.Load() == nil {
			return errors.New("nobody was told that the backup job is gone")
		}
		return nil
	})
	s.recordTook("The backup job's container stopped: until a person is paged (PostgresBackupJobSilent)", silenceObjective,
		q.paged.Load().Sub(q.began))
	if err := s.firing("PostgresBackupJobSilent"); err != nil {
		t.Error(err)
	}
	s.settings = q.kept
	s.mustCompose("up", "--detach")
	pgtest.Eventually(t, patience, s.unhealthy)
	pgtest.Eventually(t, patience, func() error {
		if s.firing("PostgresBackupJobSilent") == nil {
			return errors.New("the alert goes on, though the backup job is back")
		}
		return nil
	})
}
