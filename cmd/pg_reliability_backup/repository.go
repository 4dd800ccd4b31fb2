package main

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/backup/sqltext"
)

// init makes a repository, and lets another server use it where that is said.
func (p *program) init(ctx context.Context) error {
	dir, err := p.directory()
	if err != nil {
		return err
	}
	_, missing := catalog.Open(dir)
	repo, err := catalog.Init(dir, time.Now())
	if err != nil {
		return err
	}
	note := ""
	if missing == nil {
		note = " (it was there already and stays as it is)"
	}
	say(p.out, "repository %s, id %s%s\n", repo.Dir(), repo.ID(), note)
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
		if slices.Contains(all, p.flags.takeOver) {
			s.TakePlace(id)
		}
	})
	if err != nil {
		return err
	}
	if p.flags.takeOver != "" && !slices.Contains(all, p.flags.takeOver) {
		return failure.New(failure.Config, "--take-over=%s: the repository has no backups of that server, nothing was changed", p.flags.takeOver).
			WithHint("It knows these: %s.", strings.Join(all, ", "))
	}
	say(p.out, "server %s may keep its backups here\n", id)
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
	if len(p.flags.unmissed) > 0 {
		return p.unmiss(ctx, repo, all, servers)
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
		if older.Sequence > b.Sequence || s == nil || older.Status.Accepted != nil || servers.KindOf(older.Manifest) != kind ||
			s.Against != b.Manifest.Suspect.Against {
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
	say(p.out, "%s is accepted: %s\n", b.ID, b.Manifest.Suspect.Message)
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
		say(p.out, "database %s is gone for good: the backups of until now that hold it are deleted in their turn, like all others\n",
			sqltext.Shown(name))
		for _, b := range all { // the newest; accepting it accepts those before it
			if s := b.Manifest.Suspect; s != nil && b.Status.Accepted == nil && slices.Contains(s.Databases, name) {
				say(p.out, "backup %s is suspect still (%s), and pauses pruning: pg_reliability_backup accept %s\n", b.ID, s.Message, b.ID)
				break
			}
		}
	}
	return nil
}

// unmiss says that nobody misses what extensions keep in tables or sequences of a database.
func (p *program) unmiss(ctx context.Context, repo *catalog.Repository, all []catalog.Backup, servers catalog.Servers) error {
	if len(p.flags.backup.databases) != 1 {
		return failure.New(failure.Config, "--extension-data needs one --database")
	}
	database := p.flags.backup.databases[0]
	for _, name := range p.flags.unmissed {
		var lines, named []string
		for _, b := range all {
			for _, o := range b.Manifest.Omitted {
				if o.Kind != catalog.ExtensionData || o.Database != database {
					continue
				}
				if line := servers.KindOf(b.Manifest).Server; o.Of() == name && !slices.Contains(lines, line) {
					lines = append(lines, line)
				}
				if !slices.Contains(named, o.Of()) {
					named = append(named, o.Of())
				}
			}
		}
		if len(lines) == 0 {
			return failure.New(failure.Nothing, "no backup lacks %q of an extension in database %q", name, database).
				WithHint("They lack these of it: %s.", cmp.Or(strings.Join(named, ", "), "none"))
		}
		err := repo.UpdateServers(ctx, func(s *catalog.Servers) {
			for _, line := range lines {
				s.Unmiss(catalog.Unmissed{Server: line, Database: database, Name: name, At: time.Now().UTC()})
			}
		})
		if err != nil {
			return err
		}
		say(p.out, "from the next backup on, nobody misses %s of database %s\n", name, sqltext.Shown(database))
	}
	return nil
}
