package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// options of one show.
type options struct {
	// exporter is the path of its program.
	exporter string
	// backup is the path of the backup job's program; without one there are no backups.
	backup string
	// duration until the show ends by itself; 0 means never.
	duration time.Duration
	// chaos restarts, crashes and freezes the server now and then.
	chaos bool
	// servers are how many there are: one, or three, of which one is a standby.
	servers int
}

// show runs everything until the time is over, ctx ends, or a part of it dies, which is the error.
func show(ctx context.Context, o options, c *console) (err error) {
	r, err := openRoom()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()

	c.print("Starting a PostgreSQL server ...")
	db, err := startDatabase(ctx, r, "server", "")
	if err != nil {
		return interrupted(ctx, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()

	fleet, err := startFleet(ctx, r, db, o.servers)
	if err != nil {
		return interrupted(ctx, err)
	}
	defer func() { err = errors.Join(err, fleet.close()) }()

	background, stop := context.WithCancel(ctx)
	load := startLoad(background, db.SocketDSN(appRole, appDatabase))
	defer func() { stop(); load.Wait() }()

	backups, err := startBackups(ctx, o.backup, r, db)
	if err != nil {
		return interrupted(ctx, err)
	}
	defer backups.stop()
	exporter, err := startExporter(ctx, o.exporter, r, db, backups, fleet)
	if err != nil {
		return interrupted(ctx, err)
	}
	defer exporter.stop()
	prometheus, err := startPrometheus(ctx, r, exporter.address, fleet)
	if err != nil {
		return interrupted(ctx, err)
	}
	defer prometheus.stop()
	grafana, err := startGrafana(ctx, r, prometheus)
	if err != nil {
		return interrupted(ctx, err)
	}
	defer grafana.stop()

	introduce(c, db, backups, exporter, prometheus, grafana, fleet, o.chaos)
	keeper := startKeeper(background, db, c, o.chaos)
	defer func() { stop(); keeper.Wait() }()

	var over <-chan time.Time
	if o.duration > 0 {
		over = time.After(o.duration)
	}
	w := newWatch(c, exporter, prometheus)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.look(ctx)
		case <-ctx.Done():
			w.summary()
			return nil
		case <-c.gone:
			return errors.New("nobody reads any more")
		case <-over:
			w.summary()
			return nil
		case <-exporter.exited:
			w.summary()
			return exporter.died()
		case <-prometheus.exited:
			w.summary()
			return prometheus.died()
		case <-grafana.exited:
			w.summary()
			return grafana.died()
		case <-backups.exited:
			w.summary()
			return backups.died()
		}
	}
}

// interrupted drops an error that only says that the user pressed Ctrl-C.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

func introduce(c *console, db *database, backups *backups, exporter *exporter, prometheus *prometheus, grafana *grafana, fleet *fleet,
	chaos bool,
) {
	url := "http://" + exporter.address
	c.print("\nPostgreSQL %d under a light load, the exporter, backups and Prometheus are running.\nCtrl-C ends them and leaves nothing "+
		"behind.\n",
		db.Install.Major)
	c.print("  Status      %s/", url)
	c.print("  Metrics     %s/metrics", url)
	c.print("  Health      %s/api/health/detailed", url)
	switch {
	case prometheus.missing != "":
		c.print("  Prometheus  is not on this machine: %s", prometheus.missing)
	default:
		c.print("  Prometheus  http://%s/targets", prometheus.address)
		c.print("              http://%s/graph?g0.expr=pg_up&g0.range_input=5m&g0.tab=0", prometheus.address)
		c.print("  Alerts      http://%s/alerts", prometheus.address)
	}
	grafana.introduce(c)
	backups.introduce(c)
	fleet.introduce(c, url)
	for _, moved := range []string{exporter.moved(), prometheus.moved(), grafana.moved(), backups.moved()} {
		if moved != "" {
			c.print("  %s", moved)
		}
	}
	postmaster := fmt.Sprintf("$(head -1 %s/postmaster.pid)", db.DataDir())
	c.print("\nTry in another terminal:")
	c.print("  bin/pg_reliability_monitor --exporter.url=%s --log.file=%s", url, db.LogFile())
	c.print("  curl -s %s/api/health/detailed", url)
	if prometheus.missing == "" {
		c.print("  curl -s %s/metrics | promtool check metrics", url)
	} else {
		c.print("  curl -s %s/metrics | grep ^pg_reliability", url)
	}
	if backups.missing == "" {
		c.print("  %s --repository=%s list", backups.program, backups.repository)
	}
	if chaos {
		c.print("\nThe server is restarted, crashed or frozen every %s (DEMO_CHAOS=1).\n", chaosInterval)
		return
	}
	c.print("Stop the database, which the demo starts again after %s: an outage and a restart", reviveAfter)
	c.print("  kill -INT %s", postmaster)
	c.print("Kill the newest session: the server throws out the others and recovers, a crash")
	c.print("  pkill -9 -n -P %s -f %s", postmaster, appRole)
	c.print("Freeze the postmaster: sessions go on, logins don't; and let it go on")
	c.print("  kill -STOP %s", postmaster)
	c.print("  kill -CONT %s\n", postmaster)
}
