package restore

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/go-kit/log/level"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

// A backup is good for what it holds, and who fills an empty server wants all that the server had. What a run could not dump, what another
// choice of databases (--database, --exclude-database) had in the same repository, and what came after the backup that was chosen: each
// such database comes from the best backup of the same line of servers that holds it.

// loan is a database that the server had and a backup does not hold, and the backups it can come from, best first.
type loan struct {
	database string
	from     []catalog.Backup
}

// loans finds what a backup lacks of its server, and who has it. The candidates are in the order in which a bootstrap tries them. A
// database that somebody called gone for good is not looked for, nor is one that a restore set aside.
func (r *Restorer) loans(b catalog.Backup, candidates []catalog.Backup) []loan {
	servers := r.servers(candidates)
	line := servers.KindOf(b.Manifest).Server
	var loans []loan
	for _, name := range had(b, candidates, servers) {
		// A bootstrap never replaces template1.
		if _, held := b.Manifest.Database(name); held || name == "template0" || name == "template1" || catalog.SetAside(name) {
			continue
		}
		l := loan{database: name}
		for _, c := range candidates {
			if _, has := c.Manifest.Database(name); has && c.ID != b.ID && servers.KindOf(c.Manifest).Server == line &&
				!servers.GoneFromLine(line, name, c.Sequence) {
				l.from = append(l.from, c)
			}
		}
		if len(l.from) > 0 {
			loans = append(loans, l)
		}
	}
	return loans
}

// had names the databases that a backup's server had when it was last looked at: those of the backup, and of the newest of each kind, with
// what these could not dump.
func had(b catalog.Backup, candidates []catalog.Backup, servers catalog.Servers) []string {
	line := servers.KindOf(b.Manifest).Server
	newest := map[catalog.Kind]catalog.Backup{}
	for _, c := range candidates {
		if kind := servers.KindOf(c.Manifest); kind.Server == line && newest[kind].Sequence <= c.Sequence {
			newest[kind] = c
		}
	}
	names := map[string]bool{}
	for _, c := range slices.AppendSeq([]catalog.Backup{b}, maps.Values(newest)) {
		for _, db := range c.Manifest.Databases {
			names[db.Name] = true
		}
		for _, o := range c.Manifest.Omitted {
			if o.Name == "" && o.Database != "" && (o.Kind.Incomplete() || o.Kind == catalog.ClosedDatabase) {
				names[o.Database] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// says is the loan in words.
func (l loan) says(from, to catalog.Backup) string {
	return fmt.Sprintf("database %s is from ANOTHER backup, %s of %s: backup %s lacks it", l.database, from.ID,
		from.Manifest.RecoveryPoint.Format(time.RFC3339), to.ID)
}

// reserve makes a place for each loan, so that what would make the swap fail is found before anything is loaded.
func reserve(loans []loan) []*place {
	var places []*place
	for i := range loans {
		db, _ := loans[i].from[0].Manifest.Database(loans[i].database)
		places = append(places, &place{database: db, as: db.Name, vacant: true, loan: &loans[i]})
	}
	return places
}

// fillFromAnother fills the place of a database that the backup lacks from the first of the others that can be restored.
// One that can't costs this database, not the rest: the place stays absent, with a warning.
func (s *session) fillFromAnother(ctx context.Context, b catalog.Backup, p *place) (int64, error) {
	for _, from := range p.loan.from {
		rows, err := s.borrow(ctx, from, p)
		if err == nil {
			if p.absent { // postgres, in which the backup has nothing
				return 0, nil
			}
			p.from = from.ID
			s.warn("%s", p.loan.says(from, b))
			for _, o := range from.Manifest.Omitted {
				if o.Database == p.database.Name {
					s.warn("backup %s does not hold all of database %s: %s", from.ID, o.Database, o)
				}
			}
			return rows, nil
		}
		s.dropQuietly(ctx, []*place{p})
		p.beside = ""
		if ctx.Err() != nil || !backupsFault(err) {
			return 0, err
		}
		s.warn("database %s, which backup %s lacks, could not be restored from backup %s: %v", p.loan.database, b.ID, from.ID, err)
	}
	p.absent = true
	return 0, nil
}

// backupsFault says whether another backup may succeed where one failed.
func backupsFault(err error) bool {
	switch failure.Of(err) {
	case failure.Verify, failure.Restore, failure.Dump, failure.Version, failure.Other:
		return true
	}
	return false
}

// borrow loads one database of another backup, as a restore of it would.
func (s *session) borrow(ctx context.Context, from catalog.Backup, p *place) (int64, error) {
	if err := s.notOlder(from); err != nil {
		return 0, err
	}
	loader, release, err := s.examine(from)
	if err != nil {
		if failure.Of(err) == failure.Verify {
			s.condemn(ctx, from, err)
		}
		return 0, err
	}
	defer release()
	src := source{Backup: from, loader: loader}
	if src.programs, err = loader.Programs(ctx, s.facts.Major()); err != nil {
		return 0, err
	}
	p.database, _ = from.Manifest.Database(p.loan.database)
	if p.as == "postgres" {
		there, err := exists(ctx, s.conn, p.as)
		if err != nil {
			return 0, err
		}
		hollow, err := isHollow(ctx, src, p.database)
		if err != nil {
			return 0, err
		}
		if p.absent = there && hollow; p.absent {
			s.alike = append(s.alike, p.database)
			return 0, nil
		}
	}
	if src.noTablespace, err = s.lacksTablespaces(ctx, loader, from); err != nil {
		return 0, err
	}
	whole := s.whole // roles that the newer backup no longer has, and nothing that holds for all
	s.whole = false
	err = s.roles(ctx, src)
	s.whole = whole
	if err != nil {
		return 0, err
	}
	_ = level.Info(s.Log).Log("msg", "restoring a database that the newer backup lacks", "database", p.as, "backup", from.ID)
	return s.fill(ctx, src, p)
}

// hollowLoan says whether the backup that a loan would come from holds nothing of a user's in that database. One that can't be read now is
// not said to be.
func (s *session) hollowLoan(ctx context.Context, l loan) bool {
	e, err := engine.Of(s.Engines, l.from[0])
	if err != nil {
		return false
	}
	src := source{Backup: l.from[0], loader: e.Restoring().Databases}
	if src.programs, err = src.loader.Programs(ctx, s.facts.Major()); err != nil {
		return false
	}
	release, err := s.Repo.Hold(l.from[0].ID)
	if err != nil {
		return false
	}
	defer release()
	db, _ := l.from[0].Manifest.Database(l.database)
	hollow, err := isHollow(ctx, src, db)
	return err == nil && hollow
}
