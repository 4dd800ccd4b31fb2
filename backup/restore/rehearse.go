package restore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/clients"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/scratch"
)

// Rehearse restores all of a backup into a new cluster in an empty room, by the path that a restore and a bootstrap
// take, to the end: the databases have their names when it returns, and the server runs. An error of reason
// failure.Verify condemns the backup; any other says that it could not be rehearsed here.
func (r *Restorer) Rehearse(ctx context.Context, loader engine.Loader, b catalog.Backup, room *scratch.Room) (Report, error) {
	began := r.Now()
	if err := room.Init(ctx); err != nil {
		return Report{}, err
	}
	if err := room.Start(ctx, nil); err != nil {
		return Report{}, err
	}
	c := *r
	c.Target, c.NoOwner = room.Target(), false
	s := &session{Restorer: c.prepared(), throwaway: true, whole: true}
	defer s.close()
	if err := s.enter(ctx, []string{"postgres"}); err != nil {
		return Report{}, err
	}
	places, err := s.placesOf(ctx, loader, b)
	if err != nil {
		return Report{}, condemn(ctx, room, err)
	}
	s.broken = &broken{verdict: func(err error) error { return condemn(ctx, room, err) }}
	rows, err := s.bring(ctx, loader, b, places)
	if err != nil {
		return Report{}, condemn(ctx, room, err)
	}
	return Report{Backup: b.ID, Rows: rows, Seconds: r.Now().Sub(began).Seconds(), Warnings: s.warnings}, s.broken.partly()
}

// broken collects the databases that do not come back in a rehearsal, so that it goes on with the others.
type broken struct {
	verdict func(error) error
	names   []string
	first   error
}

// take notes that a database failed. It returns false where the error is not its own: the throwaway server ended, say.
func (k *broken) take(database string, err error) bool {
	if k == nil {
		return false
	}
	verdict := k.verdict(err)
	if failure.Of(verdict) != failure.Verify {
		return false
	}
	if k.names = append(k.names, database); k.first == nil {
		k.first = verdict
	}
	return true
}

// partly is what is to be said of it at the end.
func (k *broken) partly() error {
	if len(k.names) == 0 {
		return nil
	}
	return &catalog.PartlyError{Databases: k.names, Err: k.first}
}

// nothing says whether no database that holds anything came back.
func (k *broken) nothing(rest []*place) bool {
	return k != nil && len(k.names) > 0 && !slices.ContainsFunc(rest, func(p *place) bool { return !p.database.Contents.Empty() })
}

// condemn makes an error of restoring a verdict on the backup, unless the cause lies with this machine.
func condemn(ctx context.Context, room *scratch.Room, err error) error {
	var program *clients.ProgramError
	if ctx.Err() != nil || failure.Of(err) == failure.Space || !errors.As(err, &program) && failure.Of(err) != failure.Other {
		return err
	}
	text := err.Error()
	switch {
	case strings.Contains(text, "No space left on device"):
		return failure.New(failure.Space, "%w", err).WithHint("Choose another place with --scratch-dir.")
	case strings.Contains(text, "shared_preload_libraries"):
		return failure.New(failure.Version, "%w", err).
			WithHint("Give the throwaway server the library: --scratch-setting shared_preload_libraries=...")
	case !room.Running():
		return fmt.Errorf("the throwaway server ended: %w", err)
	}
	return failure.WithLocks(failure.New(failure.Verify, "%w", err), "of the throwaway server (--scratch-setting)")
}
