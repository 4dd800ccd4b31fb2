package collector

import (
	"errors"
	"math"
	"sync"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

const (
	// slowLive is what a live query may take: a tenth of the shortest budget people scrape with.
	slowLive = 250 * time.Millisecond
	// slowInARow live runs that slow move a collector to the background, as many quick ones bring it back.
	slowInARow = 3
	// demotedRefresh is how often a collector runs that was moved to the background.
	demotedRefresh = 30 * time.Second
)

// status is what the engine knows of one collector's runs.
type status struct {
	mu      sync.Mutex
	since   time.Time // the engine's start: data is at least this old when there never was any
	ran     bool
	success bool
	// unreached: the newest run was not tried because the server is down.
	unreached bool
	took      time.Duration
	usual     time.Duration // of the newest run that was answered; 0 before the first
	dataAt    time.Time     // of the newest data; zero when there never was any
	errors    map[string]uint64
	lastErr   string         // what the last line in the log said, empty after a success
	leftOut   metric.Problem // why samples of the newest run are left out; empty where none are for want of room
	slow      int            // slow live runs in a row
	quick     int            // quick background runs in a row, while demoted
	demoted   bool
}

// newest is how a collector's newest run ended.
type newest struct {
	ran, success bool
	took         time.Duration
	dataAt       time.Time
}

// failed is whether there was a run and the newest one gave nothing.
func (n newest) failed() bool { return n.ran && !n.success }

func (s *status) newest() newest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return newest{ran: s.ran, success: s.success, took: s.took, dataAt: s.dataAt}
}

// record folds the end of one run in, and logs a change: one line when a collector begins to fail or fails for
// another reason, one when it works again.
func (s *status) record(logger log.Logger, name string, now time.Time, took time.Duration, err error, data bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ran, s.success, s.unreached, s.took = true, err == nil, false, took
	s.leftOut = ""
	if data {
		s.usual = max(took, 1)
	}
	if data {
		s.dataAt = now
	}
	if err == nil {
		if s.lastErr != "" {
			_ = level.Info(logger).Log("msg", "collector works again", "collector", name)
			s.lastErr = ""
		}
		return
	}
	reason := string(postgres.ReasonOf(err))
	if errors.Is(err, postgres.ErrTooMuch) {
		reason = string(metric.TooMany)
	}
	if s.errors == nil {
		s.errors = map[string]uint64{}
	}
	s.errors[reason]++
	if s.lastErr != reason {
		s.lastErr = reason
		_ = level.Warn(logger).Log("msg", "collector fails", "collector", name, "reason", reason, "err", err)
	}
}

// down records that a collector could not run because the server is down; the prober has logged why.
func (s *status) down(reason postgres.Reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ran, s.success, s.unreached, s.took = true, false, true, 0
	if s.errors == nil {
		s.errors = map[string]uint64{}
	}
	s.errors[string(reason)]++
}

// lacks records that the newest run was no success although the query was: a metric's samples can't be among what it returns.
func (s *status) lacks() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.success = false
}

// missed records that a page went out without a collector's data, because its run had not ended by then.
func (s *status) missed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.errors == nil {
		s.errors = map[string]uint64{}
	}
	s.errors[string(postgres.Timeout)]++
}

// reject counts samples that could not be shown.
func (s *status) reject(logger log.Logger, name string, reason metric.Problem, n int, detail string) {
	if n == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.errors == nil {
		s.errors = map[string]uint64{}
	}
	if s.errors[string(reason)] == 0 {
		_ = level.Warn(logger).Log("msg", "collector has samples that can't be shown", "collector", name, "reason", reason, "detail", detail)
	}
	s.errors[string(reason)] += uint64(n)
	if reason == metric.TooMany || reason == metric.NoMemory {
		s.leftOut = reason
	}
}

// timing folds a live query's duration in and says whether it is to be moved to the background now.
func (s *status) timing(took time.Duration) (demotedNow bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if took < slowLive {
		s.slow = 0
		return false
	}
	s.slow++
	if s.slow < slowInARow || s.demoted {
		return false
	}
	s.demoted, s.quick = true, 0
	return true
}

// demote moves a live collector to the background at once; false when it is there already.
func (s *status) demote() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.demoted {
		return false
	}
	s.demoted, s.quick, s.slow = true, 0, slowInARow
	return true
}

// recovered folds a demoted collector's background run in and says whether it is live again.
func (s *status) recovered(took time.Duration, err error) (liveNow bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.demoted {
		return false
	}
	if err != nil || took >= slowLive/2 {
		s.quick = 0
		return false
	}
	s.quick++
	if s.quick < slowInARow {
		return false
	}
	s.demoted, s.slow = false, 0
	return true
}

func (s *status) isDemoted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.demoted
}

// usuallyTakes is how long the newest run took that was answered, and without end where none was.
func (s *status) usuallyTakes() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.usual == 0 {
		return math.MaxInt64
	}
	return s.usual
}
