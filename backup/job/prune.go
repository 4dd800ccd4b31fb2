package job

import (
	"context"
	"errors"
	"strings"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/retention"
)

// Copier copies published backups to another place.
type Copier interface {
	// Copy copies one backup, reads it back, and enters the result in its status. An error is of
	// reason failure.Offsite.
	Copy(ctx context.Context, b catalog.Backup) error
	// Prune removes copies of backups the policy no longer keeps there; those of the server with that system identifier
	// only, unless it is "".
	Prune(ctx context.Context, keep []catalog.Backup, server string) error
}

// Pruner deletes what retention does not keep, from the repository and from where copies are.
type Pruner struct {
	Repo *catalog.Repository
	// Engines are all whose backups may be pruned.
	Engines []engine.Engine
	Policy  retention.Policy
	// Copier is nil without an off-site copy.
	Copier Copier
	Log    log.Logger

	server string // system identifier of the run's server, "" while unknown
}

// Decide says what retention does with each backup of the repository, newest first. It deletes nothing.
func (p *Pruner) Decide() ([]retention.Decision, error) {
	all, err := p.Repo.Brief()
	if err != nil {
		return nil, err
	}
	servers, err := p.Repo.Servers(all)
	if err != nil {
		return nil, err
	}
	policy := p.Policy
	policy.Server = p.server
	return retention.Plan(all, policy, servers), nil
}

// Prune deletes what was just decided not to be kept, and returns the ids of what it deleted. The caller holds the repository's
// lock since before the decision. A backup that somebody reads is left to the next time.
func (p *Pruner) Prune(ctx context.Context, decisions []retention.Decision) ([]string, error) {
	var removed, going []string
	var kept []catalog.Backup
	var failures []error
	why := map[string]string{}
	for _, d := range decisions {
		if d.Keep {
			kept = append(kept, d.Backup)
			continue
		}
		if err := ctx.Err(); err != nil {
			return removed, err
		}
		if err := p.forget(ctx, d.Backup); err != nil {
			failures = append(failures, err)
			continue
		}
		going = append(going, d.ID)
		why[d.ID] = strings.Join(d.Reasons, "; ")
	}
	left := p.Repo.RemoveAll(going)
	for _, id := range going {
		switch err := left[id]; {
		case err == nil:
			removed = append(removed, id)
			_ = level.Info(p.Log).Log("msg", "backup removed", "id", id, "why", why[id])
		case errors.Is(err, catalog.ErrLocked):
			_ = level.Info(p.Log).Log("msg", "an old backup is being read: it is removed by the next run", "id", id)
		default:
			failures = append(failures, err)
		}
	}
	if p.Copier != nil {
		if err := p.Copier.Prune(ctx, kept, p.server); err != nil {
			failures = append(failures, err)
		}
	}
	return removed, errors.Join(failures...)
}

// forget lets the backup's engine remove what it keeps elsewhere.
func (p *Pruner) forget(ctx context.Context, b catalog.Backup) error {
	for _, e := range p.Engines {
		if e.Name() == b.Manifest.Engine {
			return e.Forget(ctx, b)
		}
	}
	return nil
}
