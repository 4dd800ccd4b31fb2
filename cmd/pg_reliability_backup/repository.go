package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
)

// init makes a repository, and lets another server use it where that is said.
func (p *program) init(ctx context.Context) error {
	dir, err := p.directory()
	if err != nil {
		return err
	}
	repo, err := catalog.Init(dir, time.Now())
	if err != nil {
		return err
	}
	fmt.Fprintf(p.out, "repository %s, id %s\n", repo.Dir(), repo.ID())
	if !p.flags.addServer && p.flags.takeOver == "" {
		return nil
	}
	if p.flags.addServer && p.flags.takeOver != "" {
		return failure.New(failure.Config, "both --add-server and --take-over are given").WithHint("Keep one of them.")
	}
	target, err := p.env.target()
	if err != nil {
		return err
	}
	id, err := server.Identify(ctx, target)
	if err != nil {
		return err
	}
	var all []string
	err = repo.UpdateServers(ctx, func(s *catalog.Servers) {
		for _, m := range s.Known {
			all = append(all, m.ID)
		}
		if p.flags.takeOver == "" || slices.Contains(all, p.flags.takeOver) {
			s.Add(catalog.Member{ID: id, Since: time.Now().UTC(), Succeeds: p.flags.takeOver, By: catalog.ByInit})
		}
	})
	if err != nil {
		return err
	}
	if p.flags.takeOver != "" && !slices.Contains(all, p.flags.takeOver) {
		return failure.New(failure.Config, "--take-over=%s: the repository has no backups of that server, nothing was changed", p.flags.takeOver).
			WithHint("It knows these: %s.", strings.Join(all, ", "))
	}
	fmt.Fprintf(p.out, "server %s may keep its backups here\n", id)
	return nil
}

// accept says that a suspect backup is right, or that databases are gone for good.
func (p *program) accept(ctx context.Context) error {
	repo, err := p.open()
	if err != nil {
		return err
	}
	all, err := repo.Brief()
	if err != nil {
		return err
	}
	servers, err := repo.Servers(all)
	if err != nil {
		return err
	}
	if len(p.flags.backup.databases) > 0 {
		return p.letGo(ctx, repo, all, servers)
	}
	if p.flags.which == catalog.Latest {
		return failure.New(failure.Config, "accept needs a backup's id").WithHint("`list` shows which are suspect.")
	}
	b, err := p.choose(repo)
	if err != nil {
		return err
	}
	if b.Manifest.Suspect == nil {
		return failure.New(failure.Nothing, "backup %s is not suspect", b.ID)
	}
	// What is right in this one was right in those before it that were compared with the same backup.
	kind := servers.KindOf(b.Manifest)
	for _, older := range slices.Backward(all) {
		s := older.Manifest.Suspect
		if older.Sequence > b.Sequence || s == nil || older.Status.Accepted != nil || servers.KindOf(older.Manifest) != kind || s.Against != b.Manifest.Suspect.Against {
			continue
		}
		if err := p.acceptOne(ctx, repo, older, kind); err != nil {
			return err
		}
	}
	return nil
}

// acceptOne accepts a suspect backup; the databases that vanished before it are gone for good.
func (p *program) acceptOne(ctx context.Context, repo *catalog.Repository, b catalog.Backup, kind catalog.Kind) error {
	if names := b.Manifest.Suspect.Databases; len(names) > 0 {
		err := repo.UpdateServers(ctx, func(s *catalog.Servers) { s.LetGo(kind, names, b.Sequence, time.Now()) })
		if err != nil {
			return err
		}
	}
	now := time.Now().UTC()
	if err := repo.UpdateStatus(ctx, b.ID, func(s *catalog.Status) { s.Accepted = &now }); err != nil {
		return err
	}
	fmt.Fprintf(p.out, "%s is accepted: %s\n", b.ID, b.Manifest.Suspect.Message)
	return nil
}

// letGo says that databases are gone for good, in whatever kind of backup they are.
func (p *program) letGo(ctx context.Context, repo *catalog.Repository, all []catalog.Backup, servers catalog.Servers) error {
	if len(all) == 0 {
		return failure.New(failure.Nothing, "the repository has no backups")
	}
	for _, name := range p.flags.backup.databases {
		kinds := map[catalog.Kind]bool{}
		for _, b := range all {
			if _, ok := b.Manifest.Database(name); ok {
				kinds[servers.KindOf(b.Manifest)] = true
			}
		}
		if len(kinds) == 0 {
			return failure.New(failure.Nothing, "no backup holds database %q", name)
		}
		err := repo.UpdateServers(ctx, func(s *catalog.Servers) {
			for kind := range kinds {
				s.LetGo(kind, []string{name}, all[0].Sequence, time.Now())
			}
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(p.out, "no backup of until now is kept for the sake of database %s\n", name)
	}
	return nil
}
