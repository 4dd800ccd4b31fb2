// Package metrics turns a catalogue into Prometheus metrics: the same names whether the exporter, the
// daemon or a textfile shows them. All is read from disk at each collection, so that a job that is
// dead shows as a growing age. What is not known is absent. A repository that hangs (a dead network mount) holds nobody up: the reading
// before stands for it for a minute, then it counts as unreadable.
package metrics

import (
	"errors"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

const namespace = "pg_reliability_backup_"

// futureTolerance is how far ahead of our clock a backup's time may be before its age is unknown: the
// clock was set back, or two machines differ.
const futureTolerance = 5 * time.Second

// Collector reads a repository at each collection. It implements prometheus.Collector.
type Collector struct {
	dir   string
	now   func() time.Time
	descs descs

	repo *catalog.Repository // kept for what it remembers; of the reading under way alone

	mu      sync.Mutex
	pending []catalog.Failure // that the repository could not take
	last    *Reading          // nil before the first
	flight  chan struct{}     // closed when the reading under way has ended; nil without one

	listed atomic.Pointer[Listing]
}

// New makes a collector for the repository in a directory, which may be missing for now.
func New(dir string, now func() time.Time) *Collector {
	return &Collector{dir: dir, now: now, descs: makeDescs()}
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

// descs are all metrics of the collector.
type descs struct {
	all []*prometheus.Desc

	up, catalogError, catalogAge, info                                        *prometheus.Desc
	lastSuccess, lastFailure, lastAttempt, lastVerified                       *prometheus.Desc
	age, verifiedAge, lastSize, previousSize, lastRows, lastDuration          *prometheus.Desc
	restoreDuration, count, bytes, retentionTarget, runningSince              *prometheus.Desc
	nextRun, ageLimit, scheduleInterval, runs, verifications, lastFailureInfo *prometheus.Desc
	repositorySize, repositoryFree, rpo, rto                                  *prometheus.Desc
	autoRestores, autoRestoreLast, autoRestoreFellBack                        *prometheus.Desc
	offsiteLast, offsiteAge, offsiteLastFailure, offsiteCopies, walTime       *prometheus.Desc
	omitted                                                                   *prometheus.Desc
}

func makeDescs() descs {
	const n = namespace
	var all []*prometheus.Desc
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		d := prometheus.NewDesc(name, help, labels, nil)
		all = append(all, d)
		return d
	}
	d := descs{
		up:           desc(n+"catalog_up", "1 if the backup repository could be read, 0 if it is missing, unmounted or damaged."),
		catalogError: desc(n+"catalog_error_info", "Present with value 1 while the backup repository can't be read: why.", "reason"),
		catalogAge:   desc(n+"catalog_age_seconds", "Seconds since the backup repository was read. It grows while the repository does not answer, for a minute."),
		info: desc(n+"info", "The backup repository and what its newest backup was made of and with.",
			"repository_id", "engine", "server_version", "system_identifier", "version"),
		lastSuccess:  desc(n+"last_success_timestamp_seconds", "When the newest good backup was completed."),
		lastFailure:  desc(n+"last_failure_timestamp_seconds", "When the last failed run failed; of one that was killed, when it began."),
		lastAttempt:  desc(n+"last_attempt_timestamp_seconds", "When the last run began."),
		lastVerified: desc(n+"last_verified_timestamp_seconds", "When a backup was last restored into a throwaway server and found equal to its manifest."),
		age:          desc(n+"age_seconds", "Seconds since the newest good backup was completed. Absent while its time is in the future."),
		verifiedAge:  desc(n+"verified_age_seconds", "Seconds since the last verification that passed."),
		lastSize:     desc(n+"last_size_bytes", "Size of the newest backup that is not damaged."),
		previousSize: desc(n+"previous_size_bytes", "Size of the backup before the newest, of the same engine and set."),
		lastRows:     desc(n+"last_rows", "Rows of all tables in the newest backup that is not damaged."),
		lastDuration: desc(n+"last_duration_seconds", "Seconds the newest good backup took, without its verification."),
		restoreDuration: desc(n+"restore_duration_seconds",
			"Seconds the last verification that passed took from an empty directory to a restored server."),
		count:            desc(n+"count", "Backups in the repository, by state.", "state"),
		bytes:            desc(n+"bytes", "Bytes of the backups in the repository, by state.", "state"),
		retentionTarget:  desc(n+"retention_target", "Newest good backups the job keeps."),
		runningSince:     desc(n+"running_since_timestamp_seconds", "When the run that is in progress began; absent while there is none."),
		nextRun:          desc(n+"next_run_timestamp_seconds", "When the daemon begins its next run."),
		scheduleInterval: desc(n+"schedule_interval_seconds", "Seconds from the daemon's run that was due last to the next."),
		ageLimit:         desc(n+"age_limit_seconds", "How old the newest good backup may be now: as old as the daemon's run that should have ended last."),
		runs:             desc(n+"runs_total", "Runs since the repository was made, by result and reason.", "result", "reason"),
		verifications:    desc(n+"verifications_total", "Verifications by restore since the repository was made, by result and reason.", "result", "reason"),
		lastFailureInfo:  desc(n+"last_failure_info", "Reason of the last failed run.", "reason"),
		repositorySize:   desc(n+"repository_size_bytes", "Bytes of all backups in the repository."),
		repositoryFree:   desc(n+"repository_free_bytes", "Bytes free on the repository's file system."),
		rpo: desc("pg_reliability_rpo_seconds",
			"Recovery point: age of the newest state that can be recovered, archived WAL included."),
		rto: desc("pg_reliability_rto_seconds",
			"Recovery time as last measured: seconds to restore the newest verified backup into an empty server."),
		autoRestores:        desc(n+"auto_restore_total", "Automatic restores of an empty server (bootstrap), by result.", "result"),
		autoRestoreLast:     desc(n+"auto_restore_last_timestamp_seconds", "When an empty server was last restored automatically, or that was tried."),
		autoRestoreFellBack: desc(n+"auto_restore_fell_back", "1 if the last automatic restore had to pass over newer backups that were unusable."),
		offsiteLast:         desc(n+"offsite_last_success_timestamp_seconds", "When the newest backup that has a complete off-site copy was copied."),
		offsiteAge:          desc(n+"offsite_age_seconds", "Seconds since the newest backup with a complete off-site copy was made."),
		offsiteLastFailure:  desc(n+"offsite_failing", "1 if the last attempt to copy the newest good backup off-site failed."),
		offsiteCopies:       desc(n+"offsite_copies", "Backups in the repository that have a complete off-site copy."),
		omitted:             desc(n+"omitted", "What the newest good backup lacks of the server, by kind: `show` names each, with its remedy.", "kind"),
		walTime:             desc(n+"wal_archived_timestamp_seconds", "Up to when archived WAL can recover, as last seen by the job."),
	}
	d.all = all
	return d
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs.all {
		ch <- d
	}
}

// Collect implements prometheus.Collector. It answers within Patience, whatever the repository does.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	r := c.Read(Patience)
	pending := c.Pending()
	d := c.descs
	e := emitter{ch: ch, now: c.now()}
	if r.Err != nil {
		reason := errorReason(r.Err)
		e.gauge(d.up, 0)
		e.gauge(d.catalogError, 1, reason)
		e.unread(d, pending)
		c.listed.Store(&Listing{Error: reason})
		return
	}
	for _, f := range pending {
		r.State = r.State.TurnedAway(f)
	}
	l := listing(r, e.now)
	c.listed.Store(l)
	e.gauge(d.up, 1)
	e.gauge(d.catalogAge, max(0, e.now.Sub(r.At).Seconds()))
	e.state(d, r.State)
	e.listing(d, l)
	e.backups(d, r.repo, r.All)
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
func (e emitter) unread(d descs, pending []catalog.Failure) {
	if n := len(pending); n > 0 {
		last := pending[n-1]
		e.time(d.lastFailure, last.At)
		e.time(d.lastAttempt, last.At)
		e.gauge(d.lastFailureInfo, 1, string(last.Reason))
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

// emitter sends metrics.
type emitter struct {
	ch  chan<- prometheus.Metric
	now time.Time
}

func (e emitter) gauge(d *prometheus.Desc, v float64, labels ...string) {
	e.ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (e emitter) counter(d *prometheus.Desc, v uint64, labels ...string) {
	e.ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// time sends a timestamp, unless it is unknown.
func (e emitter) time(d *prometheus.Desc, t time.Time) {
	if !t.IsZero() {
		e.gauge(d, seconds(t))
	}
}

// age sends the seconds since a time, unless that is unknown or lies in the future.
func (e emitter) age(d *prometheus.Desc, t time.Time) {
	if t.IsZero() || t.Sub(e.now) > futureTolerance {
		return
	}
	e.gauge(d, max(0, e.now.Sub(t).Seconds()))
}

// state sends what the journal holds.
func (e emitter) state(d descs, s catalog.State) {
	e.time(d.lastAttempt, s.LastAttempt)
	if f := s.LastFailure; f != nil {
		e.time(d.lastFailure, f.At)
		e.gauge(d.lastFailureInfo, 1, string(f.Reason))
	}
	if s.RetentionTarget > 0 {
		e.gauge(d.retentionTarget, float64(s.RetentionTarget))
	}
	if p := s.Schedule; p != nil {
		e.time(d.nextRun, p.Next)
		e.gauge(d.scheduleInterval, p.IntervalSeconds)
	}
	e.counts(d.runs, s.Runs)
	e.counts(d.verifications, s.Verifications)
	restores := map[string]uint64{catalog.Success: 0, catalog.Failing: 0}
	for _, c := range s.AutoRestores {
		restores[c.Result] += c.N
	}
	for result, n := range restores {
		e.counter(d.autoRestores, n, result)
	}
	if r := s.LastRestore; r != nil {
		e.time(d.autoRestoreLast, r.At)
		fell := 0.0
		if r.FellBack {
			fell = 1
		}
		e.gauge(d.autoRestoreFellBack, fell)
	}
	if s.WAL != nil {
		e.time(d.walTime, s.WAL.ArchivedTo)
	}
}

// counts sends a counter for every reason a run can fail for, so that the first failure is an increase.
func (e emitter) counts(d *prometheus.Desc, counts []catalog.Count) {
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
	for k, v := range n {
		e.counter(d, v, k[0], k[1])
	}
}

// listing sends what the status shows, too.
func (e emitter) listing(d descs, l *Listing) {
	for h, n := range l.Count {
		// Untyped, because the rules for names leave _count to histograms.
		e.ch <- prometheus.MustNewConstMetric(d.count, prometheus.UntypedValue, float64(n), string(h))
	}
	e.gauge(d.repositorySize, float64(l.Bytes))
	if l.FreeBytes != nil {
		e.gauge(d.repositoryFree, float64(*l.FreeBytes))
	}
	e.time(d.runningSince, l.RunningSince)
	e.age(d.rpo, l.RecoveryPoint)
	if v := l.Verification; v != nil {
		e.time(d.lastVerified, v.At)
		e.age(d.verifiedAge, v.At)
		if v.RestoreSeconds > 0 {
			e.gauge(d.restoreDuration, v.RestoreSeconds)
			e.gauge(d.rto, v.RestoreSeconds)
		}
	}
	if b := l.Good; b != nil {
		e.time(d.lastSuccess, b.Manifest.Finished)
		e.age(d.age, b.Manifest.Finished)
		e.gauge(d.lastDuration, b.Manifest.Duration().Seconds())
	}
	if l.AgeLimit > 0 {
		e.gauge(d.ageLimit, l.AgeLimit.Seconds())
	}
	e.age(d.offsiteAge, l.OffsiteFinished)
	if l.OffsiteFailing != nil {
		failing := 0.0
		if *l.OffsiteFailing {
			failing = 1
		}
		e.gauge(d.offsiteLastFailure, failing)
	}
}

// backups sends what else the list holds; it is newest first.
func (e emitter) backups(d descs, repo *catalog.Repository, all []catalog.Backup) {
	bytes := map[catalog.Health]int64{}
	for _, h := range catalog.Healths() {
		bytes[h] = 0
	}
	var newest, good, previous *catalog.Backup
	copies := 0
	for i := range all {
		b := &all[i]
		bytes[b.Health] += b.Manifest.OwnBytes()
		if o := b.Status.Offsite; o != nil && o.Completed != nil {
			if copies++; copies == 1 {
				e.time(d.offsiteLast, *o.Completed)
			}
		}
		if b.Health == catalog.Damaged {
			continue
		}
		if newest == nil {
			newest = b
		} else if previous == nil && b.Manifest.Engine == newest.Manifest.Engine && b.Manifest.Set == newest.Manifest.Set {
			previous = b
		}
		if good == nil && b.Health.Good() {
			good = b
		}
	}
	for h, n := range bytes {
		e.gauge(d.bytes, float64(n), string(h))
	}
	if good != nil {
		n := map[catalog.OmissionKind]int{}
		for _, o := range good.Manifest.Omitted {
			n[o.Kind]++
		}
		for _, k := range catalog.OmissionKinds() {
			e.gauge(d.omitted, float64(n[k]), string(k))
		}
	}
	if newest != nil {
		m := newest.Manifest
		e.gauge(d.lastSize, float64(m.Bytes))
		if m.Counted() {
			e.gauge(d.lastRows, float64(m.Rows()))
		}
		e.gauge(d.info, 1, repo.ID(), m.Engine, m.Server.Version, m.Server.SystemIdentifier, m.Tool)
	}
	if previous != nil {
		e.gauge(d.previousSize, float64(previous.Manifest.Bytes))
	}
	if good != nil && good.Status.Offsite != nil {
		e.gauge(d.offsiteCopies, float64(copies))
	}
}
