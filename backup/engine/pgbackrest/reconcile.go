package pgbackrest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// Reconcile implements engine.Importer. When pgBackRest lists no backup at all any more, the
// catalogue's entries are marked as damaged instead of removed: an empty list is what a lost
// repository looks like, too, and someone should see it.
func (e *Engine) Reconcile(ctx context.Context, repo *catalog.Repository, logger log.Logger) error {
	i, err := e.info(ctx, "")
	if err != nil {
		return err
	}
	all, err := repo.List()
	if err != nil {
		return err
	}
	mine := map[string]catalog.Backup{}
	for _, b := range all {
		if e.owns(b) {
			mine[b.Manifest.External.Label] = b
		}
	}
	for _, s := range i.Backups {
		if b, ok := mine[s.Label]; ok {
			delete(mine, s.Label)
			if err := e.returned(ctx, repo, b); err != nil {
				return err
			}
			continue
		}
		if err := e.adopt(ctx, repo, s); err != nil {
			return err
		}
		_ = level.Info(logger).Log("msg", "pgBackRest has a backup that another job made", "label", s.Label, "type", s.Type)
	}
	return e.drop(ctx, repo, mine, len(i.Backups) == 0, logger)
}

// owns says whether an entry of the catalogue is of this stanza and repository.
func (e *Engine) owns(b catalog.Backup) bool {
	x := b.Manifest.External
	return b.Manifest.Engine == Name && x != nil && x.Stanza == e.Stanza && x.Repository == strconv.Itoa(e.repo())
}

// adopt publishes an entry for a backup that was made without us.
func (e *Engine) adopt(ctx context.Context, repo *catalog.Repository, s Set) error {
	d, err := repo.Begin(s.Started())
	if err != nil {
		return err
	}
	d.Manifest.Tool = "pgbackrest"
	err = e.describe(ctx, s.Label, d)
	if err == nil {
		err = d.Seal()
	}
	if err == nil {
		_, err = d.Publish(s.Stopped())
	}
	if err != nil {
		return errors.Join(fmt.Errorf("enter backup %s of stanza %s: %w", s.Label, e.Stanza, err), d.Discard())
	}
	return nil
}

// goneText begins the damage of an entry whose backup pgBackRest does not list.
const goneText = "pgBackRest does not list it any more"

// returned takes the damage of an entry back whose backup is listed again.
func (e *Engine) returned(ctx context.Context, repo *catalog.Repository, b catalog.Backup) error {
	if d := b.Status.Damage; d == nil || !strings.HasPrefix(d.Message, goneText) {
		return nil
	}
	return repo.UpdateStatus(ctx, b.ID, func(s *catalog.Status) { s.Damage = nil })
}

// drop removes the entries of backups that are gone; an entry that somebody reads stays for now.
func (e *Engine) drop(ctx context.Context, repo *catalog.Repository, gone map[string]catalog.Backup, lost bool, logger log.Logger) error {
	for _, b := range gone {
		if lost {
			if d := b.Status.Damage; d != nil && strings.HasPrefix(d.Message, goneText) {
				continue
			}
			_ = level.Error(logger).Log("msg", "pgBackRest lists no backups of the stanza", "stanza", e.Stanza, "id", b.ID)
			err := repo.UpdateStatus(ctx, b.ID, func(s *catalog.Status) {
				s.Damage = &catalog.Damage{At: e.now().UTC(), Level: 3, Message: goneText + ", nor any other of stanza " + e.Stanza}
			})
			if err != nil {
				return err
			}
			continue
		}
		if err := repo.Remove(b.ID); err != nil && !errors.Is(err, catalog.ErrLocked) {
			return err
		}
		_ = level.Warn(logger).Log("msg", "pgBackRest expired a backup by itself; its entry is removed", "id", b.ID, "label",
			b.Manifest.External.Label,
			"hint", "retention is the catalogue's: remove repo-retention-* from pgBackRest's configuration, and other jobs that run expire")
	}
	return nil
}

// Forget implements engine.Engine: it expires the backup, and with it the WAL that only older ones
// needed. A backup that others build upon is refused; what is gone already is no error.
func (e *Engine) Forget(ctx context.Context, b catalog.Backup) error {
	if b.Manifest.External == nil {
		return nil // a lost manifest: Reconcile finds the backup again
	}
	if !e.owns(b) {
		return failure.New(failure.Config, "backup %s is of stanza %s in repository %s; this run is for stanza %s in repository %d",
			b.ID, b.Manifest.External.Stanza, b.Manifest.External.Repository, e.Stanza, e.repo()).
			WithHint("Prune it with its own --pgbackrest-stanza and --pgbackrest-repo.")
	}
	i, err := e.info(ctx, "")
	if err != nil {
		return err
	}
	label := b.Manifest.External.Label
	if _, there := i.find(label); !there {
		return nil
	}
	fulls := 0
	for _, s := range i.Backups {
		if s.Label != label && slices.Contains(s.Reference, label) {
			return failure.New(failure.Refused, "backup %s (%s) stays: %s builds upon it", b.ID, label, s.Label)
		}
		if s.Type == Full && s.Label != label {
			fulls++
		}
	}
	if len(i.Backups) == 1 {
		return failure.New(failure.Refused, "backup %s (%s) stays: it is pgBackRest's last of stanza %s", b.ID, label, e.Stanza)
	}
	// WAL from the oldest full backup that is left on stays, and so do all other backups.
	_, err = e.run(ctx, "expire", "--set="+label, e.retention("full", retainAll), e.retention("archive-type", "full"),
		e.retention("archive", strconv.Itoa(max(fulls, 1))))
	return err
}
