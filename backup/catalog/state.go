package catalog

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sort"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// State is what a repository remembers besides its backups: runs and their results, so that
// counters survive restarts and failures are seen by whoever reads the catalogue.
type State struct {
	Format       int    `json:"format"`
	LastSequence uint64 `json:"last_sequence"`

	// Running is the run that has begun and not ended. When nobody holds the repository's lock, that
	// run was killed: Settled counts it as a failure.
	Running *Running `json:"running,omitempty"`

	LastAttempt time.Time `json:"last_attempt,omitzero"` // began
	LastSuccess time.Time `json:"last_success,omitzero"` // was published
	LastFailure *Failure  `json:"last_failure,omitempty"`
	// LastDurationSeconds is of the last successful run, without its verification.
	LastDurationSeconds float64 `json:"last_duration_seconds,omitempty"`

	Runs          []Count      `json:"runs,omitempty"`          // of backups
	Verifications []Count      `json:"verifications,omitempty"` // of level 3
	AutoRestores  []Count      `json:"auto_restores,omitempty"` // by bootstrap
	LastRestore   *AutoRestore `json:"last_restore,omitempty"`
	// Schedule is what the daemon that noted its plan last said it would do; nil without a daemon.
	Schedule *Schedule `json:"schedule,omitempty"`
	// Schedules are the daemons' plans by the system identifier of their server: several servers may have one repository. A daemon that
	// does not know its server yet has none here.
	Schedules map[string]Schedule `json:"schedules,omitempty"`
	// RetentionTarget is how many good backups the last job meant to keep at least.
	RetentionTarget int `json:"retention_target,omitempty"`
	// Rebuilt is when a journal that was lost or cut was made anew from what was left of it and from the
	// catalogue; zero when never. Then a zero LastSuccess does not say that there never was a backup.
	Rebuilt time.Time `json:"rebuilt,omitzero"`
	// WAL is the archive's state as the last run of an engine with point-in-time recovery saw it.
	WAL *WAL `json:"wal,omitempty"`
}

// Running is a run in progress.
type Running struct {
	ID      string    `json:"id"`
	Since   time.Time `json:"since"`
	Engine  string    `json:"engine"`
	PID     int       `json:"pid"`
	Host    string    `json:"host"`
	Trigger string    `json:"trigger"` // "run", "schedule" or "request"
}

// Failure is a run that failed.
type Failure struct {
	ID      string         `json:"id,omitempty"`
	At      time.Time      `json:"at"`
	Reason  failure.Reason `json:"reason"`
	Message string         `json:"message"`
}

// Count is a counter by result ("success" or "failure") and reason ("" for a success).
type Count struct {
	Result string         `json:"result"`
	Reason failure.Reason `json:"reason,omitempty"`
	N      uint64         `json:"n"`
}

// Results a Count has.
const (
	Success = "success"
	Failing = "failure"
)

// AutoRestore is what bootstrap did last.
type AutoRestore struct {
	At       time.Time `json:"at"`
	Result   string    `json:"result"`
	Backup   string    `json:"backup,omitempty"`
	Message  string    `json:"message,omitempty"`
	Seconds  float64   `json:"seconds,omitempty"`
	FellBack bool      `json:"fell_back,omitempty"` // the newest backup was unusable
}

// Schedule is the daemon's plan.
type Schedule struct {
	Server          string    `json:"server,omitempty"` // its system identifier; "" unknown
	Expression      string    `json:"expression"`
	TimeZone        string    `json:"time_zone"`
	Next            time.Time `json:"next"`
	IntervalSeconds float64   `json:"interval_seconds"` // from the run due last to the next; 0 unknown
	// LastDue is the latest time of the schedule that was served, or given up: catching up starts there.
	LastDue time.Time `json:"last_due,omitzero"`
	// Lock is what the daemon holds for as long as it lives; zero where it holds none.
	Lock DaemonLock `json:"lock,omitzero"`
}

// DaemonLock tells the lock of a daemon from that of a copy of the repository, and from one that another machine holds.
type DaemonLock struct {
	Inode uint64 `json:"inode"`
	// Boot is the run of the machine's kernel, which frees the lock when its holder dies. Some network file systems keep each machine's
	// locks from the others, so that a lock of another one says nothing.
	Boot string `json:"boot"`
}

// LateRun is how much a run may be overdue before nobody is taken to look after the repository: the daemon begins within seconds.
const LateRun = time.Minute

// ScheduleOf is the plan of the daemon of a server, or of its line; nil without one. A plan whose daemon did not say which server it is of,
// or whose server is none of the repository's (it was made anew, and has no backup yet), is that of the only line there is.
func (s State) ScheduleOf(server string, servers Servers) *Schedule {
	last, line := s.Schedule, servers.Line(server)
	if last == nil || line == "" || len(s.Schedules) == 0 || len(servers.Lines()) <= 1 && !servers.Knows(last.Server) {
		return last
	}
	var found *Schedule
	for id, plan := range s.Schedules {
		if servers.Line(id) == line && (found == nil || plan.LastDue.After(found.LastDue)) {
			found = &plan
		}
	}
	return found
}

// WithSchedule enters a daemon's plan.
func (s State) WithSchedule(plan Schedule) State {
	s.Schedule = &plan
	if plan.Server != "" {
		s.Schedules = maps.Clone(s.Schedules)
		if s.Schedules == nil {
			s.Schedules = map[string]Schedule{}
		}
		s.Schedules[plan.Server] = plan
	}
	return s
}

// WAL says up to when an archive can recover.
type WAL struct {
	Engine     string    `json:"engine"`
	ArchivedTo time.Time `json:"archived_to"` // recoverable state is at least of this time
	At         time.Time `json:"at"`
	// Segment is the last one in the archive up to which none is missing since the newest backup.
	Segment string `json:"segment,omitempty"`
	// Marks are positions of the server that the archive has yet to reach, and the last it reached.
	Marks []WALMark `json:"marks,omitempty"`
}

// WALMark notes where the server's WAL stood at a time: what was committed until then lies before it.
type WALMark struct {
	At  time.Time `json:"at"`  // by the server's clock
	LSN string    `json:"lsn"` // e.g. "0/15000028"
	// Snapshot tells whether anything was committed since; "" when unknown.
	Snapshot string `json:"snapshot,omitempty"`
}

// add counts one.
func add(counts []Count, result string, reason failure.Reason) []Count {
	for i := range counts {
		if counts[i].Result == result && counts[i].Reason == reason {
			out := append([]Count(nil), counts...)
			out[i].N++
			return out
		}
	}
	out := append(append([]Count(nil), counts...), Count{Result: result, Reason: reason, N: 1})
	sort.Slice(out, func(a, b int) bool {
		if out[a].Result != out[b].Result {
			return out[a].Result > out[b].Result // success first
		}
		return out[a].Reason < out[b].Reason
	})
	return out
}

// Settled folds a run that ended without a word into the state: one whose backup was published is a
// success, any other is a failure of reason "killed". One that was killed before its entry in the journal
// left no more than a directory. The caller knows that nobody holds the lock.
func (r *Repository) Settled(s State) State {
	if run := s.Running; run != nil {
		s.Running = nil
		if b, err := r.Get(run.ID); err == nil {
			s = s.Succeeded(b.Manifest)
		} else {
			s = s.Failed(Failure{
				ID: run.ID, At: run.Since, Reason: failure.Killed,
				Message: fmt.Sprintf("the run that began at %s on %s (pid %d) vanished", run.Since.Format(time.RFC3339), run.Host, run.PID),
			})
		}
	}
	drafts, _ := os.ReadDir(filepath.Join(r.dir, tmpDir)) // what can't be read is the next run's to say
	for _, d := range drafts {
		if n, ok := sequenceOf(d.Name()); ok && n > s.LastSequence {
			s = s.Failed(Failure{ID: d.Name(), At: timeOf(d.Name()), Reason: failure.Killed, Message: "the run vanished at its beginning"})
			s.LastSequence = n
		}
	}
	return s
}

// Began enters a run into the state.
func (s State) Began(run Running) State {
	s.Running = &run
	s.LastAttempt = run.Since
	if n, ok := sequenceOf(run.ID); ok {
		s.LastSequence = max(s.LastSequence, n)
	}
	return s
}

// Succeeded enters the end of a run whose backup was published.
func (s State) Succeeded(m Manifest) State {
	s.Running = nil
	s.LastSuccess = m.Finished
	s.LastDurationSeconds = m.Duration().Seconds()
	s.Runs = add(s.Runs, Success, "")
	return s
}

// Failed enters the end of a run that failed.
func (s State) Failed(f Failure) State {
	s.Running = nil
	f.Message = Cut(f.Message)
	s.LastFailure = &f
	if s.LastAttempt.Before(f.At) {
		s.LastAttempt = f.At
	}
	s.Runs = add(s.Runs, Failing, f.Reason)
	return s
}

// TurnedAway enters a run that never began because another one holds the lock.
func (s State) TurnedAway(f Failure) State {
	running := s.Running
	s = s.Failed(f)
	s.Running = running
	return s
}

// WithVerification counts a level 3 verification.
func (s State) WithVerification(result string, reason failure.Reason) State {
	s.Verifications = add(s.Verifications, result, reason)
	return s
}

// WithAutoRestore enters what bootstrap did.
func (s State) WithAutoRestore(a AutoRestore, reason failure.Reason) State {
	s.AutoRestores = add(s.AutoRestores, a.Result, reason)
	s.LastRestore = &a
	return s
}
