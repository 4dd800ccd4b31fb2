package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	agefile "filippo.io/age"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/job"
	"github.com/pg-reliability/pg_reliability_exporter/backup/offsite"
	"github.com/pg-reliability/pg_reliability_exporter/backup/retention"
)

// copier is the job's; nil without --offsite-url.
func (p *program) copier(repo *catalog.Repository, progress *progress) (job.Copier, error) {
	s, err := p.store(repo, progress)
	if s == nil || err != nil { // not an interface that holds a nil
		return nil, err
	}
	return s, nil
}

// needStore is for commands that are about copies.
func (p *program) needStore(repo *catalog.Repository, progress *progress) (*offsite.Store, error) {
	s, err := p.store(repo, progress)
	if err == nil && s == nil {
		err = failure.New(failure.Config, "no place of copies is named").WithHint("Give --offsite-url s3://bucket/prefix.")
	}
	return s, err
}

// offsiteList prints the copies.
func (p *program) offsiteList(ctx context.Context) error {
	s, err := p.needStore(nil, nil)
	if err != nil {
		return err
	}
	copies, err := s.List(ctx)
	if err != nil {
		return err
	}
	if p.flags.json {
		if copies == nil {
			copies = []offsite.Copy{}
		}
		return p.printJSON(copies)
	}
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tREPOSITORY\tAGE\tSIZE\tENGINE\tENCRYPTED\tTARGET")
	for _, c := range copies {
		encrypted := "no"
		if c.Encryption != nil {
			encrypted = c.Encryption.Method
		}
		say(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.ID, c.RepositoryID, age(c.Finished), bytesText(c.Bytes), c.Engine, encrypted, c.Target)
	}
	return w.Flush()
}

// offsiteCopy copies one backup.
func (p *program) offsiteCopy(ctx context.Context) error {
	return p.locked(ctx, func(repo *catalog.Repository, s *offsite.Store) error {
		b, err := p.choose(repo)
		if err == nil {
			err = p.examine(b)
		}
		if err != nil {
			return err
		}
		if b.Manifest.External != nil {
			return failure.New(failure.Refused, "backup %s is stored by %s", b.ID, b.Manifest.Engine).
				WithHint("Give pgBackRest a second repository (repo2-...) in another place.")
		}
		if err := s.Copy(ctx, b); err != nil {
			return err
		}
		say(p.out, "%s is copied to %s\n", b.ID, s.Target(repo.ID()))
		return nil
	})
}

// offsiteFetch brings one copy back.
func (p *program) offsiteFetch(ctx context.Context) error {
	return p.locked(ctx, func(repo *catalog.Repository, s *offsite.Store) error {
		keys, err := p.identities()
		if err != nil {
			return err
		}
		copies, err := p.copies(ctx, s, repo, "")
		if err != nil {
			return err
		}
		c, err := offsite.Choose(copies, p.flags.offsite.copy)
		if err != nil {
			return err
		}
		b, err := s.Fetch(ctx, c, keys)
		if err != nil {
			return err
		}
		say(p.out, "%s is in the repository: %s\n", b.ID, b.Health)
		return nil
	})
}

// offsitePrune deletes copies.
func (p *program) offsitePrune(ctx context.Context) error {
	return p.locked(ctx, func(repo *catalog.Repository, s *offsite.Store) error {
		policy, err := p.policy()
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
		var kept []catalog.Backup
		for _, d := range retention.Plan(all, policy, servers) {
			if d.Keep {
				kept = append(kept, d.Backup)
			}
		}
		plan, err := s.Plan(ctx, kept, "")
		if err != nil {
			return err
		}
		if !p.flags.dryRun {
			if err := s.Prune(ctx, kept, ""); err != nil {
				return err
			}
		}
		if p.flags.json {
			return p.printJSON(plan)
		}
		w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
		for _, d := range plan.Decisions {
			verb := "keep"
			if !d.Keep {
				verb = "delete"
			}
			say(w, "%s\t%s\t%s\n", verb, d.ID, strings.Join(d.Reasons, "; "))
		}
		for _, id := range plan.Leftovers {
			say(w, "delete\t%s\tnever complete, and the backup is gone\n", id)
		}
		return w.Flush()
	})
}

// locked does something to the repository and the store that no other job may do meanwhile.
func (p *program) locked(ctx context.Context, f func(*catalog.Repository, *offsite.Store) error) error {
	repo, err := p.open()
	if err != nil {
		return err
	}
	bar := newProgress(p.err, p.log)
	defer bar.done()
	s, err := p.needStore(repo, bar)
	if err != nil {
		return err
	}
	release, err := repo.Lock()
	if err != nil {
		return err
	}
	defer release()
	if _, err := repo.Sweep(ctx); err != nil {
		return err
	}
	return f(repo, s)
}

func (p *program) identities() ([]agefile.Identity, error) {
	if p.flags.offsite.identity == "" {
		return nil, nil
	}
	return offsite.Identities(p.flags.offsite.identity)
}

// copies lists those of one repository: the named one, else this one's, else the only one there is; and of them those of one
// server: the one --of-server names, else the given one, else the only one there is. Never a mixture.
func (p *program) copies(ctx context.Context, s *offsite.Store, repo *catalog.Repository, server string) ([]offsite.Copy, error) {
	all, err := s.List(ctx)
	if err != nil {
		return nil, err
	}
	if all, err = p.ofRepository(all, repo); err != nil || catalog.IsID(p.flags.offsite.copy) {
		return all, err
	}
	local, err := repo.Brief()
	if err != nil {
		return nil, err
	}
	servers, err := repo.Servers(local)
	if err != nil {
		return nil, err
	}
	if lines := servers.Lines(); len(lines) == 1 && !servers.Knows(server) {
		server = lines[0]
	}
	named := p.flags.restore.ofServer
	if named != "" {
		server = named
	}
	return offsite.OfServer(all, servers, server, named != "")
}

// ofRepository narrows copies to those of one repository.
func (p *program) ofRepository(all []offsite.Copy, repo *catalog.Repository) ([]offsite.Copy, error) {
	of := map[string][]offsite.Copy{}
	var ids []string
	for _, c := range all {
		if of[c.RepositoryID] == nil {
			ids = append(ids, c.RepositoryID)
		}
		of[c.RepositoryID] = append(of[c.RepositoryID], c)
	}
	wanted := p.flags.offsite.repository
	switch {
	case wanted != "":
		return of[wanted], nil
	case of[repo.ID()] != nil:
		return of[repo.ID()], nil
	case len(ids) > 1:
		return nil, failure.New(failure.Config, "the prefix has copies of %d repositories (%s)", len(ids), strings.Join(ids, ", ")).
			WithHint("Name one with --offsite-repository; `offsite list` shows them.")
	}
	return all, nil
}
