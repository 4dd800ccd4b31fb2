package catalog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// Paths are the sealed files of a backup relative to its directory, with forward slashes, in the
// order a copy is written: data, sums, the manifest last. The status file is not among them.
func (b Backup) Paths() []string {
	paths := make([]string, 0, len(b.Manifest.Files)+2)
	for _, f := range b.Manifest.Files {
		paths = append(paths, f.Path)
	}
	return append(paths, sumsFile, manifestFile)
}

// Incoming is a backup on its way back from a copy, under its own id. Like a Draft nobody lists it
// until Publish, and Sweep removes what a killed job leaves.
type Incoming struct {
	// Dir takes the files, named as Backup.Paths says.
	Dir string

	id   string
	repo *Repository
}

// Receive begins taking in a backup. The caller holds the repository's lock. One that is in the
// repository already, and not damaged, is an error that wraps fs.ErrExist.
func (r *Repository) Receive(id string) (*Incoming, error) {
	if _, ok := sequenceOf(id); !ok {
		return nil, fmt.Errorf("receive backup %q: not a backup's id", id)
	}
	if err := r.Present(); err != nil {
		return nil, err
	}
	if b, err := r.Get(id); err == nil && b.Health != Damaged {
		return nil, fmt.Errorf("receive backup %s: %w", id, fs.ErrExist)
	}
	if err := r.makeDirs(); err != nil {
		return nil, fmt.Errorf("receive backup %s: %w", id, err)
	}
	// Not named as a draft: what is left of a killed download is no killed run.
	in := &Incoming{Dir: filepath.Join(r.dir, tmpDir, "incoming-"+id), id: id, repo: r}
	if err := os.Mkdir(in.Dir, dirMode); err != nil {
		return nil, fmt.Errorf("receive backup %s: %w", id, err)
	}
	return in, nil
}

// Create opens a new file of the backup for writing.
func (in *Incoming) Create(path string) (*os.File, error) {
	local := filepath.FromSlash(path)
	if !filepath.IsLocal(local) {
		return nil, fmt.Errorf("receive backup %s: %q leads out of its directory", in.id, path)
	}
	full := filepath.Join(in.Dir, local)
	if err := os.MkdirAll(filepath.Dir(full), dirMode); err != nil {
		return nil, err
	}
	return os.OpenFile(full, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode)
}

// Publish checks every file against the manifest, and the manifest against its digest, syncs them
// and makes the backup visible, in the place of a damaged one of the same id.
func (in *Incoming) Publish() (Backup, error) {
	if err := in.check(); err != nil {
		return Backup{}, failure.New(failure.Verify, "receive backup %s: %w", in.id, err)
	}
	if err := in.repo.Present(); err != nil {
		return Backup{}, err
	}
	if _, err := os.Lstat(in.repo.Path(in.id)); err == nil {
		if err := in.repo.Remove(in.id); err != nil {
			return Backup{}, fmt.Errorf("receive backup %s: %w", in.id, err)
		}
	}
	final := in.repo.Path(in.id)
	if err := os.Rename(in.Dir, final); err != nil {
		return Backup{}, fmt.Errorf("receive backup %s: %w", in.id, err)
	}
	for _, dir := range []string{filepath.Dir(final), filepath.Dir(in.Dir)} {
		if err := syncDir(dir); err != nil {
			return Backup{}, fmt.Errorf("sync the repository: %w", err)
		}
	}
	b := in.repo.read(in.id)
	if b.Health == Damaged || b.Health == Unreadable {
		return b, failure.New(failure.Verify, "backup %s does not read back: %s", in.id, b.Problem)
	}
	return b, nil
}

// check seals what was received and compares it with the manifest: nothing missing, different or added.
func (in *Incoming) check() error {
	var m Manifest
	err := readManifest(in.Dir, in.id, &m)
	if err != nil {
		return err
	}
	want := map[string]File{}
	for _, f := range m.Files {
		want[f.Path] = f
	}
	var dirs []string
	err = filepath.WalkDir(in.Dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			dirs = append(dirs, path)
			return nil
		}
		rel, err := filepath.Rel(in.Dir, path)
		if err != nil {
			return err
		}
		size, sum, err := seal(path)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		if name == manifestFile || name == sumsFile {
			return nil
		}
		f, ok := want[name]
		if !ok {
			return fmt.Errorf("%s is not in the manifest", name)
		}
		delete(want, name)
		if size != f.Bytes || sum != f.SHA256 {
			return fmt.Errorf("%s is not what the manifest says", name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for name := range want {
		return fmt.Errorf("%s is missing", name)
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		if err := syncDir(dirs[i]); err != nil {
			return err
		}
	}
	return nil
}

// Discard removes what was received.
func (in *Incoming) Discard() error {
	if err := os.RemoveAll(in.Dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove what was received of backup %s: %w", in.id, err)
	}
	return nil
}
