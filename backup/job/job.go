// Package job is one run of a backup from lock to pruning: what `run` does once and `schedule` on time.
//
// A run is a success when its backup is published. Whatever comes after (the copy elsewhere,
// verification, pruning) may fail, and is reported, without making it less of a success.
package job

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/backup/verify"
)

// recordTimeout bounds writing down a run's end after its context is gone.
const recordTimeout = 30 * time.Second

// Job is everything a run needs: what it makes, what it may take, and who is asked for what follows.
type Job struct {
	// Pruner has the repository and the log of the whole run, and deletes at its end. Its Engines may be nil: Engine alone.
	Pruner
	Limits
	Engine  engine.Engine
	Request engine.Request
	// Verifier rehearses the new backup when Verify is set.
	Verifier *verify.Verifier
	Verify   bool
	// NoPrune leaves out deleting old backups after a success.
	NoPrune bool
	// Trigger says who asked: "run", "schedule" or "request".
	Trigger string
	Tool    string // version of this program
	Now     func() time.Time
}

// Limits are what a run may take, and what makes its backup suspect.
type Limits struct {
	// Timeout bounds making the backup, verification aside; 0 means no bound.
	Timeout time.Duration
	// VerifyTimeout bounds the verification; 0 means no bound.
	VerifyTimeout time.Duration
	// SuspectBelow is the share of the previous backup's size or rows below which a new one is
	// suspect, e.g. 0.5; 0 turns it off.
	SuspectBelow float64
	// MinFree is what must stay free on the repository's disk beyond the estimate, in bytes.
	MinFree int64
	// NoSpaceCheck leaves out the check for free space.
	NoSpaceCheck bool
}

// Result is what a run came to.
type Result struct {
	// Backup is set when the run was a success.
	Backup *catalog.Backup `json:"backup,omitempty"`
	// Verification is set when one was tried.
	Verification *catalog.Verification `json:"verification,omitempty"`
	// Removed are the ids of backups that were pruned.
	Removed []string `json:"removed,omitempty"`
	// Unrecorded is a failure that could not be entered in the repository, because it is gone.
	Unrecorded *catalog.Failure `json:"unrecorded,omitempty"`
}

// Run makes one backup. After a failure no trace of it is left but its entry in the journal.
func (j *Job) Run(ctx context.Context) (Result, error) {
	release, err := j.Repo.Lock()
	if err != nil {
		return j.turnedAway(ctx, err)
	}
	defer release()
	if j.Engines == nil {
		j.Engines = []engine.Engine{j.Engine}
	}
	if j.Repo.Exposed() {
		_ = level.Warn(j.Log).Log("msg", "other users of this machine may enter the repository, which holds all rows and the roles' passwords",
			"hint", "chmod -R go-rwx "+j.Repo.Dir())
	}
	j.Request.Target = j.Request.Target.OneServer()
	if err := j.admit(ctx); err != nil {
		return j.failed(ctx, "", err)
	}
	if swept, err := j.Repo.Sweep(ctx); err != nil {
		return j.unrecorded(err)
	} else if len(swept) > 0 {
		_ = level.Warn(j.Log).Log("msg", "removed what a killed job left behind", "what", strings.Join(swept, " "))
	}
	b, res, err := j.backup(ctx)
	if err != nil {
		return res, err
	}
	res.Backup = &b
	_ = level.Info(j.Log).Log("msg", "backup published", "id", b.ID, "bytes", b.Manifest.Bytes, "rows", b.Manifest.Rows(),
		"databases", len(b.Manifest.Databases), "seconds", b.Manifest.Duration().Seconds())
	if b.Manifest.Suspect != nil {
		_ = level.Error(j.Log).Log("msg", "the backup is suspect: pruning is paused", "id", b.ID, "why", b.Manifest.Suspect.Message,
			"hint", "if that is right: pg_reliability_backup accept "+b.ID)
	}
	res, err = j.afterwards(ctx, b, res)
	if err == nil && b.Manifest.Incomplete {
		err = incomplete(b.Manifest)
	}
	return res, err
}

// incomplete names what was asked for and is not in a backup.
func incomplete(m catalog.Manifest) error {
	var lacks []string
	for _, o := range m.Omitted {
		if o.Kind.Lacking() {
			lacks = append(lacks, o.String())
		}
	}
	return failure.New(failure.Incomplete, "backup %s is good for what it holds, and incomplete: %s", m.ID, strings.Join(lacks, "; ")).
		WithHint("`pg_reliability_backup show %s` has the remedies.", m.ID)
}

// identifyTimeout bounds asking the server who it is.
const identifyTimeout = 20 * time.Second

// admit refuses a server whose backups don't belong into the repository, before anything is made or removed. A server that does not
// answer now is asked again before its backup is published.
func (j *Job) admit(ctx context.Context) error {
	limit := identifyTimeout
	if j.Timeout > 0 {
		limit = min(limit, j.Timeout)
	}
	asking, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	id, err := server.Identify(asking, j.Request.Target)
	if failure.Of(err) == failure.Config {
		return err
	}
	if err != nil {
		_ = level.Debug(j.Log).Log("msg", "the server did not say who it is", "err", err)
		return nil
	}
	j.server = id
	return j.Repo.Admit(id)
}

// Server is the system identifier of the server, which is asked for it until it has answered once; "" is unknown. It is not for use
// beside Run.
func (j *Job) Server(ctx context.Context) string {
	if j.server == "" {
		ctx, cancel := context.WithTimeout(ctx, identifyTimeout)
		defer cancel()
		if id, err := server.Identify(ctx, j.Request.Target); err == nil {
			j.server = id
		}
	}
	return j.server
}

// backup makes and publishes one, or records why not.
func (j *Job) backup(ctx context.Context) (catalog.Backup, Result, error) {
	if err := j.Policy.Check(); err != nil {
		return catalog.Backup{}, Result{}, err
	}
	// Before the new backup gets its number: what others made in the meantime is older.
	if im, ok := j.Engine.(engine.Importer); ok {
		if err := im.Reconcile(ctx, j.Repo, j.Log); err != nil {
			res, err := j.failed(ctx, "", err)
			return catalog.Backup{}, res, err
		}
	}
	d, err := j.Repo.Begin(j.Now())
	if err != nil {
		res, err := j.failed(ctx, "", err)
		return catalog.Backup{}, res, err
	}
	m := &d.Manifest
	m.Engine, m.Set, m.Tool = j.Engine.Name(), j.Request.Databases.String(), j.Tool
	host, _ := os.Hostname()
	run := catalog.Running{ID: d.ID(), Since: m.Started, Engine: m.Engine, PID: os.Getpid(), Host: host, Trigger: j.Trigger}
	err = j.Repo.UpdateState(ctx, func(s *catalog.State) {
		*s = s.Began(run)
		s.RetentionTarget = j.Policy.Keep
	})
	var b catalog.Backup
	if err == nil {
		b, err = j.fill(ctx, d)
	}
	if err != nil {
		err = j.cause(ctx, err)
		if derr := d.Discard(); derr != nil && j.Repo.Present() == nil {
			err = errors.Join(err, derr)
		}
		res, err := j.failed(ctx, d.ID(), err)
		return catalog.Backup{}, res, err
	}
	err = j.Repo.UpdateState(context.WithoutCancel(ctx), func(s *catalog.State) { *s = s.Succeeded(b.Manifest) })
	if err != nil { // the next Sweep finds the backup and counts it
		_ = level.Error(j.Log).Log("msg", "the run's success could not be recorded", "err", err)
	}
	return b, Result{}, nil
}

// fill takes a draft from nothing to published.
func (j *Job) fill(ctx context.Context, d *catalog.Draft) (b catalog.Backup, err error) {
	if j.Timeout > 0 {
		late := failure.New(failure.Timeout, "the backup took longer than %s", j.Timeout)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, j.Timeout, late)
		defer cancel()
		defer func() {
			// A dialer that sees the deadline first reports a timeout of its own.
			if at, _ := ctx.Deadline(); err != nil && (errors.Is(context.Cause(ctx), late) || !time.Now().Before(at)) {
				err = &failure.Error{Reason: failure.Timeout, Err: fmt.Errorf("%w: %w", late, err)}
			}
		}()
	}
	lock, err := server.TakeLock(ctx, j.Request.Target)
	if err != nil {
		return catalog.Backup{}, err
	}
	defer lock.Release()
	if note := lock.Note(); note != "" {
		_ = level.Warn(j.Log).Log("msg", note)
	}
	all, err := j.Repo.Brief()
	if err != nil {
		return catalog.Backup{}, err
	}
	servers, err := j.Repo.Servers(all)
	if err != nil {
		return catalog.Backup{}, err
	}
	d.Manifest.Server.SystemIdentifier = j.server
	var previous *catalog.Backup
	if some := ofKind(all, servers, d.Manifest, good); len(some) > 0 {
		b, err := j.Repo.Get(some[0].ID) // with its tables
		if err != nil {
			return catalog.Backup{}, err
		}
		previous = &b
	}
	if err := j.checkSpace(ctx, previous); err != nil {
		return catalog.Backup{}, err
	}
	if previous != nil && previous.Manifest.Finished.After(j.Now()) {
		_ = level.Warn(j.Log).Log("msg", "the clock was set back: the last backup ends in the future",
			"last", previous.Manifest.Finished.Format(time.RFC3339), "now", j.Now().Format(time.RFC3339))
	}
	req := j.Request
	req.Previous = previous
	if err := j.Engine.Backup(ctx, req, d); err != nil {
		return catalog.Backup{}, err
	}
	j.Request.Report("seal", 0, 0)
	if err := d.Seal(); err != nil {
		return catalog.Backup{}, err
	}
	if err := context.Cause(ctx); err != nil {
		return catalog.Backup{}, err
	}
	if err := j.Repo.Admit(d.Manifest.Server.SystemIdentifier); err != nil { // asked at the beginning, if the server answered then
		return catalog.Backup{}, err
	}
	servers.Excuse(&d.Manifest)
	sayLacks(j.Log, d.Manifest.Omitted)
	if d.Manifest.Suspect == nil { // the engine may know of something itself
		var before []catalog.Manifest
		for _, b := range ofKind(all, servers, d.Manifest, plausible) {
			if len(before) == remembered {
				break
			}
			if b, err = j.Repo.Get(b.ID); err != nil { // with its tables
				return catalog.Backup{}, err
			}
			before = append(before, servers.WithoutGone(b))
		}
		d.Manifest.Suspect = Suspicion(d.Manifest, before, j.SuspectBelow)
	}
	return d.Publish(j.Now())
}

// cause replaces what a program said by why: it was killed, or its disk went away.
func (j *Job) cause(ctx context.Context, err error) error {
	var f *failure.Error
	if gone := j.Repo.Present(); gone != nil && failure.Of(err) != failure.Repository {
		return failure.New(failure.Repository, "%w (then: %w)", gone, err)
	}
	if errors.As(err, &f) && f.Reason == failure.Timeout {
		return err
	}
	if ctx.Err() != nil {
		return &failure.Error{Reason: failure.Interrupted, Err: fmt.Errorf("the run was interrupted: %w", err)}
	}
	if failure.Of(err) == failure.Space && (!errors.As(err, &f) || f.Hint == "") {
		return failure.New(failure.Space, "repository %s: %w", j.Repo.Dir(), err).
			WithHint("Free space there, or lower --keep and `prune`; the unfinished backup is removed.")
	}
	return err
}

// checkSpace refuses a run that would fill the disk.
func (j *Job) checkSpace(ctx context.Context, previous *catalog.Backup) error {
	if j.NoSpaceCheck {
		return nil
	}
	need, err := j.Engine.Estimate(ctx, j.Request, previous)
	if err != nil {
		return err
	}
	free, err := catalog.FreeBytes(j.Repo.Dir())
	if err != nil {
		return err
	}
	if free < need+j.MinFree {
		return failure.New(failure.Space, "repository %s: %d MB are free, the backup needs about %d MB, %d MB shall stay free",
			j.Repo.Dir(), free>>20, need>>20, j.MinFree>>20).
			WithHint("Free space, lower --keep and `prune`, or run once with --no-space-check.")
	}
	return nil
}

// ofKind are the backups of the same kind as one that is being made, newest first, that fit.
func ofKind(all []catalog.Backup, servers catalog.Servers, m catalog.Manifest, fits func(catalog.Backup) bool) []catalog.Backup {
	var some []catalog.Backup
	for _, b := range all {
		if b.ID != m.ID && servers.KindOf(b.Manifest) == servers.KindOf(m) && fits(b) {
			some = append(some, b)
		}
	}
	return some
}

func good(b catalog.Backup) bool { return b.Health.Good() }

// plausible backups were no suspects when they were made. One that was damaged since still says what the server held: where
// all are, and the data with them, the backup of the empty server is no new beginning.
func plausible(b catalog.Backup) bool {
	return b.Manifest.Engine != "" && (b.Manifest.Suspect == nil || b.Status.Accepted != nil)
}

// afterwards copies, verifies and prunes. The first failure is the run's error, the rest is logged.
func (j *Job) afterwards(ctx context.Context, b catalog.Backup, res Result) (Result, error) {
	var failures []error
	if j.Copier != nil {
		if err := j.Copier.Copy(ctx, b); err != nil {
			_ = j.wrong(ctx).Log("msg", "the off-site copy failed; the local backup is good", "id", b.ID, "err", err)
			failures = append(failures, err)
		}
	}
	if j.Verify && j.Verifier != nil {
		v, err := j.verify(ctx, b.ID)
		res.Verification = &v
		if err != nil {
			_ = j.wrong(ctx).Log("msg", "verification did not pass", "id", b.ID, "result", v.Result, "err", err)
			failures = append(failures, err)
		} else {
			_ = level.Info(j.Log).Log("msg", "backup verified", "id", b.ID, "rows", v.Rows, "seconds", v.Seconds, "restore_seconds",
				v.RestoreSeconds)
		}
		if fresh, err := j.Repo.Get(b.ID); err == nil {
			res.Backup = &fresh
		}
	}
	if !j.NoPrune && ctx.Err() == nil {
		decisions, err := j.Decide()
		if err == nil {
			res.Removed, err = j.Prune(ctx, decisions)
		}
		if err != nil {
			_ = j.wrong(ctx).Log("msg", "pruning failed", "err", err)
			failures = append(failures, err)
		}
	}
	if len(failures) == 0 {
		return res, nil
	}
	return res, failures[0]
}

// wrong logs an error; what ends because the job was told to end is none.
func (j *Job) wrong(ctx context.Context) log.Logger {
	if ctx.Err() != nil {
		return level.Info(j.Log)
	}
	return level.Error(j.Log)
}

func (j *Job) verify(ctx context.Context, id string) (catalog.Verification, error) {
	if j.VerifyTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, j.VerifyTimeout, failure.New(failure.Timeout, "the verification took longer than %s",
			j.VerifyTimeout))
		defer cancel()
	}
	return j.Verifier.Verify(ctx, id, verify.Rehearsal)
}

// failed records a run that failed.
func (j *Job) failed(ctx context.Context, id string, err error) (Result, error) {
	f := catalog.Failure{ID: id, At: j.Now().UTC(), Reason: failure.Of(err), Message: err.Error()}
	return j.enter(ctx, f, err, catalog.State.Failed)
}

// turnedAway records a run that found the repository locked.
func (j *Job) turnedAway(ctx context.Context, err error) (Result, error) {
	f := catalog.Failure{At: j.Now().UTC(), Reason: failure.Of(err), Message: err.Error()}
	return j.enter(ctx, f, err, catalog.State.TurnedAway)
}

func (j *Job) enter(ctx context.Context, f catalog.Failure, err error, fold func(catalog.State, catalog.Failure) catalog.State) (Result,
	error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	werr := j.Repo.UpdateState(ctx, func(s *catalog.State) { *s = fold(*s, f) })
	if werr == nil {
		return Result{}, err
	}
	_ = level.Error(j.Log).Log("msg", "the failure could not be recorded in the repository", "failure", err, "err", werr)
	return Result{Unrecorded: &f}, err
}

// unrecorded is for a failure of the repository itself.
func (j *Job) unrecorded(err error) (Result, error) {
	return Result{Unrecorded: &catalog.Failure{At: j.Now().UTC(), Reason: failure.Of(err), Message: err.Error()}}, err
}

// sayLacks logs what a backup lacks: of each kind the first ten, for the manifest has all.
func sayLacks(log log.Logger, omitted []catalog.Omission) {
	const most = 10
	n := map[catalog.OmissionKind]int{}
	for _, o := range omitted {
		l := level.Warn(log)
		if o.Kind == catalog.ExcludedDatabase {
			l = level.Info(log)
		}
		if n[o.Kind]++; n[o.Kind] <= most {
			_ = l.Log(o.Said("not in the backup: ")...)
		} else if n[o.Kind] == most+1 {
			_ = l.Log("msg", "not in the backup: more of the kind "+string(o.Kind), "hint", "`pg_reliability_backup show` names them")
		}
	}
}
