package catalog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// Health is what is known of a published backup.
type Health string

const (
	// Verified: intact as far as sizes tell, restored once and found equal to its manifest.
	Verified Health = "verified"
	// Unverified: intact as far as sizes tell; never restored.
	Unverified Health = "unverified"
	// IsSuspect: intact, but its contents collapsed against the backup before.
	IsSuspect Health = "suspect"
	// Damaged: a file or the manifest is missing, has another size, or failed a check.
	Damaged Health = "damaged"
	// Unreadable: something of it can't be read for now (permissions, an input/output error, a network
	// file system that is gone, a newer program's format), which says nothing about the backup.
	// It is never deleted, and while there is one nothing of its kind is.
	Unreadable Health = "unreadable"
)

// Healths lists every Health.
func Healths() []Health { return []Health{Verified, Unverified, IsSuspect, Damaged, Unreadable} }

// Good says whether the backup may be relied on: counted by retention, chosen as "latest".
func (h Health) Good() bool { return h == Verified || h == Unverified }

// Backup is one entry of the catalogue.
type Backup struct {
	ID       string   `json:"id"`
	Sequence uint64   `json:"sequence"`
	Health   Health   `json:"state"`
	Problem  string   `json:"problem,omitempty"` // why Damaged, suspect or Unreadable, for people
	Manifest Manifest `json:"manifest"`          // zero but for id and times when it can't be read
	Status   Status   `json:"status"`
	Dir      string   `json:"-"`

	written *Manifest // where databases of it do not come back: see AsWritten
}

// VerifiedAt is when the backup last passed a full verification, zero when never.
func (b Backup) VerifiedAt() time.Time {
	if b.Status.Verified == nil {
		return time.Time{}
	}
	return b.Status.Verified.At
}

// ReadBackAt is when all bytes of the backup were last read and found equal to its manifest, by a check of whatever level; zero when never.
// What was changed since, without a change of size, shows at the next check.
func (b Backup) ReadBackAt() time.Time {
	at := b.VerifiedAt()
	if c := b.Status.Checked; c != nil && c.Result == Passed && c.At.After(at) {
		at = c.At
	}
	return at
}

// List reads the catalogue, newest backup first. A backup that is broken is in it as Damaged, one that
// can't be read as Unreadable; the error is for a catalogue that can't be read at all, or not to its end:
// a list that is returned is whole. Sizes of all files are checked, contents are not: that is verification.
func (r *Repository) List() ([]Backup, error) { return r.each(r.read) }

// each makes a list with a function that reads one backup.
func (r *Repository) each(read func(id string) Backup) ([]Backup, error) {
	if err := r.Present(); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(filepath.Join(r.dir, backupsDir))
	if err != nil {
		return nil, fmt.Errorf("list the repository: %w", err)
	}
	var ours []os.DirEntry
	for _, e := range entries {
		if _, ok := sequenceOf(e.Name()); ok {
			ours = append(ours, e)
		}
	}
	found := make([]Backup, len(ours))
	atOnce(len(ours), func(i int) {
		if id := ours[i].Name(); ours[i].IsDir() {
			found[i] = read(id)
		} else {
			found[i] = r.elsewhere(id)
		}
	})
	if err := r.Present(); err != nil { // a disk that went away meanwhile condemns nothing
		return nil, err
	}
	var all []Backup
	for _, b := range found {
		if !b.Health.Good() {
			if _, err := os.Lstat(b.Dir); errors.Is(err, fs.ErrNotExist) {
				continue // pruned since ReadDir
			}
		}
		all = append(all, b)
	}
	sort.Slice(all, func(a, b int) bool { return all[a].Sequence > all[b].Sequence })
	return all, nil
}

// elsewhere is a backup with something else in the place of its directory, such as a link to another disk: what is there is the
// repository's neither to keep nor to delete, and nothing of it is concluded.
func (r *Repository) elsewhere(id string) Backup {
	b := Backup{ID: id, Dir: r.Path(id)}
	b.Sequence, _ = sequenceOf(id)
	b.judge(Manifest{}, errors.New("no directory is in its place: move the backup itself to "+b.Dir+
		", or remove what is there, for a backup of another place is none of this repository's"), Status{}, nil)
	return b
}

// readersAtOnce read a list's backups: most of the time goes into waiting for the disk or the network.
const readersAtOnce = 8

// atOnce does n things, some at the same time, and returns when all are done.
func atOnce(n int, do func(i int)) {
	var next atomic.Int64
	var workers sync.WaitGroup
	work := func() {
		for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
			do(int(i))
		}
	}
	for range min(readersAtOnce, n) - 1 {
		workers.Go(work)
	}
	work()
	workers.Wait()
}

// Get reads one backup; an id that is not there is an error that wraps fs.ErrNotExist.
func (r *Repository) Get(id string) (Backup, error) {
	if _, ok := sequenceOf(id); !ok {
		return Backup{}, fmt.Errorf("%q is not a backup's id: %w", id, fs.ErrNotExist)
	}
	fi, err := os.Lstat(r.Path(id))
	if err != nil {
		return Backup{}, fmt.Errorf("backup %s: %w", id, err)
	}
	if !fi.IsDir() {
		return r.elsewhere(id), nil
	}
	return r.read(id), nil
}

// read reads one backup, whatever its state.
func (r *Repository) read(id string) Backup {
	b := Backup{ID: id, Dir: r.Path(id)}
	b.Sequence, _ = sequenceOf(id)
	var m Manifest
	t := texts{dir: b.Dir}
	merr := t.readManifest(id, &m)
	st, serr := t.readStatus()
	b.judge(m, merr, st, serr)
	return b
}

// judge fills in what was read of a backup, or why it could not be, and its health.
func (b *Backup) judge(m Manifest, merr error, st Status, serr error) {
	if merr == nil {
		st = st.believed(m.Finished)
	}
	b.Manifest, b.Status = m, st
	if merr != nil {
		at := timeOf(b.ID)
		b.Manifest = Manifest{ID: b.ID, Sequence: b.Sequence, Started: at, Finished: at, RecoveryPoint: at}
		b.Health, b.Problem = ofError(merr), merr.Error()
		return
	}
	err := serr
	if err == nil {
		err = checkSizes(b.Dir, m.Files)
	}
	switch {
	case err != nil:
		b.Health, b.Problem = ofError(err), err.Error()
	case st.Damage != nil && !b.setAside(*st.Damage):
		b.Health, b.Problem = Damaged, st.Damage.Message
	case m.Suspect != nil && st.Accepted == nil:
		b.Health, b.Problem = IsSuspect, m.Suspect.Message
	case st.Verified != nil || st.Damage != nil: // the check that found the damage restored all else
		b.Health = Verified
	default:
		b.Health = Unverified
	}
}

// ofError is the health of a backup that met an error.
func ofError(err error) Health {
	if IsDamage(err) {
		return Damaged
	}
	return Unreadable
}

// checkSizes finds missing and truncated files without reading them.
func checkSizes(dir string, files []File) error {
	for _, f := range files {
		fi, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(f.Path)))
		switch {
		case err != nil:
			return ofFile(f.Path, err)
		case !fi.Mode().IsRegular():
			return wrongf("%s is no regular file", f.Path)
		case fi.Size() != f.Bytes:
			return wrongf("%s has %d bytes, the manifest says %d", f.Path, fi.Size(), f.Bytes)
		}
	}
	return nil
}

// stamp tells whether a file is the one that was read: the kernel sets Changed at every change of the file, of its
// mode, its owner or its links, and nobody else can set it.
type stamp struct {
	Mod, Changed int64 // nanoseconds since 1970
	Inode        uint64
	Size         int64
}

func stampOf(path string) (stamp, error) {
	fi, err := os.Lstat(path)
	if err != nil {
		return stamp{}, err
	}
	s := stamp{Mod: fi.ModTime().UnixNano(), Size: fi.Size()}
	s.Changed, s.Inode = changed(fi)
	return s, nil
}

// CheckSums is verification level 1: it reads every file of a backup and compares sizes and
// digests, the manifest's own included and uncached. progress, if not nil, is called with the
// bytes read so far. The error names the first file that differs; IsDamage says whether one does, or
// could not be read.
func (r *Repository) CheckSums(id string, progress func(done int64)) error {
	dir := r.Path(id)
	var m Manifest
	if err := readManifest(dir, id, &m); err != nil {
		return err
	}
	if err := checkSizes(dir, m.Files); err != nil {
		return err
	}
	var done int64
	for _, f := range m.Files {
		n, sum, err := Digest(filepath.Join(dir, filepath.FromSlash(f.Path)))
		if err != nil {
			return ofFile(f.Path, err)
		}
		if sum != f.SHA256 {
			return wrongf("%s does not have the digest the manifest says", f.Path)
		}
		if done += n; progress != nil {
			progress(done)
		}
	}
	return nil
}
