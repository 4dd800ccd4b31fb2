// Package metrics turns a catalogue into Prometheus metrics: the same names whether the exporter, the
// daemon or a textfile shows them. All is read from disk at each collection, so that a job that is
// dead shows as a growing age. What is not known is absent. A repository that hangs (a dead network mount) holds nobody up: the reading
// before stands for it for a minute, then it counts as unreadable.
package metrics

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pg-reliability/pg_reliability_exporter/backup/cage"
	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

// futureTolerance is how far ahead of our clock a backup's time may be before its age is unknown: the
// clock was set back, or two machines differ.
const futureTolerance = 5 * time.Second

// Collector reads a repository at each collection.
type Collector struct {
	dir string
	now func() time.Time

	repo *catalog.Repository // kept for what it remembers; of the reading under way alone

	mu      sync.Mutex
	pending []catalog.Failure // that the repository could not take
	last    *Reading          // nil before the first
	flight  chan struct{}     // closed when the reading under way has ended; nil without one

	listed atomic.Pointer[Listing]

	told func(err error)
	// why is the reason that was told last, "" while the repository can be read.
	why string
}

// New makes a collector for the repository in a directory, which may be missing for now.
func New(dir string, now func() time.Time) *Collector {
	return &Collector{dir: dir, now: now}
}

// OnChange names who hears, once each time, that the repository can't be read and why, and, with nil, that it can again. It is called
// before the first Collect.
func (c *Collector) OnChange(told func(err error)) { c.told = told }

func (c *Collector) tell(reason string, err error) {
	c.mu.Lock()
	changed := reason != c.why
	c.why = reason
	c.mu.Unlock()
	if changed && c.told != nil {
		c.told(err)
	}
}

// Unrecorded adds a failure that could not be entered in the repository, because that is what failed.
func (c *Collector) Unrecorded(f catalog.Failure) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending = append(c.pending, f)
}

// Pending returns the failures added by Unrecorded; the caller enters them in the repository once
// it is back, and calls Recorded.
func (c *Collector) Pending() []catalog.Failure {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]catalog.Failure(nil), c.pending...)
}

// Recorded forgets the first n pending failures: they are in the repository now.
func (c *Collector) Recorded(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending = c.pending[min(n, len(c.pending)):]
}

// Metrics are for the registry of a program that shows the repository beside its own.
func (c *Collector) Metrics() prometheus.Collector { return metric.NewCollector(declared, c.fill) }

// Name is backup: the exporter reads the repository as one source among others, and does not ask the job, so that a job that is dead
// shows as a growing age.
func (*Collector) Name() string { return "backup" }

// Help is one line for users.
func (*Collector) Help() string {
	return "Backups: ages, sizes, verifications and what a restore takes."
}

// Collect adds what the repository holds. It answers within Patience, whatever the repository does. That it can't be read is a
// metric, and no error.
func (c *Collector) Collect(_ context.Context, out *metric.Sink) error {
	c.fill(out)
	return nil
}

func (c *Collector) fill(out *metric.Sink) {
	r := c.Read(Patience)
	pending := c.Pending()
	e := emitter{Sink: out, now: c.now()}
	if r.Err != nil {
		reason := errorReason(r.Err)
		e.Add(CatalogUp, 0)
		e.Add(descCatalogError, 1, reason)
		e.unread(pending)
		c.listed.Store(&Listing{Error: reason})
		c.tell(reason, r.Err)
		return
	}
	c.tell("", nil)
	for _, f := range pending {
		r.State = r.State.TurnedAway(f)
	}
	l := listing(r, e.now)
	c.listed.Store(l)
	e.Add(CatalogUp, 1)
	e.Add(descCatalogAge, max(0, e.now.Sub(r.At).Seconds()))
	e.state(r.State)
	e.listing(l)
	e.backups(r, l.Good)
}

// stateOf reads the journal; of a damaged one, what can be made out.
func stateOf(repo *catalog.Repository) (catalog.State, error) {
	state, err := repo.State()
	if errors.Is(err, catalog.ErrDamagedJournal) {
		err = nil
	}
	return state, err
}

// unread shows what is known without the repository: the failures it could not take.
func (e emitter) unread(pending []catalog.Failure) {
	if n := len(pending); n > 0 {
		last := pending[n-1]
		e.Time(descLastFailure, last.At)
		e.Time(descLastAttempt, last.At)
		e.Add(descLastFailureInfo, 1, string(last.Reason))
	}
}

// errorReason is why a repository can't be read, as a word.
func errorReason(err error) string {
	switch {
	case errors.Is(err, catalog.ErrNoRepository):
		return "missing"
	case errors.Is(err, fs.ErrPermission):
		return "permission"
	}
	return string(failure.Of(err))
}

// emitter adds samples at a moment.
type emitter struct {
	*metric.Sink
	now time.Time
}

// age sends the seconds since a time, unless that is unknown or lies in the future.
func (e emitter) age(d *metric.Desc, t time.Time) {
	if t.IsZero() || t.Sub(e.now) > futureTolerance {
		return
	}
	e.Add(d, max(0, e.now.Sub(t).Seconds()))
}

// state sends what the journal holds.
func (e emitter) state(s catalog.State) {
	e.Time(descLastAttempt, s.LastAttempt)
	if f := s.LastFailure; f != nil {
		e.Time(descLastFailure, f.At)
		e.Add(descLastFailureInfo, 1, string(f.Reason))
	}
	if s.RetentionTarget > 0 {
		e.Add(descRetentionTarget, float64(s.RetentionTarget))
	}
	e.counts(descRuns, s.Runs)
	e.counts(descVerifications, s.Verifications)
	restores := map[string]uint64{catalog.Success: 0, catalog.Failing: 0}
	for _, c := range s.AutoRestores {
		restores[c.Result] += c.N
	}
	for _, result := range slices.Sorted(maps.Keys(restores)) {
		e.Add(descAutoRestores, float64(restores[result]), result)
	}
	if r := s.LastRestore; r != nil {
		e.Time(AutoRestoreLast, r.At)
		e.Bool(descAutoRestoreFellBack, r.FellBack)
	}
	if s.WAL != nil {
		e.Time(descWalTime, s.WAL.ArchivedTo)
	}
}

// counts sends a counter for every reason a run can fail for, so that the first failure is an increase.
func (e emitter) counts(d *metric.Desc, counts []catalog.Count) {
	n := map[[2]string]uint64{{catalog.Success, ""}: 0}
	for _, r := range failure.Reasons() {
		switch r {
		case failure.Refused, failure.Nothing, failure.Restore, failure.Stale, failure.Incomplete:
		default:
			n[[2]string{catalog.Failing, string(r)}] = 0
		}
	}
	for _, c := range counts {
		n[[2]string{c.Result, string(c.Reason)}] = c.N
	}
	for _, k := range slices.SortedFunc(maps.Keys(n), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) }) {
		e.Add(d, float64(n[k]), k[0], k[1])
	}
}

// listing sends what the status shows, too.
func (e emitter) listing(l *Listing) {
	for _, h := range slices.Sorted(maps.Keys(l.Count)) {
		e.Add(Count, float64(l.Count[h]), string(h))
	}
	e.Add(descRepositorySize, float64(l.Bytes))
	if l.FreeBytes != nil {
		e.Add(descRepositoryFree, float64(*l.FreeBytes))
	}
	e.Time(descRunningSince, l.RunningSince)
	if l.Attended != nil {
		e.Bool(descDaemonUp, *l.Attended)
	}
	e.age(descRpo, l.RecoveryPoint)
	if estimate, known := Estimate(l); known {
		e.Add(descRecoveryEstimate, estimate)
	}
	if v := l.Verification; v != nil {
		e.Time(descLastVerified, v.At)
		e.age(descVerifiedAge, v.At)
		for _, part := range cage.Parts() {
			e.Bool(Uncaged, slices.Contains(v.UncagedParts, string(part)), string(part))
		}
		if v.RestoreSeconds > 0 {
			e.Add(descRestoreDuration, v.RestoreSeconds)
			e.Add(descRto, v.RestoreSeconds)
		}
	}
	if b := l.Good; b != nil {
		e.Time(descLastSuccess, b.Manifest.Finished)
		e.age(descAge, b.Manifest.Finished)
		e.age(descReadBackAge, b.ReadBackAt())
		e.Add(descLastDuration, b.Manifest.Duration().Seconds())
	}
	if p := l.Schedule; p != nil {
		e.Time(descNextRun, p.Next)
		e.Add(descScheduleInterval, p.IntervalSeconds)
	}
	if l.AgeLimit > 0 {
		e.Add(descAgeLimit, l.AgeLimit.Seconds())
	}
	e.age(descOffsiteAge, l.OffsiteFinished)
	if l.OffsiteFailing != nil {
		e.Bool(descOffsiteLastFailure, *l.OffsiteFailing)
	}
}

// backups sends what else the list holds; it is newest first.
func (e emitter) backups(r Reading, good *catalog.Backup) {
	bytes := map[catalog.Health]int64{}
	for _, h := range catalog.Healths() {
		bytes[h] = 0
	}
	var newest, previous *catalog.Backup
	copies := 0
	for i := range r.All {
		b := &r.All[i]
		bytes[b.Health] += b.Manifest.OwnBytes()
		if o := b.Status.Offsite; o != nil && o.Completed != nil {
			if copies++; copies == 1 {
				e.Time(descOffsiteLast, *o.Completed)
			}
		}
		if b.Health == catalog.Damaged {
			continue
		}
		if newest == nil {
			newest = b
		} else if previous == nil && r.Servers.KindOf(b.Manifest) == r.Servers.KindOf(newest.Manifest) {
			previous = b
		}
	}
	for _, h := range slices.Sorted(maps.Keys(bytes)) {
		e.Add(descBytes, float64(bytes[h]), string(h))
	}
	if good != nil {
		n := map[catalog.OmissionKind]int{}
		for _, list := range r.Servers.Awaited(r.All) {
			if i := slices.IndexFunc(list, func(b catalog.Backup) bool { return b.Health.Good() }); i >= 0 {
				for _, o := range list[i].Manifest.Omitted {
					n[o.Kind]++
				}
			}
		}
		for _, k := range catalog.OmissionKinds() {
			e.Add(Omitted, float64(n[k]), string(k))
		}
	}
	if newest != nil {
		m := newest.Manifest
		e.Add(LastSize, float64(m.Bytes))
		if m.Counted() {
			e.Add(descLastRows, float64(m.Rows()))
		}
		e.Add(descInfo, 1, r.repo.ID(), m.Engine, m.Server.Version, m.Server.SystemIdentifier, m.Tool)
	}
	if previous != nil {
		e.Add(PreviousSize, float64(previous.Manifest.Bytes))
	}
	if good != nil && good.Status.Offsite != nil {
		e.Add(descOffsiteCopies, float64(copies))
	}
}
