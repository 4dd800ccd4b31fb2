package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	agefile "filippo.io/age"
	"github.com/alecthomas/kingpin/v2"
	"github.com/go-kit/log/level"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/job"
	"github.com/pg-reliability/pg_reliability_exporter/backup/offsite"
	"github.com/pg-reliability/pg_reliability_exporter/backup/restore"
	"github.com/pg-reliability/pg_reliability_exporter/backup/retention"
)

type offsiteFlags struct {
	url, endpoint, region      string
	identity, repository, copy string
	recipients                 []string
	cheap                      bool
	keep                       int
}

// addOffsite declares where copies are.
func (f *flags) addOffsite(c *kingpin.CmdClause) {
	o := &f.offsite
	c.Flag("offsite-url", "Keep copies in this bucket of a store that speaks S3: s3://bucket/prefix. Credentials as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "+
		"each also as NAME_FILE, or in AWS_SHARED_CREDENTIALS_FILE, or the machine's role.").StringVar(&o.url)
	c.Flag("offsite-endpoint", "The store, as https://host:port (default: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, Amazon's).").StringVar(&o.endpoint)
	c.Flag("offsite-region", "The bucket's region (default: AWS_REGION, AWS_DEFAULT_REGION, or the store is asked).").StringVar(&o.region)
}

// addOffsiteCopy declares how copies are made.
func (f *flags) addOffsiteCopy(c *kingpin.CmdClause) {
	o := &f.offsite
	f.addOffsite(c)
	c.Flag("offsite-recipient", "Encrypt copies for this public key of age (age1...). Repeatable. Never the secret key.").StringsVar(&o.recipients)
	c.Flag("offsite-cheap", "Read only manifest and index back; of the rest compare sizes.").BoolVar(&o.cheap)
	f.addOffsiteKeep(c)
}

func (f *flags) addOffsiteKeep(c *kingpin.CmdClause) {
	c.Flag("offsite-keep", "Keep this many newest copies (0: as --keep and its like say).").Default("0").IntVar(&f.offsite.keep)
}

// addOffsiteFetch declares how copies are brought back.
func (f *flags) addOffsiteFetch(c *kingpin.CmdClause) {
	f.addOffsite(c)
	c.Flag("offsite-identity", "File with age's secret key, for encrypted copies.").StringVar(&f.offsite.identity)
	c.Flag("offsite-repository", "Id of the repository the copies are of, where the prefix has those of several.").StringVar(&f.offsite.repository)
}

func (f *flags) addOffsiteCommands(app *kingpin.Application) {
	c := app.Command("offsite", "Copies of backups in a store that speaks S3.")
	list := c.Command("list", "List the complete copies.")
	f.addOffsite(list)
	f.addJSON(list)
	cp := c.Command("copy", "Copy a backup now, and those whose copy failed before.")
	f.addWhich(cp)
	f.addOffsiteCopy(cp)
	fetch := c.Command("fetch", "Bring a copy back into the repository.")
	fetch.Arg("copy", "An id, latest, or a time (RFC 3339).").Default(catalog.Latest).StringVar(&f.offsite.copy)
	f.addOffsiteFetch(fetch)
	fetch.Flag("init", "Make the repository if its directory is empty.").BoolVar(&f.backup.initialise)
	prune := c.Command("prune", "Delete the copies that retention does not keep.")
	f.addOffsite(prune)
	f.addOffsiteKeep(prune)
	f.addRetention(prune)
	f.addJSON(prune)
	f.addDryRun(prune)
}

// store is the place of the copies; nil without --offsite-url.
func (p *program) store(repo *catalog.Repository, progress *progress) (*offsite.Store, error) {
	f := p.flags.offsite
	if f.url == "" {
		return nil, nil
	}
	o := offsite.Options{
		URL: f.url, Endpoint: f.endpoint, Region: f.region, Recipients: f.recipients, Cheap: f.cheap, Repository: repo, Log: p.log, Now: time.Now,
	}
	if progress != nil {
		o.Progress = progress.report
	}
	if f.keep < 0 {
		return nil, failure.New(failure.Config, "--offsite-keep=%d: 0 or more", f.keep)
	}
	if f.keep > 0 {
		o.Policy = retention.Policy{Keep: f.keep}
	} else if p.flags.retention.keep > 0 {
		policy, err := p.policy()
		if err != nil {
			return nil, err
		}
		o.Policy = policy
	}
	if err := p.env.aws(&o); err != nil {
		return nil, err
	}
	return offsite.New(o)
}

// aws fills in what the usual variables say.
func (e environment) aws(o *offsite.Options) error {
	for _, v := range []struct {
		to    *string
		names []string
	}{
		{&o.AccessKey, []string{"AWS_ACCESS_KEY_ID"}}, {&o.SecretKey, []string{"AWS_SECRET_ACCESS_KEY"}}, {&o.SessionToken, []string{"AWS_SESSION_TOKEN"}},
		{&o.Region, []string{"AWS_REGION", "AWS_DEFAULT_REGION"}}, {&o.Endpoint, []string{"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"}},
		{&o.Profile, []string{"AWS_PROFILE"}}, {&o.CredentialsFile, []string{"AWS_SHARED_CREDENTIALS_FILE"}},
	} {
		for _, name := range v.names {
			if *v.to != "" {
				break
			}
			value, err := e.value(name)
			if err != nil {
				return err
			}
			*v.to = value
		}
	}
	if home, _ := e("HOME"); o.CredentialsFile == "" && home != "" {
		usual := filepath.Join(home, ".aws", "credentials")
		if _, err := os.Stat(usual); err == nil {
			o.CredentialsFile = usual
		}
	}
	return nil
}

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
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.ID, c.RepositoryID, age(c.Finished), bytesText(c.Bytes), c.Engine, encrypted, c.Target)
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
		fmt.Fprintf(p.out, "%s is copied to %s\n", b.ID, s.Target(repo.ID()))
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
		copies, err := p.copies(ctx, s, repo)
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
		fmt.Fprintf(p.out, "%s is in the repository: %s\n", b.ID, b.Health)
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
			fmt.Fprintf(w, "%s\t%s\t%s\n", verb, d.ID, strings.Join(d.Reasons, "; "))
		}
		for _, id := range plan.Leftovers {
			fmt.Fprintf(w, "delete\t%s\tnever complete, and the backup is gone\n", id)
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

// copies lists those of one repository: the named one, else this one's, else the only one there is.
// Never a mixture: they may be of different servers.
func (p *program) copies(ctx context.Context, s *offsite.Store, repo *catalog.Repository) ([]offsite.Copy, error) {
	all, err := s.List(ctx)
	if err != nil {
		return nil, err
	}
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

// bringBack fetches the newest usable copy for a bootstrap of an empty server whose repository has
// nothing to restore. It does nothing without --offsite-url. True: a dry run has said all there is to say.
func (p *program) bringBack(ctx context.Context, r *restore.Restorer, repo *catalog.Repository, o restore.BootstrapOptions, progress *progress) (bool, error) {
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
	copies, err := p.copies(ctx, s, repo)
	if err != nil || len(copies) == 0 {
		return false, err
	}
	if p.flags.dryRun {
		fmt.Fprintf(p.out, "would fetch %s from %s and restore it\n", copies[0].ID, copies[0].Target)
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
		_ = level.Info(p.log).Log("msg", "the repository has nothing to restore: fetching the off-site copy", "id", c.ID, "target", c.Target, "bytes", c.Bytes)
		var b catalog.Backup
		if b, err = s.Fetch(ctx, c, keys); err == nil {
			return false, p.fetchLacking(ctx, s, b, copies[i+1:], keys)
		}
		_ = level.Error(p.log).Log("msg", "the off-site copy could not be fetched", "id", c.ID, "err", err)
		if failure.Of(err) != failure.Verify {
			return false, err
		}
	}
	return false, failure.New(failure.Nothing, "bootstrap: none of %d off-site copies could be fetched, nothing is served: %w", len(copies), err)
}

// mostLenders bounds how many older copies are fetched for what the newest lacks: encrypted ones don't say what they hold.
const mostLenders = 5

// fetchLacking fetches, beside an incomplete backup, older copies of its server that hold the databases its run could not
// dump: a bootstrap takes these from there. What can't be had is a warning, for the rest can be.
func (p *program) fetchLacking(ctx context.Context, s *offsite.Store, b catalog.Backup, older []offsite.Copy, keys []agefile.Identity) error {
	var lacks []string
	for _, o := range b.Manifest.Omitted {
		if _, held := b.Manifest.Database(o.Database); o.Kind.Incomplete() && !held {
			lacks = append(lacks, o.Database)
		}
	}
	fetched := 0
	for _, c := range older {
		if len(lacks) == 0 || fetched == mostLenders {
			break
		}
		names := func(name string) bool { return slices.Contains(c.Databases, name) }
		if c.Server != "" && c.Server != b.Manifest.Server.SystemIdentifier || len(c.Databases) > 0 && !slices.ContainsFunc(lacks, names) {
			continue
		}
		_ = level.Info(p.log).Log("msg", "fetching an older off-site copy for what the newest lacks", "id", c.ID, "lacking", strings.Join(lacks, ","))
		got, err := s.Fetch(ctx, c, keys)
		if ctx.Err() != nil {
			return err
		}
		fetched++
		if err != nil {
			_ = level.Error(p.log).Log("msg", "the off-site copy could not be fetched", "id", c.ID, "err", err)
			continue
		}
		lacks = slices.DeleteFunc(lacks, func(name string) bool {
			_, has := got.Manifest.Database(name)
			return has
		})
	}
	if len(lacks) > 0 {
		_ = level.Warn(p.log).Log("msg", "no off-site copy that was fetched holds what the newest lacks", "databases", strings.Join(lacks, ","))
	}
	return nil
}
