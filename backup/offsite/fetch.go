package offsite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"filippo.io/age"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// Choose finds a copy in a list as List returns it: by id, catalog.Latest, or a time (RFC 3339), the
// newest whose state is not later. The error's reason is failure.Nothing when there is none.
func Choose(copies []Copy, name string) (Copy, error) {
	before, timeErr := time.Parse(time.RFC3339, name)
	for _, c := range copies {
		if c.ID == name || name == catalog.Latest || timeErr == nil && !c.RecoveryPoint.After(before) {
			return c, nil
		}
	}
	return Copy{}, failure.New(failure.Nothing, "off-site: no copy %q among %d", name, len(copies)).
		WithHint("`pg_reliability_backup offsite list` shows what there is; a copy is named by id, latest, or a time such as " +
			"2026-11-23T02:00:00Z.")
}

// OfServer narrows copies to those of one line of servers, as catalog.Servers.Of does with backups: which rows come back must not depend
// on whose copy is the newest. The error lists whose copies there are.
func OfServer(copies []Copy, servers catalog.Servers, id string, named bool) ([]Copy, error) {
	servers.Known = slices.Clone(servers.Known)
	var all []catalog.Backup
	for _, c := range copies {
		if c.Line != "" && c.Line != c.Server {
			servers.Add(catalog.Member{ID: c.Server, Succeeds: c.Line})
		}
		b := c.backup()
		b.Dir = c.RepositoryID
		all = append(all, b)
	}
	left, err := servers.Of(all, id, named)
	if err != nil {
		return nil, fmt.Errorf("off-site: %w", err)
	}
	return slices.DeleteFunc(slices.Clone(copies), func(c Copy) bool {
		return !slices.ContainsFunc(left, func(b catalog.Backup) bool { return b.ID == c.ID && b.Dir == c.RepositoryID })
	}), nil
}

// Fetch brings a copy back into the local repository under its own id: read, compared with the index,
// decrypted, compared with the manifest, and only then visible. One that is here already, and not
// damaged, is returned as it is. The caller holds the repository's lock.
func (s *Store) Fetch(ctx context.Context, c Copy, identities []age.Identity) (catalog.Backup, error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	repo := s.o.Repository
	if b, err := repo.Get(c.ID); err == nil && b.Health != catalog.Damaged {
		return b, nil
	}
	if c.Encryption != nil && len(identities) == 0 {
		return catalog.Backup{}, failure.New(failure.Config, "off-site: copy %s is encrypted for %v", c.ID, c.Encryption.Recipients).
			WithHint("Give the file with the secret key: --offsite-identity.")
	}
	if free, err := catalog.FreeBytes(repo.Dir()); err == nil && free < c.PlainBytes {
		return catalog.Backup{}, failure.New(failure.Space, "repository %s: %d MB are free, the backup takes %d MB", repo.Dir(), free>>20,
			c.PlainBytes>>20).WithHint("Free space there, or fetch into a repository on a larger disk.")
	}
	in, err := repo.Receive(c.ID)
	if err != nil {
		return catalog.Backup{}, failure.New(failure.Repository, "off-site: %w", err)
	}
	b, err := s.fetch(ctx, c, identities, in)
	if failure.Of(err) == failure.Space {
		err = failure.New(failure.Space, "repository %s: %w", repo.Dir(), err).
			WithHint("Free space there, or fetch into a repository on a larger disk; what was fetched is removed.")
	}
	if err != nil {
		return b, errors.Join(err, in.Discard())
	}
	return b, s.adopted(ctx, c)
}

func (s *Store) fetch(ctx context.Context, c Copy, identities []age.Identity, in *catalog.Incoming) (catalog.Backup, error) {
	dir := s.dir(c.RepositoryID, c.ID)
	var done int64
	for _, f := range c.Files {
		err := s.retry(ctx, "fetch "+dir+f.Path, func(ctx context.Context) error {
			file, err := in.Create(c.local(f.Path))
			if errors.Is(err, os.ErrExist) { // of the attempt before
				if err = os.Remove(in.Dir + "/" + c.local(f.Path)); err == nil {
					file, err = in.Create(c.local(f.Path))
				}
			}
			if err != nil {
				return failure.New(failure.Repository, "off-site: %w", err)
			}
			err = s.into(ctx, c, dir+f.Path, f, identities, file, func(n int) {
				done += int64(n)
				s.report("fetch", min(done, c.Bytes), c.Bytes)
			})
			return errors.Join(err, file.Close())
		})
		if err != nil {
			if errors.Is(err, errDiffers) {
				return catalog.Backup{}, failure.New(failure.Verify, "%w", err).
					WithHint("The store's content changed since it was read back; fetch an older copy.")
			}
			return catalog.Backup{}, err
		}
	}
	return in.Publish()
}

// into fetches one object into a file, decrypting it on the way.
func (s *Store) into(ctx context.Context, c Copy, object string, f catalog.File, identities []age.Identity, file io.Writer,
	moved func(int)) error {
	if c.Encryption == nil {
		return s.receive(ctx, object, f, file, moved)
	}
	r, w := io.Pipe()
	decrypted := make(chan error, 1)
	go func() {
		plain, err := age.Decrypt(r, identities...)
		if err == nil {
			_, err = io.Copy(file, plain)
		}
		if err != nil { // the download goes on to its digest: which of the two is wrong matters
			_, _ = io.Copy(io.Discard, r)
		}
		decrypted <- err
	}()
	err := s.receive(ctx, object, f, w, moved)
	_ = w.CloseWithError(err)
	derr := <-decrypted
	var none *age.NoIdentityMatchError
	switch {
	case err != nil:
		return err
	case errors.As(derr, &none):
		return failure.New(failure.Config, "off-site: none of the given keys opens copy %s, which is encrypted for %v", c.ID,
			c.Encryption.Recipients).
			WithHint("Give the secret key of one of these: --offsite-identity.")
	case derr != nil:
		return failure.New(failure.Verify, "off-site: decrypt %s: %w", object, derr)
	}
	return nil
}

// adopted notes where a fetched backup has its copy.
func (s *Store) adopted(ctx context.Context, c Copy) error {
	err := s.o.Repository.UpdateStatus(ctx, c.ID, func(st *catalog.Status) {
		copied := c.Copied
		st.Offsite = &catalog.Offsite{
			Target: c.Target, Attempted: c.Copied, Completed: &copied, Bytes: c.Bytes, Encryption: c.Encryption, Files: c.Files,
		}
	})
	if err != nil {
		return fmt.Errorf("note the copy of backup %s: %w", c.ID, err)
	}
	return nil
}
