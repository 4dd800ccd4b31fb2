package main

import (
	"cmp"
	"context"
	"maps"
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

// endLine notes that nobody waits for further backups of the server that --of-server names.
func (p *program) endLine(ctx context.Context, repo *catalog.Repository, all []catalog.Backup, servers catalog.Servers) error {
	named := p.flags.restore.ofServer
	line, awaited := servers.Line(named), servers.Awaited(all)
	list, waits := awaited[line]
	if waits && len(awaited) == 1 {
		return failure.New(failure.Refused, "server %s is the only one whose backups somebody waits for, nothing was changed", named)
	}
	if !waits || len(list) > 0 { // else it was let in, and has none
		var err error
		if all, err = servers.Of(all, named, true); err != nil {
			return err
		}
	}
	upTo := uint64(1)
	if len(all) > 0 {
		upTo = all[0].Sequence
	}
	if err := repo.UpdateServers(ctx, func(s *catalog.Servers) { s.End(line, upTo) }); err != nil {
		return err
	}
	say(p.out, "server %s is gone for good: its backups stay, and nobody waits for further ones\n", named)
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
	if named := p.flags.restore.ofServer; named != "" {
		if p.flags.which == catalog.Latest && len(p.flags.unmissed) == 0 && len(p.flags.backup.databases) == 0 {
			return p.endLine(ctx, repo, all, servers)
		}
		if all, err = servers.Of(all, named, true); err != nil {
			return err
		}
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

// letGo says that databases of one server are gone for good, in whatever kind of backup they are.
func (p *program) letGo(ctx context.Context, repo *catalog.Repository, all []catalog.Backup, servers catalog.Servers) error {
	if len(all) == 0 {
		return failure.New(failure.Nothing, "the repository has no backups")
	}
	kinds := map[string]map[catalog.Kind]bool{} // by database
	for _, name := range p.flags.backup.databases {
		of, err := p.holders(all, servers, name)
		if err != nil {
			return err // before anything was written
		}
		kinds[name] = of
	}
	for _, name := range p.flags.backup.databases {
		err := repo.UpdateServers(ctx, func(s *catalog.Servers) {
			for kind := range kinds[name] {
				s.LetGo(kind, []string{name}, all[0].Sequence, time.Now())
			}
		})
		if err != nil {
			return err
		}
		say(p.out, "database %s is gone for good: the backups of until now that hold it are deleted in their turn, like all others\n",
			sqltext.Shown(name))
		for _, b := range all { // the newest; accepting it accepts those before it
			if s := b.Manifest.Suspect; s != nil && b.Status.Accepted == nil && slices.Contains(s.Databases, name) &&
				kinds[name][servers.KindOf(b.Manifest)] {
				say(p.out, "backup %s is suspect still (%s), and pauses pruning: pg_reliability_backup accept %s\n", b.ID, s.Message, b.ID)
				break
			}
		}
	}
	return nil
}

// holders are the kinds of backups of one server that hold a database, or held it.
func (p *program) holders(all []catalog.Backup, servers catalog.Servers, database string) (map[catalog.Kind]bool, error) {
	var held []catalog.Backup
	kinds := map[catalog.Kind]bool{}
	for _, b := range all {
		if _, ok := b.Manifest.Database(database); ok {
			held = append(held, b)
			kinds[servers.KindOf(b.Manifest)] = true
		}
	}
	lines, seen := map[string]bool{}, map[catalog.Kind]bool{} // those whose newest backup of such a kind is without it
	for _, b := range all {
		kind := servers.KindOf(b.Manifest)
		if seen[kind] || !kinds[kind] {
			continue
		}
		seen[kind] = true
		_, holds := b.Manifest.Database(database)
		omits := slices.ContainsFunc(b.Manifest.Omitted, func(o catalog.Omission) bool { return o.Database == database })
		if !holds && !omits {
			lines[kind.Server] = true
		}
	}
	line, err := p.oneLine(servers, held, lines)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(kinds, func(kind catalog.Kind, _ bool) bool { return kind.Server != line })
	if len(kinds) == 0 {
		return nil, failure.New(failure.Nothing, "no backup holds database %q", database)
	}
	return kinds, nil
}

// oneLine is the line of servers that is meant, of those whose backups are given: the one that --of-server names, else the only one, else
// the only likely one. What is said of one server's database must not be taken as said of another's that has the same name.
func (p *program) oneLine(servers catalog.Servers, some []catalog.Backup, likely map[string]bool) (string, error) {
	if named := p.flags.restore.ofServer; named != "" {
		return servers.Line(named), nil
	}
	var lines []string
	for _, b := range some {
		if line := servers.KindOf(b.Manifest).Server; line != "" && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	if len(lines) > 1 && len(likely) == 1 {
		lines = slices.DeleteFunc(lines, func(line string) bool { return !likely[line] })
	}
	if len(lines) > 1 {
		_, err := servers.Of(some, "", false)
		return "", err
	}
	return strings.Join(lines, ""), nil
}

// unmiss says that nobody misses what extensions keep in tables or sequences of a database of one server.
func (p *program) unmiss(ctx context.Context, repo *catalog.Repository, all []catalog.Backup, servers catalog.Servers) error {
	if len(p.flags.backup.databases) != 1 {
		return failure.New(failure.Config, "--extension-data needs one --database")
	}
	database := p.flags.backup.databases[0]
	lines := map[string]string{} // by table or sequence
	for _, name := range p.flags.unmissed {
		var lack []catalog.Backup
		var named []string
		for _, b := range all {
			for _, o := range b.Manifest.Omitted {
				if o.Kind != catalog.ExtensionData || o.Database != database {
					continue
				}
				if o.Of() == name {
					lack = append(lack, b)
				}
				if !slices.Contains(named, o.Of()) {
					named = append(named, o.Of())
				}
			}
		}
		if len(lack) == 0 {
			return failure.New(failure.Nothing, "no backup lacks %q of an extension in database %q", name, database).
				WithHint("They lack these of it: %s.", cmp.Or(strings.Join(named, ", "), "none"))
		}
		line, err := p.oneLine(servers, lack, nil)
		if err != nil {
			return err // before anything was written
		}
		lines[name] = line
	}
	for _, name := range p.flags.unmissed {
		err := repo.UpdateServers(ctx, func(s *catalog.Servers) {
			s.Unmiss(catalog.Unmissed{Server: lines[name], Database: database, Name: name, At: time.Now().UTC()})
		})
		if err != nil {
			return err
		}
		say(p.out, "from the next backup on, nobody misses %s of database %s\n", name, sqltext.Shown(database))
	}
	return nil
}
