package offsite

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"github.com/go-kit/log/level"
	"github.com/minio/minio-go/v7"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/retention"
)

// noteEvery is how often progress is entered in the backup's status, where a killed copy is resumed from.
const noteEvery = 5 * time.Second

// Copy implements job.Copier. A backup whose data another program stores (pgBackRest) is left to that
// program. Once the store works, what lacks a copy is made up for: the catalogue says what that is, not the last run, which may
// have been killed before it noted anything. The caller holds the repository's lock.
func (s *Store) Copy(ctx context.Context, b catalog.Backup) error {
	ctx, cancel := s.within(ctx)
	defer cancel()
	if err := s.copyOne(ctx, b); err != nil {
		return err
	}
	lacking, err := s.lacking()
	if err != nil {
		return err
	}
	for _, other := range lacking {
		if other.ID == b.ID {
			continue
		}
		_ = level.Info(s.o.Log).Log("msg", "making up for an off-site copy that is missing", "id", other.ID)
		if err := s.copyOne(ctx, other); err != nil {
			return err
		}
	}
	return nil
}

// lacking are the good backups that have no complete copy anywhere, newest first, of those that the store's policy would keep: what would
// be removed at once is not sent.
func (s *Store) lacking() ([]catalog.Backup, error) {
	all, err := s.o.Repository.Brief()
	if err != nil {
		return nil, err
	}
	servers, err := s.o.Repository.Servers(all)
	if err != nil {
		return nil, err
	}
	var good, lacking []catalog.Backup
	for _, b := range all {
		if b.Health.Good() && b.Manifest.External == nil {
			good = append(good, b)
		}
	}
	for _, d := range retention.Plan(good, s.o.Policy, servers) {
		if o := d.Backup.Status.Offsite; d.Keep && (o == nil || o.Completed == nil) {
			lacking = append(lacking, d.Backup)
		}
	}
	return lacking, nil
}

// copyOne copies one backup and enters the result in its status.
func (s *Store) copyOne(ctx context.Context, b catalog.Backup) error {
	if b.Manifest.External != nil {
		_ = level.Debug(s.o.Log).Log("msg", "no off-site copy: the backup's own program stores it", "id", b.ID)
		return nil
	}
	release, err := s.o.Repository.Hold(b.ID)
	if err != nil {
		return failure.New(failure.Offsite, "off-site: %w", err)
	}
	defer release()
	began := s.o.Now()
	state := catalog.Offsite{Target: s.Target(s.o.Repository.ID()), Attempted: began.UTC(), Encryption: s.encryption()}
	if before := b.Status.Offsite; before != nil && before.Target == state.Target && reflect.DeepEqual(before.Encryption, state.Encryption) {
		state.Files = before.Files // what an earlier attempt stored
	}
	err = s.store(ctx, b, &state)
	state.Seconds = s.o.Now().Sub(began).Seconds()
	if err != nil {
		state.Error = err.Error()
	} else {
		now := s.o.Now().UTC()
		state.Completed, state.Bytes = &now, total(state.Files)
		_ = level.Info(s.o.Log).Log("msg", "off-site copy complete", "id", b.ID, "target", state.Target, "bytes", state.Bytes, "seconds",
			state.Seconds)
	}
	return errors.Join(err, s.note(ctx, b.ID, state))
}

// note enters the copy's state in the backup's status, also when the run is being interrupted.
func (s *Store) note(ctx context.Context, id string, state catalog.Offsite) error {
	err := s.o.Repository.UpdateStatus(context.WithoutCancel(ctx), id, func(st *catalog.Status) { st.Offsite = &state })
	if err != nil {
		return failure.New(failure.Offsite, "off-site: note the copy's state: %w", err)
	}
	return nil
}

// store brings the backup to the other place: what is missing there is sent, everything is read back, the
// index is written.
func (s *Store) store(ctx context.Context, b catalog.Backup, state *catalog.Offsite) error {
	dir := s.dir(s.o.Repository.ID(), b.ID)
	there, err := s.list(ctx, dir)
	if err != nil {
		return err
	}
	if err := s.abortUploads(ctx, dir); err != nil {
		return err
	}
	if _, ok := there[dir+indexFile]; ok {
		if complete, err := s.adopt(ctx, b, there, state); err != nil || complete {
			return err
		}
	}
	if err := s.sendAll(ctx, b, there, state); err != nil {
		return err
	}
	if err := s.readBack(ctx, b, state); err != nil {
		return err
	}
	return s.seal(ctx, b, *state)
}

// adopt looks at an index that is there already: of a run that was killed between writing it and
// noting so. One that does not fit, or lacks objects, is removed before anything else is written.
func (s *Store) adopt(ctx context.Context, b catalog.Backup, there map[string]object, state *catalog.Offsite) (bool, error) {
	dir := s.dir(s.o.Repository.ID(), b.ID)
	text, err := s.get(ctx, dir+indexFile, maxIndex)
	if err != nil {
		return false, err
	}
	x, err := parseIndex(text, s.o.Repository.ID(), b.ID)
	fits := err == nil && reflect.DeepEqual(x.Encryption, state.Encryption) && len(x.Files) == len(b.Paths())
	for _, f := range x.Files {
		fits = fits && there[dir+f.Path].Size == f.Bytes
	}
	if !fits {
		return false, s.remove(ctx, dir+indexFile)
	}
	state.Files = x.Files
	return true, nil
}

// sendAll sends what is missing in the store.
func (s *Store) sendAll(ctx context.Context, b catalog.Backup, there map[string]object, state *catalog.Offsite) (err error) {
	dir := s.dir(s.o.Repository.ID(), b.ID)
	sums := map[string]catalog.File{}
	var all int64
	for _, f := range b.Manifest.Files {
		sums[f.Path] = f
		all += f.Bytes
	}
	stored := map[string]catalog.File{}
	for _, f := range state.Files {
		stored[f.Path] = f
	}
	state.Files = nil
	defer func() { // what was not reached this time counts the next
		for _, f := range stored {
			if !slices.ContainsFunc(state.Files, func(g catalog.File) bool { return g.Path == f.Path }) && err != nil {
				state.Files = append(state.Files, f)
			}
		}
	}()
	var sent int64
	noted := s.o.Now()
	for _, path := range b.Paths() {
		name := path
		if state.Encryption != nil {
			name += suffix
		}
		if f, ok := stored[name]; ok && there[dir+name].Size == f.Bytes && has(there, dir+name) {
			state.Files = append(state.Files, f)
			sent += sums[path].Bytes
			continue
		}
		f, err := s.send(ctx, dir+name, filepath.Join(b.Dir, filepath.FromSlash(path)), sums[path].SHA256, func(n int) {
			sent += int64(n)
			s.report("off-site copy", min(sent, all), all)
		})
		if err != nil {
			return err
		}
		f.Path = name
		state.Files = append(state.Files, f)
		if s.o.Now().Sub(noted) > noteEvery {
			noted = s.o.Now()
			if err := s.note(ctx, b.ID, *state); err != nil {
				return err
			}
		}
	}
	return nil
}

// readBack reads every object and compares it with what was sent. One that differs is removed, so
// that the next attempt sends it again.
func (s *Store) readBack(ctx context.Context, b catalog.Backup, state *catalog.Offsite) error {
	dir := s.dir(s.o.Repository.ID(), b.ID)
	all, done := total(state.Files), int64(0)
	for i, f := range state.Files {
		var err error
		if s.o.Cheap && i < len(state.Files)-1 { // the manifest is last
			err = s.compareSize(ctx, dir+f.Path, f)
			done += f.Bytes
		} else {
			err = s.retry(ctx, "read back "+dir+f.Path, func(ctx context.Context) error {
				return s.receive(ctx, dir+f.Path, f, io.Discard, func(n int) {
					done += int64(n)
					s.report("off-site read back", min(done, all), all)
				})
			})
		}
		if err == nil {
			continue
		}
		if ctx.Err() == nil {
			kept := append([]catalog.File(nil), state.Files[:i]...)
			state.Files = append(kept, state.Files[i+1:]...)
			if rerr := s.remove(ctx, dir+f.Path); rerr != nil {
				_ = level.Warn(s.o.Log).Log("msg", "a bad object could not be removed", "object", dir+f.Path, "err", rerr)
			}
		}
		return err
	}
	return nil
}

func has(objects map[string]object, name string) bool {
	_, ok := objects[name]
	return ok
}

// compareSize is the cheap check: the store says that it has the object, in its size.
func (s *Store) compareSize(ctx context.Context, object string, want catalog.File) error {
	return s.retry(ctx, "look at "+object, func(ctx context.Context) error {
		o, err := s.client.StatObject(ctx, s.bucket, object, minio.StatObjectOptions{})
		if err == nil && o.Size != want.Bytes {
			err = fmt.Errorf("%w: it has %d bytes, %d were written", errDiffers, o.Size, want.Bytes)
		}
		return err
	})
}

// seal writes the index and reads it back: now the copy exists.
func (s *Store) seal(ctx context.Context, b catalog.Backup, state catalog.Offsite) error {
	m := b.Manifest
	x := Index{
		Format: indexFormat, RepositoryID: s.o.Repository.ID(), ID: b.ID, Sequence: b.Sequence, Engine: m.Engine, Set: m.Set,
		Finished: m.Finished, RecoveryPoint: m.RecoveryPoint, Copied: s.o.Now().UTC(), Encryption: state.Encryption,
		Bytes: total(state.Files), PlainBytes: m.Bytes, Files: state.Files, Server: m.Server.SystemIdentifier,
	}
	for _, d := range m.Databases {
		if x.Encryption == nil {
			x.Databases = append(x.Databases, d.Name)
		}
	}
	if servers, err := s.o.Repository.Servers([]catalog.Backup{b}); err == nil && servers.Line(x.Server) != x.Server {
		x.Line = servers.Line(x.Server)
	}
	text, err := json.MarshalIndent(x, "", "  ")
	if err != nil {
		return failure.New(failure.Offsite, "off-site: encode the index: %w", err)
	}
	if len(text) > maxIndex {
		return failure.New(failure.Offsite, "off-site: the backup has too many files for an index: %d", len(x.Files))
	}
	object := s.dir(x.RepositoryID, b.ID) + indexFile
	err = s.retry(ctx, "write "+object, func(ctx context.Context) error {
		ctx, g, stop := s.guard(ctx, nil)
		defer stop()
		_, err := s.client.PutObject(ctx, s.bucket, object, g.reader(bytes.NewReader(text)), int64(len(text)),
			minio.PutObjectOptions{ContentType: "application/json"})
		return err
	})
	if err != nil {
		return err
	}
	back, err := s.get(ctx, object, maxIndex)
	if err == nil && !bytes.Equal(back, text) {
		err = failure.New(failure.Offsite, "off-site: %s reads back different from what was written", object)
	}
	return err
}

// abortUploads ends the multipart uploads that killed jobs left under a prefix: they are charged for and
// never seen. A store that can't list them is not asked again.
func (s *Store) abortUploads(ctx context.Context, prefix string) error {
	var left []string
	err := s.retry(ctx, "list unfinished uploads", func(ctx context.Context) error {
		left = nil
		ctx, g, stop := s.guard(ctx, nil)
		defer stop()
		for u := range s.client.ListIncompleteUploads(ctx, s.bucket, prefix, true) {
			if cause := context.Cause(ctx); u.Err != nil && cause != nil {
				return fmt.Errorf("%w: %w", cause, u.Err)
			}
			if u.Err != nil {
				return u.Err
			}
			if left = append(left, u.Key); len(left) > maxObjects {
				return s.endless("list unfinished uploads below " + prefix)
			}
			g.alive(objectWeight)
		}
		return nil
	})
	var answer minio.ErrorResponse
	_ = errors.As(err, &answer)
	switch answer.Code {
	case "NotImplemented", "MethodNotAllowed", "AccessDenied":
		_ = level.Debug(s.o.Log).Log("msg", "unfinished uploads can't be listed", "err", err)
		return nil
	}
	if err != nil {
		return err
	}
	for _, key := range left {
		err := s.retry(ctx, "end an unfinished upload of "+key, func(ctx context.Context) error {
			ctx, _, stop := s.guard(ctx, nil)
			defer stop()
			err := s.client.RemoveIncompleteUpload(ctx, s.bucket, key)
			if minio.ToErrorResponse(err).Code == minio.NoSuchUpload {
				return nil // ended by a request of the job before that the store has only now carried out
			}
			if cause := context.Cause(ctx); err != nil && cause != nil {
				return fmt.Errorf("%w: %w", cause, err)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// remove removes one object; one that is gone is no error.
func (s *Store) remove(ctx context.Context, object string) error {
	return s.retry(ctx, "remove "+object, func(ctx context.Context) error {
		return s.client.RemoveObject(ctx, s.bucket, object, minio.RemoveObjectOptions{})
	})
}

func total(files []catalog.File) int64 {
	var n int64
	for _, f := range files {
		n += f.Bytes
	}
	return n
}
