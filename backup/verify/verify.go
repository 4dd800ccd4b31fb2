// Package verify checks backups, in three levels: 1 reads every byte and compares digests, 2 reads
// everything with the engine's own reader, 3 restores it into a throwaway server and compares rows,
// sequences, indexes, constraints and extensions with the manifest. It writes down what it found.
package verify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"github.com/pg-reliability/pg_reliability_exporter/backup/cage"
	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/clients"
	"github.com/pg-reliability/pg_reliability_exporter/backup/contents"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/restore"
	"github.com/pg-reliability/pg_reliability_exporter/backup/scratch"
)

// Levels of verification; each includes those before.
const (
	Checksums = 1
	FullRead  = 2
	Rehearsal = 3
)

// physicalSlack is what the rehearsal of a physical backup may take beside its databases, times Verifier.Limit.
const physicalSlack = 2 << 30

// Verifier checks backups of a repository.
type Verifier struct {
	Repo    *catalog.Repository
	Engines []engine.Engine
	Finder  clients.Finder
	// Scratch says where throwaway servers are made; Programs, NeedBytes and MostBytes are filled in.
	Scratch scratch.Options
	// Limit is how many times the room that a rehearsal needs it may take before it is stopped; 0 is no limit.
	Limit float64
	// Jobs is how many tables a rehearsal loads at once; 0 means 2.
	Jobs int
	Log  log.Logger
	Now  func() time.Time
	// Progress is called now and then, if not nil.
	Progress func(phase string, done, total int64)

	told bool // what the cage lacks
}

// Verify checks one backup, keeps it from being pruned meanwhile, and enters the result in its
// status. The error is nil when it passed; of reason failure.Verify when the backup is not what its
// manifest says; a catalog.PartlyError when some of its databases are not; of any other reason when that could not be found out, which
// changes nothing about it.
func (v *Verifier) Verify(ctx context.Context, id string, depth int) (catalog.Verification, error) {
	b, err := v.Repo.Get(id)
	b = b.AsWritten() // what did not come back may do so now
	if errors.Is(err, fs.ErrNotExist) {
		return catalog.Verification{}, failure.New(failure.Nothing, "%w", err)
	}
	if err != nil {
		return catalog.Verification{}, err
	}
	if release, err := v.Repo.Hold(id); err == nil { // a damaged one may have nothing to hold
		defer release()
	}
	began := v.Now()
	result := catalog.Verification{At: began.UTC(), Level: depth, Result: catalog.Passed}
	err = v.check(ctx, b, depth, &result)
	result.Seconds = v.Now().Sub(began).Seconds()
	if err != nil {
		if present := v.Repo.Present(); present != nil {
			return result, present // a disk that went away condemns nothing
		}
		result.Message = catalog.Cut(err.Error())
		result.Result = catalog.Impossible
		if proven(err) {
			result.Result = catalog.Failed
		}
		if ctx.Err() != nil && !proven(err) {
			return result, err
		}
	}
	werr := v.record(context.WithoutCancel(ctx), b, result, err)
	if errors.Is(werr, fs.ErrPermission) || errors.Is(werr, syscall.EROFS) { // on a read-only mount a backup can be proved all the same
		_ = level.Warn(v.Log).Log("msg", "the result can't be noted in the repository, and counts for nobody else", "backup", b.ID, "result",
			result.Result, "err", werr)
		werr = nil
	}
	if werr != nil {
		return result, errors.Join(err, werr)
	}
	return result, err
}

// proven says whether a check showed that something of the backup does not come back.
func proven(err error) bool {
	var partly *catalog.PartlyError
	return failure.Of(err) == failure.Verify || errors.As(err, &partly)
}

// check runs the levels one after the other.
func (v *Verifier) check(ctx context.Context, b catalog.Backup, depth int, result *catalog.Verification) error {
	v.report("checksums", 0, b.Manifest.Bytes)
	err := v.Repo.CheckSums(b.ID, func(done int64) { v.report("checksums", done, b.Manifest.Bytes) })
	if catalog.IsDamage(err) {
		return failure.New(failure.Verify, "backup %s: %w", b.ID, err)
	}
	if err != nil { // unreadable for now: that condemns nothing
		return failure.New(failure.Repository, "read backup %s: %w", b.ID, err)
	}
	if depth < FullRead {
		return nil
	}
	e, err := engine.Of(v.Engines, b)
	if err != nil {
		return err
	}
	// A rehearsal reads everything as well: level 2 before it would only cost time.
	if depth < Rehearsal {
		if err := e.Check(ctx, b, func(done, total int64) { v.report("full read", done, total) }); err != nil {
			return fmt.Errorf("backup %s: %w", b.ID, err)
		}
		return nil
	}
	return v.rehearse(ctx, e, b, result)
}

func (v *Verifier) rehearse(ctx context.Context, e engine.Engine, b catalog.Backup, result *catalog.Verification) (err error) {
	began := v.Now()
	o := v.Scratch
	if o.Programs, err = v.Finder.Find(ctx, b.Manifest.Server.Major(), "postgres", "initdb", "pg_restore", "psql"); err != nil {
		return err
	}
	data := b.Manifest.ServerBytes()
	o.NeedBytes = data + data/5 + min(data, 1<<30) + 64<<20 // a fifth of slack, WAL, the empty cluster
	if data > 0 {                                           // else it is not known
		o.MostBytes = int64(v.Limit * float64(o.NeedBytes))
		if b.Manifest.External != nil { // WAL of the time of the backup, in files of up to 1 GB
			o.MostBytes += int64(v.Limit * float64(physicalSlack))
		}
	}
	v.report("restore", 0, 0)
	room, err := scratch.New(ctx, o)
	if err != nil {
		return err
	}
	ctx, unguard := room.Guard(ctx)
	defer func() {
		unguard()
		if cause := context.Cause(ctx); err != nil && failure.Of(cause) == failure.Space {
			err = fmt.Errorf("rehearse backup %s: %w", b.ID, cause)
		}
		v.tellUncaged(result)
		if cerr := room.Close(); cerr != nil {
			_ = level.Warn(v.Log).Log("msg", "a throwaway cluster could not be removed", "err", cerr)
		}
	}()
	restoring := e.Restoring()
	if restoring.Databases != nil {
		r := restore.Restorer{Jobs: v.Jobs, Log: v.Log, Now: v.Now, Progress: v.Progress}
		rep, err := r.Rehearse(ctx, restoring.Databases, b, room)
		result.RestoreSeconds, result.Rows = v.Now().Sub(began).Seconds(), rep.Rows
		if err != nil {
			return fmt.Errorf("rehearse backup %s: %w", b.ID, err)
		}
		return nil
	}
	if err := restoring.Server.Rehearse(ctx, b, room); err != nil {
		return fmt.Errorf("rehearse backup %s: %w", b.ID, err)
	}
	result.RestoreSeconds = v.Now().Sub(began).Seconds()
	v.report("examine", 0, 0)
	if err := restoring.Server.Examine(ctx, b, room); err != nil {
		return fmt.Errorf("rehearse backup %s: %w", b.ID, err)
	}
	return v.compare(ctx, b, room, result)
}

// compare compares a whole server that was restored with the manifest. (Single databases are compared on their way.)
func (v *Verifier) compare(ctx context.Context, b catalog.Backup, room *scratch.Room, result *catalog.Verification) error {
	v.report("compare", 0, 0)
	var differences []string
	for _, db := range b.Manifest.Databases {
		got, err := read(ctx, room, db.Name)
		if err != nil {
			return fmt.Errorf("rehearse backup %s: read database %s: %w", b.ID, db.Name, err)
		}
		for _, d := range contents.Compare(db.Contents, got) {
			differences = append(differences, db.Name+": "+d)
		}
		result.Rows += got.Rows()
	}
	if n := len(differences); n > 0 {
		if n > 10 {
			differences = append(differences[:10], fmt.Sprintf("and %d more", n-10))
		}
		return failure.New(failure.Verify, "backup %s was restored and differs: %s", b.ID, strings.Join(differences, "; "))
	}
	return nil
}

// tellUncaged notes what the rehearsal could do that it should not, and logs it once.
func (v *Verifier) tellUncaged(result *catalog.Verification) {
	for _, lack := range cage.Missing() {
		if !slices.Contains(result.Uncaged, lack.Why) {
			result.Uncaged = append(result.Uncaged, lack.Why)
		}
		result.UncagedParts = append(result.UncagedParts, string(lack.Part))
	}
	if len(result.Uncaged) > 0 && !v.told {
		v.told = true
		_ = level.Warn(v.Log).Log("msg", "the rehearsal runs without a part of its cage", "what", strings.Join(result.Uncaged, "; "))
	}
}

func read(ctx context.Context, room *scratch.Room, database string) (catalog.Contents, error) {
	conn, err := room.Target().Connect(ctx, database)
	if err != nil {
		return catalog.Contents{}, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return contents.Read(ctx, conn)
}

// record enters a result in the backup's status and, for a rehearsal, in the repository's counters.
func (v *Verifier) record(ctx context.Context, b catalog.Backup, r catalog.Verification, cause error) error {
	var partly *catalog.PartlyError
	err := v.Repo.UpdateStatus(ctx, b.ID, func(s *catalog.Status) {
		s.Checked = &r
		switch r.Result {
		case catalog.Failed:
			s.Damage = &catalog.Damage{At: r.At, Level: r.Level, Message: r.Message}
			if errors.As(cause, &partly) {
				s.Damage.Databases = partly.Databases
			}
		case catalog.Passed:
			if s.Damage != nil && s.Damage.Level <= r.Level {
				s.Damage = nil
			}
			if r.Level >= Rehearsal {
				s.Verified = &r
			}
		}
	})
	if err != nil {
		return err
	}
	if r.Level < Rehearsal {
		return nil
	}
	result := catalog.Success
	if r.Result != catalog.Passed {
		result = catalog.Failing
	}
	reason := failure.Of(cause)
	if proven(cause) {
		reason = failure.Verify
	}
	return v.Repo.UpdateState(ctx, func(s *catalog.State) { *s = s.WithVerification(result, reason) })
}

func (v *Verifier) report(phase string, done, total int64) {
	if v.Progress != nil {
		v.Progress(phase, done, total)
	}
}
