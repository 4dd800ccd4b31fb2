package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/prometheus/common/version"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/clients"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine/pgbackrest"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine/pgdump"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/job"
	"github.com/pg-reliability/pg_reliability_exporter/backup/retention"
	"github.com/pg-reliability/pg_reliability_exporter/backup/scratch"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/backup/verify"
)

// program is what all commands share.
type program struct {
	command  string // what was asked for
	flags    *flags
	env      environment
	out, err io.Writer
	log      log.Logger
}

// commands maps each command to what it does.
func (p *program) commands() map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"setup": p.setup, "init": p.init, "run": p.run, "schedule": p.schedule, "list": p.list, "show": p.show, "verify": p.verify,
		"accept": p.accept, "restore": p.restore, "bootstrap": p.bootstrap, "prune": p.prune, "healthcheck": p.healthcheck,
		"refresh": p.refresh, "offsite list": p.offsiteList, "offsite copy": p.offsiteCopy, "offsite fetch": p.offsiteFetch,
		"offsite prune": p.offsitePrune,
	}
}

// engineNames are what --engine takes.
func engineNames() []string { return []string{pgdump.Name, pgbackrest.Name} }

// engines are all engines this program reads backups of.
func (p *program) engines(repo *catalog.Repository) []engine.Engine {
	return []engine.Engine{p.pgdump(), p.pgbackrest(repo)}
}

// engine is the one that --engine names.
func (p *program) engine(repo *catalog.Repository) (engine.Engine, error) {
	for _, e := range p.engines(repo) {
		if e.Name() == p.flags.backup.engine {
			return e, nil
		}
	}
	return nil, failure.New(failure.Config, "--engine=%s is not known", p.flags.backup.engine)
}

func (p *program) pgdump() *pgdump.Engine {
	return &pgdump.Engine{
		Finder: p.finder(), Jobs: p.flags.backup.jobs, ParallelAbove: int64(p.flags.backup.parallelAbove),
		Compress: &p.flags.backup.compress,
	}
}

func (p *program) finder() clients.Finder { return clients.Finder{Dirs: p.flags.clientDirs} }

// directory is the repository's.
func (p *program) directory() (string, error) {
	if p.flags.repository == "" {
		return "", failure.New(failure.Config, "no repository is named").
			WithHint("Give --repository DIR, or set PG_RELIABILITY_BACKUP_REPOSITORY.")
	}
	if !slices.Contains(readingCommands(), p.command) {
		if err := refuseRoot(p.flags.repository, os.Geteuid()); err != nil {
			return "", err
		}
	}
	return p.flags.repository, nil
}

// open opens the repository, making it where --init allows that.
func (p *program) open() (*catalog.Repository, error) {
	dir, err := p.directory()
	if err != nil {
		return nil, err
	}
	if p.flags.backup.initialise {
		return catalog.Init(dir, time.Now())
	}
	return catalog.Open(dir)
}

// job puts a run together.
func (p *program) job(repo *catalog.Repository, trigger string, progress *progress) (*job.Job, error) {
	target, err := p.env.target()
	if err != nil {
		return nil, err
	}
	e, err := p.engine(repo)
	if err != nil {
		return nil, err
	}
	policy, err := p.policy()
	if err != nil {
		return nil, err
	}
	b := p.flags.backup
	if b.suspectBelow < 0 || b.suspectBelow >= 1 {
		return nil, failure.New(failure.Config, "--suspect-below=%g is not a share", b.suspectBelow).WithHint("Choose 0 to 0.99.")
	}
	if b.compress < 0 || b.compress > 9 {
		return nil, failure.New(failure.Config, "--compress=%d: 0 to 9", b.compress)
	}
	if b.lockWait < time.Millisecond { // without an end, everybody who wants the table queues behind us
		return nil, failure.New(failure.Config, "--lock-wait-timeout=%s is no time to wait", b.lockWait).WithHint("Choose 1s or more.")
	}
	if b.jobs < 1 {
		return nil, failure.New(failure.Config, "--jobs=%d: at least 1", b.jobs)
	}
	copier, err := p.copier(repo, progress)
	if err != nil {
		return nil, err
	}
	return &job.Job{
		Pruner: job.Pruner{Repo: repo, Engines: p.engines(repo), Policy: policy, Copier: copier, Log: p.log},
		Limits: job.Limits{
			Timeout: b.timeout, VerifyTimeout: p.flags.verify.timeout, SuspectBelow: b.suspectBelow, MinFree: int64(b.minFree),
			NoSpaceCheck: !b.spaceCheck,
		},
		Engine: e,
		Request: engine.Request{
			Target: target.ReadOnly(), Databases: server.Selection{Only: b.databases, Except: b.except}, LockWait: b.lockWait,
			Progress: progress.report, Log: p.log,
		},
		Verifier: p.verifier(repo, progress), Verify: p.flags.verify.after, NoPrune: !b.prune, Trigger: trigger, Tool: version.Version,
		Now: time.Now,
	}, nil
}

func (p *program) policy() (retention.Policy, error) {
	r := p.flags.retention
	zone, err := p.flags.zone()
	if err != nil {
		return retention.Policy{}, err
	}
	policy := retention.Policy{Keep: r.keep, Daily: r.daily, Weekly: r.weekly, Monthly: r.monthly, Location: zone}
	return policy, policy.Check()
}

func (p *program) verifier(repo *catalog.Repository, progress *progress) *verify.Verifier {
	v := p.flags.verify
	return &verify.Verifier{
		Repo: repo, Engines: p.engines(repo), Finder: p.finder(), Jobs: p.flags.backup.jobs, Log: p.log, Now: time.Now,
		Limit: v.limit, Progress: progress.report, Scratch: scratch.Options{Base: v.scratch, User: v.user, Settings: v.settings},
	}
}

// destination is the server to restore into: --to, or the one backups are made of.
func (p *program) destination() (server.Target, error) {
	if p.flags.restore.to == "" {
		return p.env.target()
	}
	return server.Parse(p.flags.restore.to, nil)
}

// choose finds the backup that the command line names. By its id, one is read and no other.
func (p *program) choose(repo *catalog.Repository) (catalog.Backup, error) {
	if catalog.IsID(p.flags.which) && p.flags.restore.at == "" {
		if err := repo.Present(); err != nil {
			return catalog.Backup{}, err
		}
		if b, err := repo.Get(p.flags.which); !errors.Is(err, fs.ErrNotExist) {
			return b, err
		}
	}
	all, err := repo.Brief()
	if err != nil {
		return catalog.Backup{}, err
	}
	if named := p.flags.restore.ofServer; named != "" && !catalog.IsID(p.flags.which) {
		servers, err := repo.Servers(all)
		if err != nil { // the manifests say it, too
			_ = level.Warn(p.log).Log("msg", "what the repository was told about its servers can't be read", "err", err)
		}
		if all, err = servers.Of(all, named, true); err != nil {
			return catalog.Backup{}, err
		}
	}
	return p.chooseFrom(repo, all)
}

// chooseEach is choose where the repository may hold several servers' backups: unless an id or --of-server says which one is meant, it is
// one of each server whose backups somebody waits for. Another server's proof is none.
func (p *program) chooseEach(repo *catalog.Repository) ([]catalog.Backup, error) {
	var lines map[string][]catalog.Backup
	if !catalog.IsID(p.flags.which) && p.flags.restore.ofServer == "" {
		all, err := repo.Brief()
		if err != nil {
			return nil, err
		}
		servers, err := repo.Servers(all)
		if err != nil { // the manifests say it, too
			_ = level.Warn(p.log).Log("msg", "what the repository was told about its servers can't be read", "err", err)
		}
		lines = servers.Awaited(all)
		maps.DeleteFunc(lines, func(_ string, list []catalog.Backup) bool { return len(list) == 0 }) // let in, and yet without a backup
	}
	if len(lines) <= 1 {
		b, err := p.choose(repo)
		return []catalog.Backup{b}, err
	}
	var each []catalog.Backup
	for _, line := range slices.Sorted(maps.Keys(lines)) {
		b, err := p.chooseFrom(repo, lines[line])
		if err != nil {
			return nil, failure.New(failure.Of(err), "server %s: %w", line, err)
		}
		each = append(each, b)
	}
	return each, nil
}

// chooseToRestore is choose where the repository may hold other servers' backups: unless an id says which one is meant, it is
// of the server that is restored into, or of the one that --of-server names.
func (p *program) chooseToRestore(ctx context.Context, repo *catalog.Repository) (catalog.Backup, error) {
	all, err := repo.Brief()
	if err != nil {
		return catalog.Backup{}, err
	}
	servers, err := repo.Servers(all)
	if err != nil { // the manifests say it, too
		_ = level.Warn(p.log).Log("msg", "what the repository was told about its servers can't be read", "err", err)
	}
	named := p.flags.restore.ofServer
	if !catalog.IsID(p.flags.which) && (named != "" || len(servers.Lines()) > 1) {
		id := named
		if named == "" {
			id = p.systemIdentifier(ctx)
		}
		if all, err = servers.Of(all, id, named != ""); err != nil {
			return catalog.Backup{}, err
		}
	}
	return p.chooseFrom(repo, all)
}

// systemIdentifier is that of the server to restore into; "" when it can't be asked.
func (p *program) systemIdentifier(ctx context.Context) string {
	target, err := p.destination()
	if err != nil {
		return ""
	}
	conn, err := target.Connect(ctx, "")
	if err != nil {
		return ""
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	facts, err := server.Facts(ctx, conn)
	if err != nil {
		return ""
	}
	return facts.SystemIdentifier
}

func (p *program) chooseFrom(repo *catalog.Repository, all []catalog.Backup) (catalog.Backup, error) {
	name := p.flags.which
	if p.flags.restore.at != "" {
		if name != catalog.Latest {
			return catalog.Backup{}, failure.New(failure.Config, "both a backup (%s) and --at are given", name).WithHint("Keep one of them.")
		}
		name = p.flags.restore.at
	}
	wanted := catalog.Wanted{Name: name, Database: p.flags.restore.database}
	if p.flags.cluster.dataDir != "" { // only a physical backup becomes a data directory
		wanted.Engine = pgbackrest.Name
	}
	b, err := catalog.Choose(all, wanted)
	if err == nil {
		b, err = repo.Get(b.ID) // with its tables
	}
	if err == nil && b.Health == catalog.Unverified && len(all) > 1 {
		_ = level.Debug(p.log).Log("msg", "the chosen backup was never verified", "id", b.ID)
	}
	return b, err
}
