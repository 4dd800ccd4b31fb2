package offsite

import (
	"context"
	"errors"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/go-kit/log/level"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/retention"
)

// Prune implements job.Copier: it removes the copies, of this repository only, that the policy does
// not keep, and what killed jobs left of backups that are gone.
//
// The policy is applied to the copies as it is to backups: only complete ones count, the newest of a verified
// backup stays, a suspect one pauses everything. So a repository that lost its backups does not take the
// copies along. The copy of a backup that is kept here stays in any case. The caller holds the
// repository's lock.
func (s *Store) Prune(ctx context.Context, keep []catalog.Backup, server string) error {
	ctx, cancel := s.within(ctx)
	defer cancel()
	plan, err := s.Plan(ctx, keep, server)
	if err != nil {
		return err
	}
	var gone []string
	for _, d := range plan.Decisions {
		if d.Keep {
			continue
		}
		if err := s.removeCopy(ctx, plan.objects, d.ID); err != nil {
			return err
		}
		gone = append(gone, d.ID)
		_ = level.Info(s.o.Log).Log("msg", "off-site copy removed", "id", d.ID, "why", strings.Join(d.Reasons, "; "))
	}
	for _, id := range plan.Leftovers {
		if err := s.removeCopy(ctx, plan.objects, id); err != nil {
			return err
		}
		gone = append(gone, id)
		_ = level.Info(s.o.Log).Log("msg", "removed what was left of an off-site copy", "id", id)
	}
	return errors.Join(s.areGone(ctx, gone), s.abortUploads(ctx, s.root(s.o.Repository.ID())))
}

// lastLooks are how often a store is asked for what was removed, a second apart: what it tells may be a moment old.
const lastLooks = 4

// areGone says whether the store did what it said: one that keeps what it was told to delete fills up, and holds what its owner
// thinks is gone.
func (s *Store) areGone(ctx context.Context, removed []string) error {
	for look := 1; len(removed) > 0; look++ {
		objects, err := s.list(ctx, s.root(s.o.Repository.ID()))
		if err != nil {
			return err
		}
		there := ids(objects, s.prefix)
		removed = slices.DeleteFunc(removed, func(id string) bool { return !slices.Contains(there, id) })
		if len(removed) == 0 || look == lastLooks {
			break
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Second):
		}
	}
	if len(removed) == 0 {
		return nil
	}
	return failure.New(failure.Offsite, "off-site: the store said that it deleted these copies, and still has them: %s",
		strings.Join(removed, ", ")).
		WithHint("Look for what keeps objects there: a lock, a rule of the bucket, a proxy before it. Until then its copies grow without end.")
}

// Plan is what Prune would do.
type Plan struct {
	Decisions []retention.Decision `json:"decisions"`
	// Leftovers are copies that never became complete, of backups that are gone.
	Leftovers []string `json:"leftovers,omitempty"`

	objects map[string]object
}

// Plan says what Prune would do, and why.
func (s *Store) Plan(ctx context.Context, keep []catalog.Backup, server string) (Plan, error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	local, err := s.o.Repository.Brief()
	if err != nil {
		return Plan{}, err
	}
	servers, err := s.o.Repository.Servers(local)
	if err != nil {
		return Plan{}, err
	}
	here := map[string]catalog.Backup{}
	for _, b := range local {
		here[b.ID] = b
	}
	root := s.root(s.o.Repository.ID())
	p := Plan{}
	if p.objects, err = s.list(ctx, root); err != nil {
		return Plan{}, err
	}
	var copies []catalog.Backup
	for _, id := range ids(p.objects, s.prefix) {
		if _, ok := p.objects[s.dir(s.o.Repository.ID(), id)+indexFile]; !ok {
			if _, ok := here[id]; !ok { // else the next Copy goes on with it
				p.Leftovers = append(p.Leftovers, id)
			}
			continue
		}
		x, err := s.index(ctx, s.o.Repository.ID(), id, p.objects)
		if ctx.Err() != nil {
			return Plan{}, err
		}
		b := x.backup()
		if err != nil { // an unusable copy counts for nothing, and is not deleted while it may be the last trace
			_ = level.Error(s.o.Log).Log("msg", "an off-site copy can't be used", "id", id, "err", err)
			b = catalog.Backup{ID: id, Health: catalog.Unreadable, Problem: err.Error(), Manifest: catalog.Manifest{ID: id}}
			if errors.Is(err, errUnusable) {
				b.Health = catalog.Damaged
			}
		}
		copies = append(copies, withHealth(b, here[id]))
	}
	sort.Slice(copies, func(a, b int) bool { return copies[a].Sequence > copies[b].Sequence })
	policy := s.o.Policy
	policy.Server = server
	p.Decisions = decide(copies, keep, policy, servers)
	return p, nil
}

// decide is the pure part: copies newest first, keep what stays here.
func decide(copies, keep []catalog.Backup, policy retention.Policy, servers catalog.Servers) []retention.Decision {
	decisions := retention.Plan(copies, policy, servers)
	for i := range decisions {
		d := &decisions[i]
		if !slices.ContainsFunc(keep, func(b catalog.Backup) bool { return b.ID == d.ID }) {
			continue
		}
		if !d.Keep {
			d.Keep, d.Reasons = true, nil
		}
		d.Reasons = append(d.Reasons, "kept here")
	}
	return decisions
}

// withHealth adds what is known here of a copy's backup. Damage to the local files says nothing
// about the copy; a rehearsal that failed does.
func withHealth(b, local catalog.Backup) catalog.Backup {
	if local.ID == "" || !b.Health.Good() {
		return b
	}
	if local.Health == catalog.Unreadable { // whether it is verified or suspect is unknown
		b.Health, b.Problem = catalog.Unreadable, "the backup in the repository can't be read: "+local.Problem
		return b
	}
	if local.Manifest.Engine != "" {
		b.Manifest.Server, b.Manifest.Databases = local.Manifest.Server, local.Manifest.Databases
	}
	b.Status = local.Status
	switch st := local.Status; {
	case st.Damage != nil && st.Damage.Level > 1 && !st.Damage.Partly():
		b.Health, b.Problem = catalog.Damaged, st.Damage.Message
	case local.Manifest.Suspect != nil && st.Accepted == nil:
		b.Health, b.Problem = catalog.IsSuspect, local.Manifest.Suspect.Message
	case st.Verified != nil || st.Damage.Partly():
		b.Health = catalog.Verified
	}
	return b
}

// ids lists the backups that have objects, sorted.
func ids(objects map[string]object, prefix string) []string {
	var all []string
	for name := range objects {
		if m := namePattern.FindStringSubmatch(strings.TrimPrefix(name, prefix)); m != nil {
			all = append(all, m[2])
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// removeCopy removes a copy, its index first: what is left of it after a kill is no copy.
func (s *Store) removeCopy(ctx context.Context, objects map[string]object, id string) error {
	dir := s.dir(s.o.Repository.ID(), id)
	if _, ok := objects[dir+indexFile]; ok {
		if err := s.remove(ctx, dir+indexFile); err != nil {
			return err
		}
	}
	for name := range objects {
		if !strings.HasPrefix(name, dir) || name == dir+indexFile {
			continue
		}
		if err := s.remove(ctx, name); err != nil {
			return err
		}
	}
	if b, err := s.o.Repository.Get(id); err == nil && b.Status.Offsite != nil {
		err := s.o.Repository.UpdateStatus(ctx, id, func(st *catalog.Status) { st.Offsite = nil })
		if err != nil {
			return failure.New(failure.Offsite, "off-site: note that a copy was removed: %w", err)
		}
	}
	return nil
}
