package main

import (
	"context"
	"fmt"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/go-kit/log/level"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine/pgbackrest"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

const (
	// observeEvery is how often the daemon looks how far archived WAL reaches.
	observeEvery = time.Minute
	// reconcileEvery is how often it looks for backups that others made or expired.
	reconcileEvery = 10 * time.Minute
)

type pgbackrestFlags struct {
	program, stanza, config, kind, user string
	repo                                int
	fullEvery                           time.Duration
	options                             []string
}

// clusterFlags are of a restore of a whole server.
type clusterFlags struct {
	dataDir, tablespaceDir           string
	immediate, keepArchiving, paused bool
}

// addPgBackRest declares what says where pgBackRest's backups are.
func (f *flags) addPgBackRest(c *kingpin.CmdClause) {
	b := &f.pgbackrest
	c.Flag("pgbackrest-stanza", "pgBackRest's name for the server.").Default("main").StringVar(&b.stanza)
	c.Flag("pgbackrest-config", "pgBackRest's configuration file (default: its own).").StringVar(&b.config)
	c.Flag("pgbackrest-repo", "Number of pgBackRest's repository.").Default("1").IntVar(&b.repo)
	c.Flag("pgbackrest-program", "pgBackRest, where it is not in PATH.").Default("pgbackrest").StringVar(&b.program)
	c.Flag("pgbackrest-user", "System user that pgBackRest runs as when this program is root (default: postgres, else nobody).").
		StringVar(&b.user)
	c.Flag("pgbackrest-option", "Further option of pgBackRest's backup and restore, such as --process-max=4. Repeatable.").
		StringsVar(&b.options)
}

// addPgBackRestBackup declares what a backup by pgBackRest needs besides.
func (f *flags) addPgBackRestBackup(c *kingpin.CmdClause) {
	b := &f.pgbackrest
	f.addPgBackRest(c)
	c.Flag("pgbackrest-type", "full, diff (against the last full one) or incr (against the last one).").Default(pgbackrest.Differential).
		EnumVar(&b.kind, pgbackrest.Full, pgbackrest.Differential, pgbackrest.Incremental)
	c.Flag("pgbackrest-full-every", "Make a full backup once the last one is so old; 0: only where there is none.").Default("168h").
		DurationVar(&b.fullEvery)
}

func (f *flags) addCluster(c *kingpin.CmdClause) {
	r := &f.cluster
	c.Flag("data-dir", "Restore the whole server from pgBackRest into this empty directory, to the moment --at (default: the end of the "+
		"archived WAL).").StringVar(&r.dataDir)
	c.Flag("tablespace-dir", "With --data-dir: put the tablespaces below this directory instead of where they were.").
		StringVar(&r.tablespaceDir)
	c.Flag("immediate", "With --data-dir: recover no further than the backup's own end.").BoolVar(&r.immediate)
	c.Flag("pause", "With --data-dir: stop at the moment for a look, read-only, until pg_wal_replay_resume().").BoolVar(&r.paused)
	c.Flag("keep-archiving", "With --data-dir: the restored server archives WAL as the original did. Only when it replaces the original.").
		BoolVar(&r.keepArchiving)
}

func (p *program) pgbackrest(repo *catalog.Repository) *pgbackrest.Engine {
	b := p.flags.pgbackrest
	return &pgbackrest.Engine{
		Program: b.program, Stanza: b.stanza, Config: b.config, Repo: b.repo, Type: b.kind, FullEvery: b.fullEvery, User: b.user,
		Options: b.options, Repository: repo,
	}
}

// refresh makes the catalogue agree with pgBackRest, and looks how far archived WAL reaches.
func (p *program) refresh(ctx context.Context) error {
	repo, err := p.open()
	if err != nil {
		return err
	}
	target, err := p.env.target()
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
	e := p.pgbackrest(repo)
	if err := e.Reconcile(ctx, repo, p.log); err != nil {
		return err
	}
	if err := e.Observe(ctx, target, repo); err != nil {
		return err
	}
	s, err := repo.State()
	if err != nil {
		return err
	}
	if p.flags.json {
		return p.printJSON(s.WAL)
	}
	if s.WAL.ArchivedTo.IsZero() {
		fmt.Fprintln(p.out, "how far archived WAL reaches is not known yet")
		return nil
	}
	say(p.out, "archived WAL reaches %s\n", s.WAL.ArchivedTo.Format(time.RFC3339))
	return nil
}

// restoreServer restores a whole server into a directory.
func (p *program) restoreServer(ctx context.Context, repo *catalog.Repository, restorer engine.ServerRestorer, b catalog.Backup) error {
	f, r := p.flags.cluster, p.flags.restore
	if f.dataDir == "" {
		return failure.New(failure.Config, "backup %s is of %s: it holds the whole server", b.ID, b.Manifest.Engine).
			WithHint("Restore it beside the old one with --data-dir DIR, an empty directory; take single databases from there.")
	}
	if r.database != "" || r.table != "" || r.as != "" || r.to != "" || r.list || r.keepAs != "" || r.dropOld {
		return failure.New(failure.Config, "--data-dir restores the whole server, not a database or table").WithHint("Leave the other flags out.")
	}
	o := engine.ServerOptions{
		Backup: b, DataDir: f.dataDir, TablespaceDir: f.tablespaceDir, Immediate: f.immediate, Pause: f.paused, KeepArchiving: f.keepArchiving,
	}
	if r.at != "" {
		at, err := time.Parse(time.RFC3339, r.at)
		if err != nil {
			return failure.New(failure.Config, "--at=%s is not a time", r.at).WithHint("Write it as 2026-11-23T02:00:00Z.")
		}
		o.At = at
	}
	if s, err := repo.State(); err == nil && s.WAL != nil && !o.At.IsZero() && o.At.After(s.WAL.ArchivedTo) {
		_ = level.Warn(p.log).Log("msg", "archived WAL may not reach that moment: the server's start would say so", "at",
			o.At.Format(time.RFC3339),
			"archived_to", s.WAL.ArchivedTo.Format(time.RFC3339), "seen", s.WAL.At.Format(time.RFC3339))
	}
	if p.flags.dryRun {
		say(p.out, "would restore the whole server from %s (%s) into %s\n", b.ID, b.Manifest.External.Label, f.dataDir)
		return nil
	}
	rep, err := restorer.RestoreServer(ctx, o)
	if err != nil {
		return err
	}
	if rep.NewerTimeline != "" {
		_ = level.Warn(p.log).Log("msg", "the archive has a newer timeline than the backup's, which the server will follow: what the older one "+
			"has after the newer one left it is not reached", "newer", rep.NewerTimeline, "hint",
			"for a moment of the older one: empty the directory, and restore with --pgbackrest-option=--target-timeline=current")
	}
	if p.flags.json {
		return p.printJSON(rep)
	}
	say(p.out, "restored %s (%s) into %s in %s. Start a server on it: it recovers to %s.\n", rep.Backup, rep.Label, rep.DataDir,
		roundSeconds(rep.Seconds), rep.Target)
	if !rep.Archiving {
		fmt.Fprintln(p.out, "It archives no WAL (archive_mode = off in postgresql.auto.conf), so that it can run beside the original.")
	}
	return nil
}

// archive is what the daemon does for an engine with point-in-time recovery between backups.
type archive struct {
	nextLook, nextReconcile time.Time
	said                    string // the last failure, logged once
}

// look keeps the recovery point and the catalogue fresh.
func (d *daemon) look(ctx context.Context) {
	now := time.Now()
	e, ok := d.job.Engine.(engine.Archiver)
	if !ok || now.Before(d.archive.nextLook) && now.Add(observeEvery).After(d.archive.nextLook) { // or the clock was set back
		return
	}
	d.archive.nextLook = now.Add(observeEvery)
	err := d.reconcile(ctx, now)
	if err == nil {
		err = e.Observe(ctx, d.job.Request.Target, d.repo)
	}
	switch {
	case ctx.Err() != nil:
	case err == nil:
		d.archive.said = ""
	case err.Error() != d.archive.said:
		d.archive.said = err.Error()
		_ = level.Error(d.log).Log("msg", "how far archived WAL reaches is unknown", "err", err)
	}
	d.textfile()
}

// reconcile takes in what others did with the engine's program.
func (d *daemon) reconcile(ctx context.Context, now time.Time) error {
	im, ok := d.job.Engine.(engine.Importer)
	if !ok || now.Before(d.archive.nextReconcile) && now.Add(reconcileEvery).After(d.archive.nextReconcile) {
		return nil
	}
	release, err := d.repo.Lock()
	if failure.Of(err) == failure.Locked {
		return nil // the next look is soon
	}
	if err != nil {
		return err
	}
	defer release()
	if _, err := d.repo.Sweep(ctx); err != nil {
		return err
	}
	if err := im.Reconcile(ctx, d.repo, d.log); err != nil {
		return err
	}
	d.archive.nextReconcile = now.Add(reconcileEvery)
	return nil
}
