package main

import (
	"os"
	"path/filepath"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/offsite"
	"github.com/pg-reliability/pg_reliability_exporter/backup/retention"
)

type offsiteFlags struct {
	url, endpoint, region      string
	identity, repository, copy string
	recipients                 []string
	cheap                      bool
	keep                       int
	timeout                    time.Duration
}

// addOffsite declares where copies are.
func (f *flags) addOffsite(c *kingpin.CmdClause) {
	o := &f.offsite
	c.Flag("offsite-url", "Keep copies in this bucket of a store that speaks S3: s3://bucket/prefix. Credentials as AWS_ACCESS_KEY_ID and "+
		"AWS_SECRET_ACCESS_KEY, "+
		"each also as NAME_FILE, or in AWS_SHARED_CREDENTIALS_FILE, or the machine's role.").StringVar(&o.url)
	c.Flag("offsite-endpoint", "The store, as https://host:port (default: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, Amazon's).").
		StringVar(&o.endpoint)
	c.Flag("offsite-region", "The bucket's region (default: AWS_REGION, AWS_DEFAULT_REGION, or the store is asked).").StringVar(&o.region)
	c.Flag("offsite-timeout", "Give up a copy, and whatever else is asked of the store, after this time (0: never).").Default("12h").
		DurationVar(&o.timeout)
}

// addOffsiteCopy declares how copies are made.
func (f *flags) addOffsiteCopy(c *kingpin.CmdClause) {
	o := &f.offsite
	f.addOffsite(c)
	c.Flag("offsite-recipient", "Encrypt copies for this public key of age (age1...). Repeatable. Never the secret key.").
		StringsVar(&o.recipients)
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
	c.Flag("offsite-repository", "Id of the repository the copies are of, where the prefix has those of several.").
		StringVar(&f.offsite.repository)
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
	fetch.Flag("of-server", "System identifier of the server whose copies are meant, where there are those of several.").
		StringVar(&f.restore.ofServer)
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
		Timeout: f.timeout,
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
		{&o.AccessKey, []string{"AWS_ACCESS_KEY_ID"}}, {&o.SecretKey, []string{"AWS_SECRET_ACCESS_KEY"}},
		{&o.SessionToken, []string{"AWS_SESSION_TOKEN"}},
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
