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
	"regexp"
	"strings"
	"syscall"
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
		return nil, unopened(dir, fmt.Sprintf("repository %s", dir), err)
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
	r, err := Open(dir)
	var path *fs.PathError
	if errors.Is(err, fs.ErrPermission) && errors.As(err, &path) {
		return nil, unmade(dir, path)
	}
	if err == nil || !errors.Is(err, ErrNoRepository) {
		return r, err
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, unmade(dir, err)
	}
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, unmade(dir, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, unmade(dir, err)
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
	r = &Repository{dir: dir, sentinel: Sentinel{Format: FormatVersion, ID: hex.EncodeToString(id[:]), Created: now.UTC()}}
	if err := os.Chmod(dir, dirMode); err != nil {
		return nil, unmade(dir, err)
	}
	if err := r.makeDirs(); err != nil {
		return nil, unmade(dir, err)
	}
	if err := r.replace(filepath.Join(dir, sentinelFile), r.sentinel); err != nil {
		return nil, unmade(dir, err)
	}
	return r, nil
}

// unmade is the error of a repository that could not be made.
func unmade(dir string, err error) error {
	f := failure.New(failure.Repository, "make repository %s: %w", dir, err)
	if errors.Is(err, fs.ErrPermission) {
		return f.WithHint("It must belong to the user that runs the job. Root makes it so: install -d -o NAME -m 700 %s", dir)
	}
	return f
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
		return unopened(r.dir, fmt.Sprintf("repository %s is gone", r.dir), err)
	}
	if s.ID != r.sentinel.ID {
		return failure.New(failure.Repository, "repository %s is now another one (id %s, was %s)", r.dir, s.ID, r.sentinel.ID).
			WithHint("Is the right disk mounted?")
	}
	return nil
}

// Exposed says whether other users of the machine may enter the repository and its backups, which are made for their owner alone.
func (r *Repository) Exposed() bool {
	for _, dir := range []string{r.dir, filepath.Join(r.dir, backupsDir)} {
		if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm()&0o001 == 0 {
			return false
		}
	}
	return true
}

func readSentinel(dir string) (Sentinel, error) {
	var s Sentinel
	b, err := readFile(filepath.Join(dir, sentinelFile))
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("%s is %w (%w)", sentinelFile, errCutSentinel, err)
	}
	if s.Format < 1 || s.ID == "" {
		return s, fmt.Errorf("%s is %w (it holds no format and no id)", sentinelFile, errCutSentinel)
	}
	return s, nil
}

var (
	// errCutSentinel is for a sentinel whose bytes can be read and make no sense: somebody must say which repository it was.
	errCutSentinel = errors.New("cut or garbled")
	sentinelID     = regexp.MustCompile(`^[0-9a-f]{16}$`)
)

// unopened is the error of a repository whose sentinel can't be read. The remedy is a line that writes a cut one anew, with the id that
// the index remembers.
func unopened(dir, what string, err error) error {
	f := failure.New(failure.Repository, "%s: %w", what, err)
	if errors.Is(err, syscall.ENOTDIR) {
		return f.WithHint("It is a file, or a part of its path is: name the directory that holds the backups.")
	}
	if !errors.Is(err, errCutSentinel) {
		return f.WithHint("Is the backup disk mounted, and may this user read it?")
	}
	id, from := "", "the id is lost with it; where there are copies off-site, their directory in the bucket is named by it. Put it in the "+
		"place of this new one"
	if body, ok := readSummed(filepath.Join(dir, indexFile)); ok {
		var x struct {
			Repository string `json:"repository"`
		}
		if json.Unmarshal(body, &x) == nil && sentinelID.MatchString(x.Repository) {
			id, from = x.Repository, "the id is from "+indexFile
		}
	}
	if id == "" {
		var noise [8]byte
		_, _ = rand.Read(noise[:])
		id = hex.EncodeToString(noise[:])
	}
	return f.WithHint(`The backups beside it are untouched. Write it anew (%s): echo '{"format": %d, "id": "%s"}' > '%s'`,
		from, FormatVersion, id, strings.ReplaceAll(filepath.Join(dir, sentinelFile), "'", `'\''`))
}
