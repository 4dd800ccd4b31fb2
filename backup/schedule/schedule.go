package schedule

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
)

// Daemon runs a task when it is due.
type Daemon struct {
	Plan Plan
	Repo *catalog.Repository
	// Run does the work once; its error is logged by itself. Asked says that somebody asked for it.
	Run func(ctx context.Context, asked bool) error
	// Asked, if not nil, has a run begin at once, beside the plan: what is due stays due. One that fails is not tried
	// again: who asked will see.
	Asked <-chan struct{}
	// Server is the system identifier of the server whose backups are made, "" while it is not known; nil is never known.
	Server func(context.Context) string
	// Retries is how often a failed run is tried again before the next due time, RetryDelay later.
	Retries    int
	RetryDelay time.Duration
	// Tick is called at least every few seconds, for other work of the daemon; may be nil.
	Tick func(ctx context.Context)
	Log  log.Logger
	Now  func() time.Time
	// Poll is how often the clock is looked at: a timer does not know that the clock was set. 0 means 1 s.
	Poll time.Duration

	lock    catalog.DaemonLock // of the repository, held; 0 for none
	release func()             // gives it back; nil without one
}

// Serve runs until the context ends. A due time that passed while nobody was there is served at
// once, one time however many were missed; so is a repository without a good backup.
func (d *Daemon) Serve(ctx context.Context) error {
	defer d.leave()
	next, why := d.first(ctx)
	left := d.Retries
	d.announce(ctx, next)
	if !next.After(d.Now()) {
		_ = level.Info(d.Log).Log("msg", "running at once", "why", why)
	} else {
		_ = level.Info(d.Log).Log("msg", "next run", "at", next.Format(time.RFC3339))
	}
	poll := d.Poll
	if poll == 0 {
		poll = time.Second
	}
	for {
		now := d.Now().Round(0)
		// The clock was set back: what is due by the new clock is due.
		if due := d.Plan.Next(now); due.Before(next) {
			next = due
		}
		if !now.Before(next) {
			ok := d.Run(ctx, false) == nil
			if stopped(ctx) {
				return nil
			}
			ended := d.Now().Round(0)
			next = d.Plan.Next(ended)
			if ok {
				left = d.Retries
			} else if retry := ended.Add(d.RetryDelay); left > 0 && retry.Before(next) {
				left--
				next = retry
				_ = level.Warn(d.Log).Log("msg", "the run failed and is tried again", "at", retry.Format(time.RFC3339), "tries_left", left)
			} else {
				left = d.Retries
			}
			d.served(ctx, ended, next)
			continue
		}
		if d.Tick != nil {
			d.Tick(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-d.Asked:
			if d.Run(ctx, true) == nil && left < d.Retries {
				// There is a backup: the failed run need not be tried again.
				left, next = d.Retries, d.Plan.Next(d.Now().Round(0))
				d.announce(ctx, next)
			}
		case <-time.After(min(poll, max(next.Sub(now), time.Millisecond))):
		}
	}
}

// stopped says whether the daemon shall end, which is no error.
func stopped(ctx context.Context) bool { return ctx.Err() != nil }

// first is when the first run is due, and why.
func (d *Daemon) first(ctx context.Context) (time.Time, string) {
	now := d.Now().Round(0)
	all, listErr := d.Repo.Brief()
	servers, _ := d.Repo.Servers(all) // where that can't be read, the manifests say it
	server := d.server(ctx)
	if state, err := d.Repo.State(); err == nil {
		if plan := state.ScheduleOf(server, servers); plan != nil && !plan.LastDue.IsZero() {
			last := plan.LastDue
			if due := d.Plan.Next(last); !due.After(now) && last.Before(now) {
				return now, "the run of " + due.Format(time.RFC3339) + " was missed"
			}
		}
	}
	mine := func(b catalog.Backup) bool {
		return b.Health.Good() && (!servers.Knows(server) || servers.KindOf(b.Manifest).Server == servers.Line(server))
	}
	if listErr == nil && !slices.ContainsFunc(all, mine) {
		return now, "the repository has no good backup of the server"
	}
	return d.Plan.Next(now), ""
}

// server is the system identifier of the server, "" while it is not known.
func (d *Daemon) server(ctx context.Context) string {
	if d.Server == nil {
		return ""
	}
	return d.Server(ctx)
}

// served notes that everything due until now was served, or given up.
func (d *Daemon) served(ctx context.Context, until, next time.Time) {
	d.update(ctx, func(s *catalog.Schedule) { s.LastDue, s.Next = until.UTC(), next.UTC() })
}

// announce tells readers of the catalogue what is planned.
func (d *Daemon) announce(ctx context.Context, next time.Time) {
	now := d.Now().Round(0)
	d.update(ctx, func(s *catalog.Schedule) {
		s.Next = next.UTC()
		if s.LastDue.IsZero() || s.LastDue.After(now) {
			s.LastDue = now.UTC()
		}
	})
}

// attend holds the lock for daemons of the server: readers see by it at once that this one is gone, however it ended. A disk that was
// mounted in the place of the one before gets its own.
func (d *Daemon) attend(server string) {
	if held, known := d.Repo.Attended(&catalog.Schedule{Server: server, Lock: d.lock}); held && known {
		return
	}
	d.leave()
	var err error
	if d.lock, d.release, err = d.Repo.Attend(server); err != nil {
		_ = level.Warn(d.Log).Log("msg", "that this daemon lives can't be noted in the repository: its end will be seen at the next run only",
			"err", err)
	}
}

// leave gives the lock back.
func (d *Daemon) leave() {
	if d.release != nil {
		d.release()
	}
	d.lock, d.release = catalog.DaemonLock{}, nil
}

func (d *Daemon) update(ctx context.Context, change func(*catalog.Schedule)) {
	server := d.server(ctx)
	err := d.Repo.UpdateState(context.WithoutCancel(ctx), func(s *catalog.State) {
		plan := catalog.Schedule{}
		if own, ok := s.Schedules[server]; ok {
			plan = own
		} else if s.Schedule != nil && (s.Schedule.Server == "" || server == "" && len(s.Schedules) == 1) {
			plan = *s.Schedule
		}
		plan.Server = cmp.Or(server, plan.Server)
		plan.Expression, plan.TimeZone = d.Plan.Expression, d.Plan.Location.String()
		plan.IntervalSeconds = d.Plan.Interval(d.Now()).Seconds()
		d.attend(plan.Server)
		plan.Lock = d.lock
		change(&plan)
		*s = s.WithSchedule(plan)
	})
	if err != nil {
		_ = level.Error(d.Log).Log("msg", "the schedule could not be noted in the repository", "err", err)
	}
}
