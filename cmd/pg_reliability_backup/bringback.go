package main

import (
	"context"
	"slices"
	"strings"

	agefile "filippo.io/age"
	"github.com/go-kit/log/level"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/offsite"
	"github.com/pg-reliability/pg_reliability_exporter/backup/restore"
)

// bringBack fetches the newest usable copy for a bootstrap of an empty server whose repository has
// nothing to restore. It does nothing without --offsite-url. True: a dry run has said all there is to say.
func (p *program) bringBack(ctx context.Context, r *restore.Restorer, repo *catalog.Repository, o restore.BootstrapOptions,
	progress *progress) (bool, error) {
	s, err := p.store(repo, progress)
	if s == nil || err != nil {
		return false, err
	}
	o.DryRun = true
	out, err := r.Bootstrap(ctx, o)
	switch reason := failure.Of(err); {
	case err == nil && (out.Result == restore.HadData || out.Result == restore.Restored):
		return false, nil
	case err != nil && reason != failure.Nothing && reason != failure.Repository:
		return false, err
	}
	copies, err := p.copies(ctx, s, repo, p.systemIdentifier(ctx))
	if err != nil || len(copies) == 0 {
		return false, err
	}
	if p.flags.dryRun {
		say(p.out, "would fetch %s from %s and restore it\n", copies[0].ID, copies[0].Target)
		return true, nil
	}
	keys, err := p.identities()
	if err != nil {
		return false, err
	}
	release, err := repo.Lock()
	if err != nil {
		return false, err
	}
	defer release()
	if _, err := repo.Sweep(ctx); err != nil {
		return false, err
	}
	for i, c := range copies {
		_ = level.Info(p.log).Log("msg", "the repository has nothing to restore: fetching the off-site copy", "id", c.ID, "target", c.Target,
			"bytes", c.Bytes)
		var b catalog.Backup
		if b, err = s.Fetch(ctx, c, keys); err == nil {
			return false, p.fetchLacking(ctx, s, b, copies[i+1:], keys)
		}
		_ = level.Error(p.log).Log("msg", "the off-site copy could not be fetched", "id", c.ID, "err", err)
		if failure.Of(err) != failure.Verify {
			return false, err
		}
	}
	return false, failure.New(failure.Nothing, "bootstrap: none of %d off-site copies could be fetched, nothing is served: %w", len(copies),
		err)
}

// mostLenders bounds how many older copies are fetched for what the newest lacks: encrypted ones don't say what they hold.
const mostLenders = 5

// lenders says of older copies whether they hold what those that were fetched lack.
type lenders struct {
	held  map[string]bool // databases
	sets  map[string]bool // choices of databases of which a copy was fetched, or none is needed
	lacks []string        // databases that a run could not dump
}

// got enters a backup that was fetched.
func (l *lenders) got(m catalog.Manifest) {
	l.sets[m.Set] = true
	for _, db := range m.Databases {
		l.held[db.Name] = true
	}
	for _, o := range m.Omitted {
		if o.Name == "" && o.Database != "" && (o.Kind.Incomplete() || o.Kind == catalog.ClosedDatabase) {
			l.lacks = append(l.lacks, o.Database)
		}
	}
	l.lacks = slices.DeleteFunc(l.lacks, func(name string) bool { return l.held[name] })
}

// lends says whether a copy is worth fetching: it holds what is lacking, or is the newest of another choice of databases, which may hold
// more.
func (l *lenders) lends(c offsite.Copy) bool {
	lacking := func(name string) bool { return slices.Contains(l.lacks, name) }
	more := func(name string) bool { return !l.held[name] && !catalog.SetAside(name) }
	if len(l.lacks) > 0 && (len(c.Databases) == 0 || slices.ContainsFunc(c.Databases, lacking)) {
		return true
	}
	if l.sets[c.Set] {
		return false
	}
	if len(c.Databases) > 0 && !slices.ContainsFunc(c.Databases, more) {
		l.sets[c.Set] = true
		return false
	}
	return true
}

// fetchLacking fetches, beside the newest backup, older copies of its server that hold the databases its run could not dump, or that
// another choice of databases had: a bootstrap takes these from there. What can't be had is a warning, for the rest can be.
func (p *program) fetchLacking(ctx context.Context, s *offsite.Store, b catalog.Backup, older []offsite.Copy,
	keys []agefile.Identity) error {
	l := &lenders{held: map[string]bool{}, sets: map[string]bool{}}
	l.got(b.Manifest)
	fetched := 0
	for _, c := range older {
		if fetched == mostLenders {
			break
		}
		if c.Server != "" && c.Server != b.Manifest.Server.SystemIdentifier || !l.lends(c) {
			continue
		}
		_ = level.Info(p.log).Log("msg", "fetching an older off-site copy for what the newest lacks", "id", c.ID, "set", c.Set, "lacking",
			strings.Join(l.lacks, ","))
		got, err := s.Fetch(ctx, c, keys)
		if ctx.Err() != nil {
			return err
		}
		fetched++
		if err != nil {
			_ = level.Error(p.log).Log("msg", "the off-site copy could not be fetched", "id", c.ID, "err", err)
			continue
		}
		l.got(got.Manifest)
	}
	if len(l.lacks) > 0 {
		_ = level.Warn(p.log).Log("msg", "no off-site copy that was fetched holds what the newest lacks", "databases",
			strings.Join(l.lacks, ","))
	}
	return nil
}
