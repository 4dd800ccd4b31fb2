package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-kit/log/level"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/engine"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/restore"
	"github.com/pg-reliability/pg_reliability_exporter/backup/sqltext"
)

// restorer puts a restore together.
func (p *program) restorer(repo *catalog.Repository, progress *progress, owner bool) (*restore.Restorer, error) {
	target, err := p.destination()
	if err != nil {
		return nil, err
	}
	return &restore.Restorer{
		Repo: repo, Engines: p.engines(repo), Target: target, Jobs: p.flags.backup.jobs, Drain: p.flags.restore.drain,
		NoOwner: !owner, Log: p.log, Now: time.Now, Progress: progress.report,
	}, nil
}

// restore brings one database, or one table's rows, back.
func (p *program) restore(ctx context.Context) error {
	repo, err := p.open()
	if err != nil {
		return err
	}
	b, err := p.chooseToRestore(ctx, repo)
	if err != nil {
		return err
	}
	if err := p.examine(b); err != nil {
		return err
	}
	e, err := engine.Of(p.engines(repo), b)
	if err != nil {
		return err
	}
	if r := e.Restoring(); r.Server != nil {
		return p.restoreServer(ctx, repo, r.Server, b)
	} else if p.flags.cluster.dataDir != "" {
		return failure.New(failure.Config, "backup %s holds single databases, which do not become a data directory", b.ID).
			WithHint("Restore them into a server that runs, without --data-dir.")
	}
	database, err := p.database(b)
	if err != nil {
		return err
	}
	if p.flags.restore.list {
		return p.listContents(ctx, e.Restoring().Databases, b, database)
	}
	bar := newProgress(p.err, p.log)
	defer bar.done()
	r, err := p.restorer(repo, bar, p.flags.restore.owner)
	if err != nil {
		return err
	}
	if p.flags.dryRun {
		return p.plan(ctx, b, database, r)
	}
	if err := p.agreed(ctx, r, b, database); err != nil {
		return err
	}
	rep, err := p.execute(ctx, r, b, database)
	bar.done()
	if rep.Backup == "" {
		return err
	}
	if p.flags.json {
		if werr := p.printJSON(rep); werr != nil && err == nil {
			err = werr
		}
		return err
	}
	switch {
	case rep.Table != "":
		say(p.out, "restored %d rows of %s into %s of database %s\n", rep.Rows, p.flags.restore.table, rep.Table, sqltext.Shown(rep.Database))
	case rep.KeptAs != "":
		say(p.out, "restored %s from %s: %d rows in %s; the old database is kept as %s\n", sqltext.Shown(rep.Database), rep.Backup, rep.Rows,
			roundSeconds(rep.Seconds), sqltext.Shown(rep.KeptAs))
	default:
		say(p.out, "restored %s from %s: %d rows in %s\n", sqltext.Shown(rep.Database), rep.Backup, rep.Rows, roundSeconds(rep.Seconds))
	}
	p.warnings(rep.Warnings)
	return err
}

// examine refuses a damaged backup, and warns of a suspect one that was chosen by id.
func (p *program) examine(b catalog.Backup) error {
	switch b.Health {
	case catalog.Damaged:
		return failure.New(failure.Verify, "backup %s is damaged (%s), nothing was changed", b.ID, b.Problem).
			WithHint("Choose another one: `%s list`.", appName)
	case catalog.Unreadable:
		return failure.New(failure.Repository, "backup %s can't be read (%s), nothing was changed", b.ID, b.Problem).
			WithHint("Are the repository's disk and its permissions as they should be? `%s list` says what can be read.", appName)
	case catalog.IsSuspect:
		_ = level.Warn(p.log).Log("msg", "this backup is suspect", "id", b.ID, "why", b.Problem)
	}
	return nil
}

// database is the one --database names, or the only one it can be.
func (p *program) database(b catalog.Backup) (string, error) {
	if p.flags.restore.database != "" {
		return p.flags.restore.database, nil
	}
	var names []string
	for _, d := range b.Manifest.Databases {
		if d.Name != "postgres" || len(d.Contents.Tables) > 0 {
			names = append(names, d.Name)
		}
	}
	if len(names) == 1 {
		return names[0], nil
	}
	return "", failure.New(failure.Config, "backup %s has %d databases (%s)", b.ID, len(names), strings.Join(names, ", ")).
		WithHint("Choose one with --database.")
}

func (p *program) execute(ctx context.Context, r *restore.Restorer, b catalog.Backup, database string) (restore.Report, error) {
	if p.flags.restore.table == "" {
		return r.Restore(ctx, p.whole(b, database))
	}
	o, err := p.oneTable(b, database)
	if err != nil {
		return restore.Report{}, err
	}
	return r.RestoreTable(ctx, o)
}

// ahead is what execute would meet.
func (p *program) ahead(ctx context.Context, r *restore.Restorer, b catalog.Backup, database string) (restore.Plan, error) {
	if p.flags.restore.table == "" {
		return r.Plan(ctx, p.whole(b, database))
	}
	o, err := p.oneTable(b, database)
	if err != nil {
		return restore.Plan{}, err
	}
	return r.PlanTable(ctx, o)
}

func (p *program) whole(b catalog.Backup, database string) restore.Options {
	f := p.flags.restore
	return restore.Options{Backup: b, Database: database, As: f.as, KeepAs: f.keepAs, DropOld: f.dropOld}
}

func (p *program) oneTable(b catalog.Backup, database string) (restore.TableOptions, error) {
	f := p.flags.restore
	schema, table, err := parseTable(f.table)
	return restore.TableOptions{Backup: b, Database: database, Schema: schema, Table: table, Into: f.as}, err
}

func (p *program) plan(ctx context.Context, b catalog.Backup, database string, r *restore.Restorer) error {
	db, ok := b.Manifest.Database(database)
	if !ok {
		return failure.New(failure.Nothing, "backup %s has no database %q", b.ID, database)
	}
	as := p.flags.restore.as
	if as == "" {
		as = database
	}
	plan := map[string]any{
		"backup": b.ID, "state": b.Health, "recovery_point": b.Manifest.RecoveryPoint, "database": database, "as": as,
		"server": r.Target.String(), "rows": db.Contents.Rows(), "tables": len(db.Contents.Tables), "table": p.flags.restore.table,
	}
	ahead, err := p.ahead(ctx, r, b, database)
	if err != nil {
		return err
	}
	if p.flags.json {
		plan["ahead"] = ahead
		if err := p.printJSON(plan); err != nil {
			return err
		}
		return ahead.Refused()
	}
	what := fmt.Sprintf("database %s (%d rows in %s)", database, db.Contents.Rows(), counted(len(db.Contents.Tables), "table"))
	if p.flags.restore.table != "" {
		what = "table " + p.flags.restore.table + " of database " + database
	}
	say(p.out, "would restore %s from %s (%s, state of %s) as %s into %s\n", what, b.ID, b.Health,
		b.Manifest.RecoveryPoint.Format(time.RFC3339), as, r.Target)
	if old := ahead.Standing; old != nil && p.flags.restore.table == "" {
		say(p.out, "%s\n", p.replaces(*old, r, b))
	}
	p.warnings(ahead.Warnings)
	if ahead.Refusal != "" {
		say(p.out, "it would be refused: %s\n", ahead.Refusal)
	}
	return ahead.Refused() // so that a script learns it
}

func (p *program) listContents(ctx context.Context, loader engine.Loader, b catalog.Backup, database string) error {
	db, ok := b.Manifest.Database(database)
	if !ok {
		return failure.New(failure.Nothing, "backup %s has no database %q", b.ID, database)
	}
	if p.flags.json {
		return p.printJSON(db.Contents)
	}
	programs, err := loader.Programs(ctx, b.Manifest.Server.Major())
	if err != nil {
		return err
	}
	return loader.List(ctx, b, db, programs, quiet{p.out})
}

// bootstrap fills an empty server.
func (p *program) bootstrap(ctx context.Context) error {
	bar := newProgress(p.err, p.log)
	defer bar.done()
	repo, err := p.open()
	if err != nil {
		return err
	}
	r, err := p.restorer(repo, bar, true)
	if err != nil {
		return err
	}
	database := p.flags.restore.database
	if database == "" {
		database = r.Target.Database()
	}
	o := restore.BootstrapOptions{
		Schema: p.flags.bootstrap.schema, Database: database, Wait: p.flags.bootstrap.wait, DryRun: p.flags.dryRun,
		OfServer: p.flags.restore.ofServer,
	}
	if done, err := p.bringBack(ctx, r, repo, o, bar); done || err != nil {
		return err
	}
	out, err := r.Bootstrap(ctx, o)
	bar.done()
	if err != nil {
		return err
	}
	if p.flags.json {
		return p.printJSON(out)
	}
	would, took := "", " in "+roundSeconds(out.Seconds)
	if p.flags.dryRun {
		would, took = "would be: ", ""
	}
	switch out.Result {
	case restore.Restored:
		say(p.out, "%srestored from %s: databases %s, %d rows%s\n", would, out.Backup, strings.Join(out.Databases, ", "), out.Rows, took)
		for _, why := range out.Rejected {
			say(p.out, "unusable: %s\n", why)
		}
		if len(out.Kept) > 0 {
			say(p.out, "the empty databases of before are kept as %s\n", strings.Join(shownEach(out.Kept), ", "))
		}
		p.warnings(out.Warnings)
	case restore.Schema:
		say(p.out, "%sinitial schema in database %s\n", would, strings.Join(out.Databases, ", "))
	case restore.Fresh:
		say(p.out, "%snothing to restore: the repository is new\n", would)
	default:
		say(p.out, "the server has data (%s): nothing to do\n", out.Found)
	}
	return nil
}

// shownEach are names as SQL takes them.
func shownEach(names []string) []string {
	shown := make([]string, len(names))
	for i, n := range names {
		shown[i] = sqltext.Shown(n)
	}
	return shown
}

// warnings prints what did not come back, or would not.
func (p *program) warnings(all []string) {
	for _, w := range all {
		say(p.out, "warning: %s\n", w)
	}
}

// parseTable reads schema.table as SQL writes it; without a schema it is public.
func parseTable(s string) (schema, table string, err error) {
	var parts []string
	var b strings.Builder
	quoted, wasQuoted := false, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' && quoted && i+1 < len(s) && s[i+1] == '"':
			b.WriteByte('"')
			i++
		case c == '"':
			quoted, wasQuoted = !quoted, true
		case c == '.' && !quoted:
			parts, wasQuoted = append(parts, b.String()), false
			b.Reset()
		case !quoted && !wasQuoted && 'A' <= c && c <= 'Z': // as PostgreSQL folds a name: no byte of another letter is touched
			b.WriteByte(c + 'a' - 'A')
		default:
			b.WriteByte(c)
		}
	}
	parts = append(parts, b.String())
	if quoted || len(parts) > 2 || slices.Contains(parts, "") {
		return "", "", failure.New(failure.Config, "--table=%s is no table's name", s).
			WithHint(`Write schema.table, or "Schema"."Table" as in SQL.`)
	}
	if len(parts) == 1 {
		return "public", parts[0], nil
	}
	return parts[0], parts[1], nil
}
