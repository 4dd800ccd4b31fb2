package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	toolkit "github.com/prometheus/exporter-toolkit/web"
	"golang.org/x/sync/errgroup"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/job"
	"github.com/pg-reliability/pg_reliability_exporter/backup/metrics"
	"github.com/pg-reliability/pg_reliability_exporter/backup/schedule"
	"github.com/pg-reliability/pg_reliability_exporter/backup/verify"
	"github.com/pg-reliability/pg_reliability_exporter/internal/httpserver"
)

const (
	// stopPatience is how long a run may take to end in order once the daemon is told to stop. Only a call into a repository that
	// hangs takes longer.
	stopPatience = 45 * time.Second
	// bySchedule is the trigger of a backup that was due.
	bySchedule = "schedule"
)

// schedule runs backups on time and serves HTTP until the context ends.
func (p *program) schedule(ctx context.Context) error {
	zone, err := p.flags.zone()
	if err != nil {
		return err
	}
	plan, err := schedule.Parse(p.flags.schedule.expression, zone)
	if err != nil {
		return err
	}
	var rehearsals *schedule.Plan
	if e := p.flags.schedule.verifyExpression; e != "" {
		r, err := schedule.Parse(e, zone)
		if err != nil {
			return err
		}
		rehearsals = &r
		p.flags.verify.after = false
	}
	if file := *p.flags.schedule.web.WebConfigFile; file != "" {
		if err := toolkit.Validate(file); err != nil {
			return failure.New(failure.Config, "--web.config.file=%s: %w", file, err).
				WithHint("Its form is described at https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md")
		}
	}
	repo, err := p.open()
	if err != nil {
		return err
	}
	collector := metrics.New(repo.Dir(), time.Now)
	bar := newProgress(p.err, p.log)
	j, err := p.job(repo, bySchedule, bar)
	if err != nil {
		return err
	}
	defer p.outliveHangUps(ctx)()
	_ = level.Info(p.log).Log("msg", "starting", "server", j.Request.Target, "repository", repo.Dir(), "cron", plan.Expression, "time_zone",
		zone)
	s := &daemon{program: p, repo: repo, job: j, collector: collector, progress: bar, rehearsals: rehearsals}
	if rehearsals != nil {
		s.nextRehearsal = rehearsals.Next(time.Now())
	}
	var asked <-chan struct{}
	if file := p.flags.schedule.tokenFile; file != "" {
		if s.onDemand, err = newOnDemand(file, p.log); err != nil {
			return err
		}
		asked, bar.also = s.onDemand.asked, s.onDemand.progress
	}
	d := &schedule.Daemon{
		Plan: plan, Repo: repo, Run: s.run, Asked: asked, Server: j.Server, Tick: s.tick, Retries: p.flags.schedule.retries,
		RetryDelay: p.flags.schedule.retryDelay,
		Log:        p.log, Now: time.Now,
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.Serve(ctx) })
	group.Go(func() error { return s.serve(ctx) })
	ended := make(chan error, 1)
	go func() { ended <- group.Wait() }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		select {
		case err = <-ended:
		case <-time.After(stopPatience):
			err = failure.New(failure.Repository, "the repository hangs: stopped without waiting for it any longer")
		}
	}
	_ = level.Info(p.log).Log("msg", "stopped")
	return err
}

// outliveHangUps makes SIGHUP, which ends the other commands with their terminal, a line in the log, until its result is called: to a
// daemon, the signal means to read its settings again, and these are flags.
func (p *program) outliveHangUps(ctx context.Context) (end func()) {
	signals := make(chan os.Signal, 1)
	signal.Ignore(syscall.SIGHUP) // it would end the context
	signal.Notify(signals, syscall.SIGHUP)
	ctx, stop := context.WithCancel(ctx)
	go func() {
		for {
			select {
			case <-signals:
				_ = level.Warn(p.log).Log("msg", "SIGHUP changes nothing: the settings are flags and variables, which only a restart reads again")
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		stop()
	}
}

// daemon is what the schedule drives.
type daemon struct {
	*program
	repo          *catalog.Repository
	job           *job.Job
	collector     *metrics.Collector
	progress      *progress
	rehearsals    *schedule.Plan
	nextRehearsal time.Time
	archive       archive
	onDemand      *onDemand // nil unless asked for
}

// run makes one backup. A failure that the repository could not take is kept until it can.
func (d *daemon) run(ctx context.Context, asked bool) error {
	d.flush(ctx)
	d.job.Trigger = bySchedule
	if asked {
		d.job.Trigger = byRequest
	}
	if d.onDemand != nil {
		d.onDemand.begin(d.job.Trigger)
	}
	res, err := d.job.Run(ctx)
	d.progress.done()
	if d.onDemand != nil {
		d.onDemand.end(res, err)
	}
	if err != nil {
		_ = d.wrong(ctx).Log("msg", "run failed", "reason", failure.Of(err), "err", err)
	}
	if res.Unrecorded != nil {
		d.collector.Unrecorded(*res.Unrecorded)
	}
	d.flush(ctx)
	d.textfile()
	if res.Backup != nil {
		return nil // what failed afterwards is no reason to back up again
	}
	return err
}

// wrong logs an error; what ends because the daemon was told to end is none.
func (d *daemon) wrong(ctx context.Context) log.Logger {
	if ctx.Err() != nil {
		return level.Info(d.log)
	}
	return level.Error(d.log)
}

func (d *daemon) textfile() {
	path := d.flags.backup.textfile
	if path == "" {
		return
	}
	if err := metrics.WriteTextfile(path, d.collector); err != nil {
		_ = level.Error(d.log).Log("msg", "the textfile could not be written", "err", err)
	}
}

// flush enters failures in the repository that it could not take when they happened.
func (d *daemon) flush(ctx context.Context) {
	pending := d.collector.Pending()
	if len(pending) == 0 || d.repo.Present() != nil {
		return
	}
	err := d.repo.UpdateState(context.WithoutCancel(ctx), func(s *catalog.State) {
		for _, f := range pending {
			*s = s.TurnedAway(f)
		}
	})
	if err == nil {
		d.collector.Recorded(len(pending))
	}
}

// tick does the daemon's other work: the recovery point, and verification on a schedule of its own.
func (d *daemon) tick(ctx context.Context) {
	d.look(ctx)
	if d.rehearsals == nil || !d.rehearsalIsDue(time.Now()) {
		return
	}
	all, err := d.repo.Brief()
	if err != nil {
		_ = level.Error(d.log).Log("msg", "verification did not begin", "err", err)
		return
	}
	servers, err := d.repo.Servers(all)
	if err != nil { // the manifests say it, too
		_ = level.Warn(d.log).Log("msg", "what the repository was told about its servers can't be read", "err", err)
	}
	for _, list := range servers.Awaited(all) {
		d.rehearse(ctx, list)
	}
}

// rehearse verifies the newest good backup of a server, once.
func (d *daemon) rehearse(ctx context.Context, list []catalog.Backup) {
	for _, b := range list {
		if b.Health == catalog.Verified {
			return // the newest good one is verified
		}
		if b.Health != catalog.Unverified {
			continue
		}
		v, err := d.job.Verifier.Verify(ctx, b.ID, verify.Rehearsal)
		d.progress.done()
		if err != nil {
			_ = d.wrong(ctx).Log("msg", "verification did not pass", "id", b.ID, "result", v.Result, "err", err)
		} else {
			_ = level.Info(d.log).Log("msg", "backup verified", "id", b.ID, "rows", v.Rows, "restore_seconds", v.RestoreSeconds)
		}
		d.textfile()
		return
	}
}

// rehearsalIsDue says so once for each time of the plan. Where the clock was set back, the next time is the plan's by the new clock.
func (d *daemon) rehearsalIsDue(now time.Time) bool {
	next := d.rehearsals.Next(now)
	due := !now.Before(d.nextRehearsal)
	if due || next.Before(d.nextRehearsal) {
		d.nextRehearsal = next
	}
	return due
}

// serve serves /metrics, the health endpoints and /-/backup.
func (d *daemon) serve(ctx context.Context) error {
	registry := prometheus.NewRegistry()
	registry.MustRegister(d.collector.Metrics(), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		versioncollector.NewCollector(appName))
	landing, err := toolkit.NewLandingPage(toolkit.LandingConfig{
		Name: appName, Description: "Backups of a PostgreSQL server, proven by restoring them", Version: d.job.Tool,
		Links: []toolkit.LandingLinks{{Address: "/metrics", Text: "Metrics"}, {Address: "/-/healthy", Text: "Is the newest good backup fresh?"}},
	})
	if err != nil {
		return fmt.Errorf("make the landing page: %w", err)
	}
	mux := http.NewServeMux()
	// Each within its own bound: scrapes that wait keep no health check out.
	within := func(h http.Handler) http.Handler { return httpserver.NewLimit(d.flags.schedule.maxRequests).Wrap(h) }
	mux.Handle("/metrics", within(promhttp.HandlerFor(registry, promhttp.HandlerOpts{})))
	mux.Handle("/-/healthy", within(http.HandlerFunc(d.healthy)))
	mux.HandleFunc("/-/ready", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.Handle("/{$}", landing)
	if d.onDemand != nil {
		mux.Handle("/-/backup", d.onDemand.handler())
	} else {
		mux.HandleFunc("/-/backup", func(w http.ResponseWriter, _ *http.Request) {
			respond(w, http.StatusForbidden, onDemandAnswer{Error: "Backups on request are off. Switch them on with --web.backup-token-file."})
		})
	}
	web := d.flags.schedule.web
	server, err := httpserver.New(httpserver.Options{
		Handler: mux, Logger: d.log, Addresses: *web.WebListenAddresses, SystemdSocket: *web.WebSystemdSocket, ConfigFile: *web.WebConfigFile,
		Program: "backup job",
	})
	if err == nil {
		err = server.Run(ctx)
	}
	if err != nil {
		return failure.New(failure.Config, "%w", err)
	}
	return nil
}

// healthy speaks of the backups' freshness, not of this process.
func (d *daemon) healthy(w http.ResponseWriter, _ *http.Request) {
	text, err := d.health(d.collector.Read(metrics.Patience), time.Now())
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, text)
}
