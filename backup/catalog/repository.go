package catalog

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// Sentinel marks a directory as a repository. A mount point without its disk has none, and that is
// an error instead of a repository without backups.
type Sentinel struct {
	Format  int       `json:"format"`
	ID      string    `json:"id"` // random; tells one repository from another mounted in its place
	Created time.Time `json:"created"`
}

// Repository is a directory of backups. Its methods may be called at the same time.
type Repository struct {
	dir      string
	sentinel Sentinel
	index    index
}

// ErrNoRepository is wrapped by the error for a directory without the sentinel.
var ErrNoRepository = errors.New("no repository there")

// Open opens an existing repository for reading, and for writing where the file system allows.
// A directory that is missing or has no sentinel is an error of reason failure.Repository.
func Open(dir string) (*Repository, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, failure.New(failure.Repository, "repository %s: %w", dir, err)
	}
	s, err := readSentinel(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, failure.New(failure.Repository, "repository %s: %w (no %s)", dir, ErrNoRepository, sentinelFile).
			WithHint("Is the backup disk mounted? A new repository is made with `pg_reliability_backup init --repository %s`.", dir)
	}
	if err != nil {
		return nil, failure.New(failure.Repository, "repository %s: %w", dir, err)
	}
	if s.Format > FormatVersion {
		return nil, failure.New(failure.Repository, "repository %s has format %d; this program knows %d", dir, s.Format, FormatVersion).
			WithHint("Use a newer pg_reliability_backup.")
	}
	return &Repository{dir: dir, sentinel: s}, nil
}

// Init makes a repository in a directory that is missing or empty (lost+found aside), and opens
// one that exists already. A directory with anything else in it is refused.
func Init(dir string, now time.Time) (*Repository, error) {
	if r, err := Open(dir); err == nil || !errors.Is(err, ErrNoRepository) {
		return r, err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, failure.New(failure.Repository, "make repository %s: %w", dir, err)
	}
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, failure.New(failure.Repository, "make repository: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, failure.New(failure.Repository, "make repository: %w", err)
	}
	for _, e := range entries {
		switch e.Name() {
		case "lost+found", backupsDir, tmpDir, trashDir, sentinelFile + ".new": // an Init that was interrupted
			if e.Name() != backupsDir {
				continue
			}
			if inside, err := os.ReadDir(filepath.Join(dir, backupsDir)); err == nil && len(inside) == 0 {
				continue
			}
		}
		return nil, failure.New(failure.Repository, "make repository %s: the directory holds %s, nothing was changed", dir, e.Name()).
			WithHint("Choose an empty directory.")
	}
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, fmt.Errorf("make a repository id: %w", err)
	}
	r := &Repository{dir: dir, sentinel: Sentinel{Format: FormatVersion, ID: hex.EncodeToString(id[:]), Created: now.UTC()}}
	if err := os.Chmod(dir, dirMode); err != nil {
		return nil, failure.New(failure.Repository, "make repository: %w", err)
	}
	if err := r.makeDirs(); err != nil {
		return nil, failure.New(failure.Repository, "make repository: %w", err)
	}
	if err := r.replace(filepath.Join(dir, sentinelFile), r.sentinel); err != nil {
		return nil, failure.New(failure.Repository, "make repository: %w", err)
	}
	return r, nil
}

// makeDirs makes the directories of a repository that are missing.
func (r *Repository) makeDirs() error {
	for _, name := range []string{backupsDir, tmpDir, trashDir} {
		if err := os.MkdirAll(filepath.Join(r.dir, name), dirMode); err != nil {
			return err
		}
	}
	return syncDir(r.dir)
}

// ID tells this repository from every other.
func (r *Repository) ID() string { return r.sentinel.ID }

// Present checks that the repository is still the one that was opened: its disk may have been
// unmounted, or another mounted in its place, since.
func (r *Repository) Present() error {
	s, err := readSentinel(r.dir)
	if err != nil {
		return failure.New(failure.Repository, "repository %s is gone: %w", r.dir, err).
			WithHint("Is the backup disk mounted?")
	}
	if s.ID != r.sentinel.ID {
		return failure.New(failure.Repository, "repository %s is now another one (id %s, was %s)", r.dir, s.ID, r.sentinel.ID).
			WithHint("Is the right disk mounted?")
	}
	return nil
}

func readSentinel(dir string) (Sentinel, error) {
	var s Sentinel
	b, err := readFile(filepath.Join(dir, sentinelFile))
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("%s: %w", sentinelFile, err)
	}
	if s.Format < 1 || s.ID == "" {
		return s, fmt.Errorf("%s is incomplete", sentinelFile)
	}
	return s, nil
}
