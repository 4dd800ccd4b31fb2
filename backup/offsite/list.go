package offsite

import (
	"cmp"
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-kit/log/level"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// Object names below the prefix: repository id, backup id, file.
var namePattern = regexp.MustCompile(`^([0-9a-f]{16})/(\d{8}T\d{6}Z-\d{1,19})/(.+)$`)

// List lists the complete copies under the prefix, of all repositories, newest first. An index that
// can't be read is left out, and logged: one damaged copy must not hide the others.
func (s *Store) List(ctx context.Context) ([]Copy, error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	objects, err := s.list(ctx, s.prefix)
	if err != nil {
		return nil, err
	}
	var copies []Copy
	for name := range objects {
		m := namePattern.FindStringSubmatch(strings.TrimPrefix(name, s.prefix))
		if m == nil || m[3] != indexFile {
			continue
		}
		x, err := s.index(ctx, m[1], m[2], objects)
		if ctx.Err() != nil {
			return nil, err
		}
		if err != nil {
			_ = level.Error(s.o.Log).Log("msg", "an off-site copy can't be used", "id", m[2], "err", err)
			continue
		}
		copies = append(copies, Copy{Index: x, Target: s.Target(m[1])})
	}
	NewestFirst(copies)
	return copies, nil
}

// NewestFirst sorts copies. Those of one repository are in the order of its runs, whatever its clock said; for those of several
// a run counts as no older than any run before it in its repository: a clock that was set back made it look so.
func NewestFirst(copies []Copy) {
	slices.SortFunc(copies, func(a, b Copy) int {
		return cmp.Or(cmp.Compare(a.RepositoryID, b.RepositoryID), cmp.Compare(a.Sequence, b.Sequence))
	})
	at := map[string]time.Time{} // of a copy
	var latest time.Time
	for i, c := range copies {
		if i == 0 || c.RepositoryID != copies[i-1].RepositoryID || c.Finished.After(latest) {
			latest = c.Finished
		}
		at[c.RepositoryID+c.ID] = latest
	}
	slices.SortStableFunc(copies, func(a, b Copy) int {
		return cmp.Or(at[b.RepositoryID+b.ID].Compare(at[a.RepositoryID+a.ID]), cmp.Compare(a.RepositoryID, b.RepositoryID),
			cmp.Compare(b.Sequence, a.Sequence))
	})
}

// errUnusable is wrapped where a copy is proven to be none, beside the errors of a store that does not answer.
var errUnusable = errors.New("the copy is unusable")

// index reads a copy's index and finds its objects in the listing.
func (s *Store) index(ctx context.Context, repositoryID, id string, objects map[string]object) (Index, error) {
	dir := s.dir(repositoryID, id)
	text, err := s.get(ctx, dir+indexFile, maxIndex)
	if err != nil {
		return Index{}, err
	}
	x, err := parseIndex(text, repositoryID, id)
	if err != nil {
		return Index{}, failure.New(failure.Offsite, "off-site: %s: %w: %w", dir, errUnusable, err)
	}
	for _, f := range x.Files {
		o, ok := objects[dir+f.Path]
		switch {
		case !ok:
			return Index{}, failure.New(failure.Offsite, "off-site: %s%s: %w: it is missing", dir, f.Path, errUnusable)
		case o.Size != f.Bytes:
			return Index{}, failure.New(failure.Offsite, "off-site: %s%s: %w: it has %d bytes, the index says %d", dir, f.Path, errUnusable, o.Size,
				f.Bytes)
		}
	}
	return x, nil
}
