package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/go-kit/log/level"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/job"
	"github.com/pg-reliability/pg_reliability_exporter/backup/metrics"
	"github.com/pg-reliability/pg_reliability_exporter/backup/retention"
	"github.com/pg-reliability/pg_reliability_exporter/backup/verify"
)

// run makes one backup.
func (p *program) run(ctx context.Context) (err error) {
	var collector *metrics.Collector
	if p.flags.backup.textfile != "" {
		dir, derr := p.directory()
		if derr != nil {
			return derr
		}
		collector = metrics.New(dir, time.Now)
		defer func() {
			if werr := metrics.WriteTextfile(p.flags.backup.textfile, collector); werr != nil && err == nil {
				err = werr
			}
		}()
	}
	bar := newProgress(p.err, p.log)
	defer bar.done()
	repo, err := p.open()
	if err != nil {
		if collector != nil {
			collector.Unrecorded(catalog.Failure{At: time.Now().UTC(), Reason: failure.Of(err), Message: err.Error()})
		}
		return err
	}
	j, err := p.job(repo, "run", bar)
	if err != nil {
		return err
	}
	res, err := j.Run(ctx)
	bar.done()
	if res.Unrecorded != nil && collector != nil {
		collector.Unrecorded(*res.Unrecorded)
	}
	if p.flags.json {
		if werr := p.printJSON(res); werr != nil && err == nil {
			err = werr
		}
	} else if res.Backup != nil {
		say(p.out, "%s\n", res.Backup.ID)
	}
	return err
}

// list prints the catalogue.
func (p *program) list(context.Context) error {
	repo, err := p.open()
	if err != nil {
		return err
	}
	all, err := repo.Brief()
	if err != nil {
		return err
	}
	if p.flags.json {
		if all == nil {
			all = []catalog.Backup{}
		}
		for i := range all { // the tables of every backup are for `show`
			for j := range all[i].Manifest.Databases {
				all[i].Manifest.Databases = append([]catalog.Database(nil), all[i].Manifest.Databases...)
				all[i].Manifest.Databases[j].Contents = catalog.Contents{}
			}
		}
		return p.printJSON(all)
	}
	servers, err := repo.Servers(all)
	if err != nil { // the manifests say it, too
		_ = level.Warn(p.log).Log("msg", "what the repository was told about its servers can't be read", "err", err)
	}
	if len(all) == 0 {
		say(p.out, "There are no backups yet. `%s run --verify` makes one and proves it.\n", appName)
		return p.printState(repo, all, servers)
	}
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	several := len(servers.Lines()) > 1
	server := ""
	if several {
		server = "SERVER\t"
	}
	fmt.Fprintln(w, "ID\tSTATE\tAGE\tSIZE\tROWS\tTOOK\tENGINE\t"+server+"DATABASES\tNOTE")
	for _, b := range all {
		m := b.Manifest
		var names []string
		for _, d := range m.Databases {
			names = append(names, d.Name)
		}
		rows := "-"
		if m.Counted() {
			rows = fmt.Sprint(m.Rows())
		}
		note := b.Problem
		if note == "" && b.Status.Verified != nil {
			note = fmt.Sprintf("restored in %s", roundSeconds(b.Status.Verified.RestoreSeconds))
		}
		if lacks := lackNote(m); lacks != "" {
			note = strings.TrimPrefix(note+"; "+lacks, "; ")
		}
		if several {
			server = cmp.Or(m.Server.SystemIdentifier, "-") + "\t"
		}
		say(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s%s\t%s\n", b.ID, b.Health, age(m.Finished), bytesText(m.Bytes), rows,
			roundSeconds(m.Duration().Seconds()), m.Engine, server, strings.Join(names, ","), note)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return p.printState(repo, all, servers)
}

// lackNote is the mark of a backup that lacks something; what was excluded on purpose is none.
func lackNote(m catalog.Manifest) string {
	var missing []string
	others := 0
	for _, o := range m.Omitted {
		switch {
		case o.Kind.Incomplete():
			missing = append(missing, catalog.Printable(o.Database))
		case o.Kind.Lacking():
			missing = append(missing, catalog.Printable("large objects of "+o.Database))
		case o.Kind != catalog.ExcludedDatabase:
			others++
		}
	}
	switch {
	case len(missing) > 0:
		return "INCOMPLETE: lacks " + strings.Join(missing, ",") + ", see show"
	case others > 0:
		return fmt.Sprintf("lacks %d, see show", others)
	}
	return ""
}

// printState prints what the list does not show: a run in progress, one that should be, a failure since the last success.
func (p *program) printState(repo *catalog.Repository, all []catalog.Backup, servers catalog.Servers) error {
	s, err := repo.State()
	if errors.Is(err, catalog.ErrDamagedJournal) {
		_ = level.Warn(p.log).Log("msg", "the journal is damaged; the next run keeps it aside and rebuilds it", "err", err)
	} else if err != nil {
		return err
	}
	busy, known := repo.Busy()
	if known && !busy {
		s = repo.Settled(s)
	}
	if s.Running != nil {
		say(p.out, "running: %s, since %s (pid %d on %s)\n", s.Running.ID, s.Running.Since.Format(time.RFC3339), s.Running.PID, s.Running.Host)
	}
	lines := servers.Awaited(all)
	for _, line := range slices.Sorted(maps.Keys(lines)) {
		plan := s.ScheduleOf(line, servers)
		of := ""
		if len(lines) > 1 {
			of = " of server " + line
			if len(lines[line]) == 0 {
				say(p.out, "none: server %s was let in, and no backup of it was ever made. HINT: Is its job set up? If nobody waits for it: "+
					"`%s accept --of-server=%s`.\n", line, appName, line)
			}
		}
		if alive, known := repo.Attended(plan); known && !alive {
			say(p.out, "gone: the daemon%s (schedule %q) has ended, and nobody will begin the run of %s. HINT: Start `%s schedule` again.\n",
				of, plan.Expression, plan.Next.Format(time.RFC3339), appName)
			continue
		}
		if s.Running != nil || plan == nil || plan.Next.IsZero() || time.Since(plan.Next) <= catalog.LateRun {
			continue
		}
		say(p.out, "late: the run of %s%s (schedule %q) has not begun, and nobody verifies meanwhile. HINT: Is `%s schedule` running?\n",
			plan.Next.Format(time.RFC3339), of, plan.Expression, appName)
	}
	if f := s.LastFailure; f != nil && !s.LastSuccess.After(f.At) { // else it is no news
		say(p.out, "last failure: %s, %s: %s\n", f.At.Format(time.RFC3339), f.Reason, f.Message)
	}
	return nil
}

// show prints one backup.
func (p *program) show(context.Context) error {
	repo, err := p.open()
	if err != nil {
		return err
	}
	b, err := p.choose(repo)
	if err != nil {
		return err
	}
	if p.flags.json {
		return p.printJSON(b)
	}
	m := b.Manifest
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	say(w, "id\t%s\nstate\t%s %s\n", b.ID, b.Health, b.Problem)
	say(w, "engine\t%s (%s %s)\nserver\tPostgreSQL %s, system identifier %s\n", m.Engine, m.Client.Program, m.Client.Version, m.Server.Version,
		m.Server.SystemIdentifier)
	say(w, "recovery point\t%s\ntook\t%s\nsize\t%s\n", m.RecoveryPoint.Format(time.RFC3339), roundSeconds(m.Duration().Seconds()),
		bytesText(m.Bytes))
	if v := b.Status.Checked; v != nil {
		say(w, "last check\tlevel %d, %s, %s %s\n", v.Level, v.Result, v.At.Format(time.RFC3339), v.Message)
	}
	if v := b.Status.Verified; v != nil {
		say(w, "verified\t%s: %d rows compared, restored in %s\n", v.At.Format(time.RFC3339), v.Rows, roundSeconds(v.RestoreSeconds))
	}
	if o := b.Status.Offsite; o != nil {
		say(w, "off-site\t%s, complete: %t %s\n", o.Target, o.Completed != nil, o.Error)
	}
	if g := m.Globals; g != nil {
		say(w, "globals\t%d roles (passwords: %t), %d tablespaces\n", g.Roles, g.Passwords, g.Tablespaces)
	}
	for _, o := range m.Omitted {
		say(w, "not in it\t%s\n", o)
		if o.Remedy != "" {
			say(w, "\t%s\n", o.Remedy)
		}
	}
	if x := m.External; x != nil {
		say(w, "pgBackRest\t%s, stanza %s, repository %s\nWAL needed\t%s to %s\n", x.Label, x.Stanza, x.Repository, x.WALStart, x.WALStop)
		return w.Flush()
	}
	for _, d := range m.Databases {
		say(w, "\ndatabase %s\towner %s, %s, %d rows in %s\n", d.Name, d.Owner, bytesText(d.Bytes), d.Contents.Rows(),
			counted(len(d.Contents.Tables), "table"))
		for _, t := range d.Contents.Tables {
			rows := fmt.Sprint(t.Rows)
			if t.Uncounted {
				rows = "not counted"
			}
			say(w, "  %s.%s\t%s\n", t.Schema, t.Name, rows)
		}
		for _, e := range d.Contents.Extensions {
			say(w, "  extension %s\t%s\n", e.Name, e.Version)
		}
	}
	return w.Flush()
}

// verify checks one backup, or all.
func (p *program) verify(ctx context.Context) error {
	if l := p.flags.verify.level; l < 1 || l > 3 {
		return failure.New(failure.Config, "--level=%d: it is 1, 2 or 3", l).
			WithHint("1 compares checksums, 2 reads everything, 3 restores into a throwaway server and compares")
	}
	repo, err := p.open()
	if err != nil {
		return err
	}
	var which []catalog.Backup
	if p.flags.verify.all {
		if which, err = repo.Brief(); err == nil && len(which) == 0 {
			err = failure.New(failure.Nothing, "the repository has no backups")
		}
	} else {
		which, err = p.chooseEach(repo)
	}
	if err != nil {
		return err
	}
	type checked struct {
		ID string `json:"id"`
		catalog.Verification
	}
	results := []checked{}
	var failed error
	for _, b := range which {
		bar := newProgress(p.err, p.log)
		v, err := p.verifyOne(ctx, repo, b.ID, bar)
		bar.done()
		results = append(results, checked{b.ID, v})
		if err != nil && (failed == nil || failure.Of(err) == failure.Verify) {
			failed = err
		}
		if !p.flags.json {
			rows := "rows not counted"
			if v.Level == verify.Rehearsal && v.Result == catalog.Passed {
				rows = fmt.Sprintf("%d rows", v.Rows)
			}
			say(p.out, "%s  level %d  %s  %s  %s  %s\n", b.ID, v.Level, v.Result, rows, roundSeconds(v.Seconds), v.Message)
		}
		if ctx.Err() != nil {
			break
		}
	}
	if p.flags.json {
		if err := p.printJSON(results); err != nil {
			return err
		}
	}
	return failed
}

func (p *program) verifyOne(ctx context.Context, repo *catalog.Repository, id string, bar *progress) (catalog.Verification, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.flags.verify.timeout,
		failure.New(failure.Timeout, "the verification took longer than %s", p.flags.verify.timeout))
	defer cancel()
	return p.verifier(repo, bar).Verify(ctx, id, p.flags.verify.level)
}

// prune deletes what retention does not keep.
func (p *program) prune(ctx context.Context) error {
	repo, err := p.open()
	if err != nil {
		return err
	}
	policy, err := p.policy()
	if err != nil {
		return err
	}
	if !p.flags.dryRun {
		release, err := repo.Lock()
		if err != nil {
			return err
		}
		defer release()
		if _, err := repo.Sweep(ctx); err != nil {
			return err
		}
	}
	pruner := &job.Pruner{Repo: repo, Engines: p.engines(repo), Policy: policy, Log: p.log}
	decisions, err := pruner.Decide()
	if err != nil {
		return err
	}
	if !p.flags.dryRun {
		if pruner.Copier, err = p.copier(repo, nil); err != nil {
			return err
		}
		if _, err := pruner.Prune(ctx, decisions); err != nil {
			return err
		}
	}
	if p.flags.json {
		if decisions == nil {
			decisions = []retention.Decision{}
		}
		return p.printJSON(decisions)
	}
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	for _, d := range decisions {
		verb := "keep"
		if !d.Keep {
			verb = "delete"
		}
		say(w, "%s\t%s\t%s\t%s\n", verb, d.ID, of(d.Backup.Manifest), strings.Join(d.Reasons, "; "))
	}
	return w.Flush()
}

// of names what backups are counted among: their engine, their choice of databases, their server.
func of(m catalog.Manifest) string {
	if m.Engine == "" {
		return "unknown"
	}
	set := "databases " + m.Set
	if m.Set == "all" {
		set = "all databases"
	}
	return fmt.Sprintf("%s of %s, server %s", m.Engine, set, cmp.Or(m.Server.SystemIdentifier, "unknown"))
}

func (p *program) printJSON(v any) error {
	e := json.NewEncoder(p.out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func roundSeconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	if d < 10*time.Second {
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

func age(t time.Time) string {
	d := time.Since(t).Round(time.Second)
	if d > 48*time.Hour {
		return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
	}
	return d.String()
}

func bytesText(n int64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	f, i := float64(n), 0
	for f >= 1000 && i < len(units)-1 {
		f, i = f/1000, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}
