package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/metrics"
	"github.com/pg-reliability/pg_reliability_exporter/backup/schedule"
)

// healthcheck judges the catalogue from outside the daemon.
func (p *program) healthcheck(context.Context) error {
	dir, err := p.directory()
	if err != nil {
		return err
	}
	text, err := p.health(metrics.New(dir, time.Now).Read(healthPatience), time.Now())
	if err == nil {
		say(p.out, "%s\n", text)
	}
	return err
}

// healthPatience is how long healthcheck waits for a repository; a scheduler's own limit is often 30 s.
const healthPatience = 20 * time.Second

// health is nil and a sentence when the newest good backup of each server, and the last verification where that is
// asked for, are fresh; else an error of reason failure.Stale, or the repository's.
func (p *program) health(r metrics.Reading, now time.Time) (string, error) {
	if r.Err != nil {
		return "", r.Err
	}
	if named := p.flags.restore.ofServer; named != "" {
		all, err := r.Servers.Of(r.All, named, true)
		if err != nil {
			return "", err
		}
		return p.healthOf(all, r.State.ScheduleOf(named, r.Servers), "", now)
	}
	lines := r.Servers.Awaited(r.All)
	var texts []string
	for _, line := range slices.Sorted(maps.Keys(lines)) {
		of := ""
		if len(lines) > 1 {
			of = " of server " + line
		}
		text, err := p.healthOf(lines[line], r.State.ScheduleOf(line, r.Servers), of, now)
		if err != nil && of != "" {
			err = failure.New(failure.Of(err), "%w", err).WithHint("If that server is no more and nobody waits for its backups: "+
				"`%s accept --of-server=%s`.", appName, line)
		}
		if err != nil {
			return "", err
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, "\n"), nil
}

// healthOf is health of one server's backups; " of server ..." is how the words name it.
func (p *program) healthOf(all []catalog.Backup, plan *catalog.Schedule, of string, now time.Time) (string, error) {
	good, err := catalog.Choose(all, catalog.Wanted{Name: catalog.Latest})
	if err != nil {
		return "", failure.New(failure.Stale, "no good backup%s yet", of)
	}
	limit := p.flags.health.maxAge
	if limit == 0 {
		var ok bool
		if limit, ok = schedule.Limit(plan, &good, now); !ok {
			limit = schedule.Unplanned
		}
	}
	old := now.Sub(good.Manifest.Finished)
	switch {
	case old < -time.Minute:
		return "", failure.New(failure.Stale, "backup %s is of the future: the clock was set back, its age is unknown", good.ID)
	case old > limit:
		return "", failure.New(failure.Stale, "the newest good backup%s, %s, is %s old; at most %s is healthy", of, good.ID,
			old.Round(time.Second), limit.Round(time.Second))
	}
	if most := p.flags.health.maxVerifiedAge; most > 0 {
		v, err := catalog.Choose(all, catalog.Wanted{Name: catalog.LatestVerified})
		if err != nil || now.Sub(v.VerifiedAt()) > most {
			return "", failure.New(failure.Stale, "no backup%s was verified within %s", of, most)
		}
	}
	return fmt.Sprintf("ok: backup %s%s is %s old, and may be up to %s old at this moment", good.ID, of, old.Round(time.Second),
		limit.Round(time.Second)), nil
}
