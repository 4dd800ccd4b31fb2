package catalog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// Draft is a backup being written. Nobody lists it. It becomes a backup by Publish or is removed by
// Discard; what a killed job leaves is removed by the next job's Sweep.
type Draft struct {
	// Dir takes the engine's files. Everything in it when Publish is called becomes part of the backup.
	Dir string
	// Manifest is filled by the engine and by the job; Publish fills in the files and the times.
	Manifest Manifest

	repo *Repository
}

// Begin starts a draft. The caller holds the repository's lock. The sequence number is above that
// of everything the repository ever held, as far as names and state.json tell.
func (r *Repository) Begin(now time.Time) (*Draft, error) {
	if err := r.Present(); err != nil {
		return nil, err
	}
	if err := r.makeDirs(); err != nil {
		return nil, fmt.Errorf("begin a backup: %w", err)
	}
	r.restoreReserve()
	n, err := r.lastSequence()
	if err != nil {
		return nil, fmt.Errorf("begin a backup: %w", err)
	}
	d := &Draft{repo: r, Manifest: Manifest{
		Format: FormatVersion, ID: newID(now, n+1), Sequence: n + 1, Started: now.UTC(),
	}}
	d.Dir = filepath.Join(r.dir, tmpDir, d.Manifest.ID)
	if err := os.Mkdir(d.Dir, dirMode); err != nil {
		return nil, fmt.Errorf("begin a backup: %w", err)
	}
	return d, nil
}

// ID is the id the backup will have.
func (d *Draft) ID() string { return d.Manifest.ID }

// lastSequence is the highest sequence number in use or used before.
func (r *Repository) lastSequence() (uint64, error) {
	last, err := r.highestName()
	if err != nil {
		return 0, err
	}
	s, err := r.State()
	if err != nil && !errors.Is(err, ErrDamagedJournal) { // rebuilt at the next write; names still tell
		return 0, err
	}
	return max(last, s.LastSequence), nil
}

// highestName is the highest sequence number among the names in the repository.
func (r *Repository) highestName() (last uint64, err error) {
	for _, sub := range []string{backupsDir, tmpDir, trashDir} {
		entries, err := os.ReadDir(filepath.Join(r.dir, sub))
		if err != nil {
			return 0, err
		}
		for _, e := range entries {
			if n, ok := sequenceOf(e.Name()); ok {
				last = max(last, n)
			}
		}
	}
	return last, nil
}

// Seal syncs every file of the draft, reads each back and enters it in the manifest. It sets
// Manifest.Bytes to their sum unless the backup is External.
func (d *Draft) Seal() error {
	var files []File
	var total int64
	var dirs []string
	err := filepath.WalkDir(d.Dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			dirs = append(dirs, path)
			return os.Chmod(path, dirMode)
		}
		if !e.Type().IsRegular() {
			return fmt.Errorf("%s is not a regular file", path)
		}
		rel, err := filepath.Rel(d.Dir, path)
		if err != nil {
			return err
		}
		if strings.ContainsAny(rel, "\n\\") {
			return fmt.Errorf("file name %q can't be listed in %s", rel, sumsFile)
		}
		size, sum, err := seal(path)
		if err != nil {
			return err
		}
		total += size
		files = append(files, File{Path: filepath.ToSlash(rel), Bytes: size, SHA256: sum})
		return nil
	})
	for i := len(dirs) - 1; err == nil && i >= 0; i-- {
		err = syncDir(dirs[i])
	}
	if err != nil {
		return fmt.Errorf("seal backup %s: %w", d.ID(), err)
	}
	sort.Slice(files, func(a, b int) bool { return files[a].Path < files[b].Path })
	d.Manifest.Files = files
	if d.Manifest.External == nil {
		d.Manifest.Bytes = total
	}
	return nil
}

// Publish makes a sealed draft visible. The order is the promise: sums, manifest, their directory,
// rename, parent directory.
func (d *Draft) Publish(now time.Time) (Backup, error) {
	m := &d.Manifest
	m.Finished = now.UTC()
	if err := m.check(m.ID); err != nil {
		return Backup{}, fmt.Errorf("publish backup %s: %w", m.ID, err)
	}
	content, err := encode(m)
	if err != nil {
		return Backup{}, fmt.Errorf("publish backup %s: %w", m.ID, err)
	}
	if err := readable(int64(len(content))); err != nil {
		return Backup{}, fmt.Errorf("publish backup %s: %w", m.ID, err)
	}
	if err := d.repo.Present(); err != nil {
		return Backup{}, err
	}
	if err := writeSynced(filepath.Join(d.Dir, sumsFile), sums(m.Files, content)); err != nil {
		return Backup{}, fmt.Errorf("write %s: %w", sumsFile, err)
	}
	if err := writeSynced(filepath.Join(d.Dir, manifestFile), content); err != nil {
		return Backup{}, fmt.Errorf("write manifest: %w", err)
	}
	if err := syncDir(d.Dir); err != nil {
		return Backup{}, fmt.Errorf("sync backup: %w", err)
	}
	if err := d.repo.noted(m.Server.SystemIdentifier, now); err != nil {
		return Backup{}, fmt.Errorf("publish backup %s: %w", m.ID, err)
	}
	final := d.repo.Path(m.ID)
	if _, err := os.Lstat(final); err == nil {
		return Backup{}, fmt.Errorf("publish backup: %s exists already", final)
	}
	if err := os.Rename(d.Dir, final); err != nil {
		if errors.Is(err, syscall.EXDEV) {
			return Backup{}, failure.New(failure.Repository, "publish backup: %w", err).
				WithHint("Its directories %s and %s must be on one file system: mount or link the repository as a whole.", tmpDir, backupsDir)
		}
		return Backup{}, fmt.Errorf("publish backup: %w", err)
	}
	for _, dir := range []string{filepath.Dir(final), filepath.Dir(d.Dir)} {
		if err := syncDir(dir); err != nil {
			return Backup{}, fmt.Errorf("sync the repository: %w", err)
		}
	}
	b := d.repo.read(m.ID)
	if b.Health == Damaged || b.Health == Unreadable {
		return b, failure.New(failure.Verify, "backup %s does not read back: %s", m.ID, b.Problem)
	}
	return b, nil
}

// Discard removes the draft.
func (d *Draft) Discard() error {
	if err := os.RemoveAll(d.Dir); err != nil {
		return fmt.Errorf("remove the draft of backup %s: %w", d.ID(), err)
	}
	return nil
}
