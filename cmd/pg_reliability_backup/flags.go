package main

import (
	"math"
	"strconv"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/alecthomas/units"
	"github.com/prometheus/common/version"
	toolkit "github.com/prometheus/exporter-toolkit/web"
	"github.com/prometheus/exporter-toolkit/web/kingpinflag"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/internal/httpserver"
	"github.com/pg-reliability/pg_reliability_exporter/internal/manual"
)

const (
	defaultAddress  = ":9188"
	defaultSchedule = "0 2 * * *"
)

// flags are what the command line says, for all commands.
type flags struct {
	repository          string
	logLevel, logFormat string
	json, dryRun        bool
	clientDirs          []string

	backup    backupFlags
	retention retentionFlags
	verify    verifyFlags
	schedule  scheduleFlags
	restore   restoreFlags
	bootstrap bootstrapFlags
	health    healthFlags
	setup     setupFlags

	pgbackrest pgbackrestFlags
	cluster    clusterFlags
	offsite    offsiteFlags

	// addServer and takeOver are of init.
	addServer bool
	unmissed  []string
	takeOver  string

	// which names a backup: an id, latest, latest-verified, or a time.
	which string
}

type backupFlags struct {
	engine        string
	databases     []string
	except        []string
	jobs          int
	compress      int
	parallelAbove units.Base2Bytes
	lockWait      time.Duration
	timeout       time.Duration
	suspectBelow  float64
	minFree       units.Base2Bytes
	spaceCheck    bool
	prune         bool
	textfile      string
	initialise    bool
}

type retentionFlags struct {
	keep, daily, weekly, monthly int
}

type verifyFlags struct {
	after    bool
	level    int
	timeout  time.Duration
	scratch  string
	limit    float64
	user     string
	settings map[string]string
	all      bool
}

type scheduleFlags struct {
	expression, zone, verifyExpression string
	retries                            int
	retryDelay                         time.Duration
	tokenFile                          string
	maxRequests                        int
	web                                *toolkit.FlagConfig
}

type restoreFlags struct {
	database, as, keepAs, to, table string
	at, ofServer                    string
	dropOld, list, owner, yes       bool
	drain                           time.Duration
}

type bootstrapFlags struct {
	schema []string
	wait   time.Duration
}

type healthFlags struct {
	maxAge, maxVerifiedAge time.Duration
}

// newApp declares the commands and flags. Each flag is also an environment variable:
// PG_RELIABILITY_BACKUP_ and the flag's name in capitals, with _ for . and -.
func newApp() (*kingpin.Application, *flags) {
	app := kingpin.New(appName, "Backs up a PostgreSQL server, proves each backup by restoring it, and brings it back.\n\n"+
		"The server is named by DATA_SOURCE_NAME (postgres://user@host:5432/database), by DATA_SOURCE_URI, DATA_SOURCE_USER and "+
		"DATA_SOURCE_PASS, or by the PG* variables; each of them, and PGPASSWORD, also as NAME_FILE with the value in a file.\n\n"+
		"Every flag is also an environment variable: --keep-daily is PG_RELIABILITY_BACKUP_KEEP_DAILY."+
		" A value behind = is the default; a word in capitals says what to write. Times have a unit, such as 5s, 2m or 1h.\n\n"+exitHelp())
	app.Version(version.Print(appName)).DefaultEnvars().HelpFlag.Short('h').NoEnvar()
	app.VersionFlag.NoEnvar()
	manual.Apply(app, manualPage())
	f := &flags{}
	f.verify.settings = map[string]string{}
	app.Flag("repository", "Directory of the repository that holds the backups.").Short('r').PlaceHolder("DIR").StringVar(&f.repository)
	app.Flag("client-dir", "Look for pg_dump and its like in this directory, instead of the usual ones and PATH. May be given several times.").
		PlaceHolder("DIR").StringsVar(&f.clientDirs)
	app.Flag("log.level", "How much this program logs: debug, info, warn or error.").Default("info").
		EnumVar(&f.logLevel, "debug", "info", "warn", "error")
	app.Flag("log.format", "How it does: logfmt or json.").Default("logfmt").EnumVar(&f.logFormat, "logfmt", "json")

	f.addSetup(app)

	i := app.Command("init", "Make a new, empty repository, or let another server use one that exists. One that exists is not changed "+
		"otherwise.")
	i.Flag("add-server", "Let the server that the environment names keep its backups here, beside those of another. Retention counts each "+
		"server's own.").
		BoolVar(&f.addServer)
	i.Flag("take-over", "Say that the server has taken the place of the one with this system identifier (pg_upgrade, a new machine): "+
		"retention "+
		"counts the backups of both together.").PlaceHolder("IDENTIFIER").StringVar(&f.takeOver)

	run := app.Command("run", "Make one backup now.")
	f.addBackup(run)
	f.addPgBackRestBackup(run)
	f.addOffsiteCopy(run)
	f.addRetention(run)
	f.addScratch(run)
	f.addJSON(run)
	run.Flag("verify", "Restore the new backup into a throwaway server and compare it.").BoolVar(&f.verify.after)
	run.Flag("textfile", "Write metrics to this file for node_exporter's textfile collector (*.prom).").StringVar(&f.backup.textfile)

	s := app.Command("schedule", "Make backups on time, until stopped; serves /metrics and /-/healthy.")
	f.addBackup(s)
	f.addPgBackRestBackup(s)
	f.addOffsiteCopy(s)
	f.addRetention(s)
	f.addScratch(s)
	s.Flag("cron", "When to make backups: five cron fields, six with seconds first, @daily, or @every 6h.").Default(defaultSchedule).
		StringVar(&f.schedule.expression)
	s.Flag("verify", "Restore each new backup into a throwaway server and compare it.").Default("true").BoolVar(&f.verify.after)
	s.Flag("verify-schedule", "Verify the newest unverified backup at these times (cron), instead of each new one.").
		StringVar(&f.schedule.verifyExpression)
	s.Flag("retries", "How often a failed run is tried again before the next one is due.").Default("3").IntVar(&f.schedule.retries)
	s.Flag("retry-delay", "Time before it is tried again.").Default("5m").DurationVar(&f.schedule.retryDelay)
	s.Flag("textfile", "Also write metrics to this file after each run.").StringVar(&f.backup.textfile)
	f.addHealth(s)
	s.Flag("web.backup-token-file", "Take POST /-/backup (a backup now) from who sends this file's content as a bearer token; off without. "+
		"Use TLS or a trusted network.").StringVar(&f.schedule.tokenFile)
	s.Flag("web.max-requests", "How many requests for /metrics, and for /-/healthy, are answered at once; 0 is no bound.").
		Default(strconv.Itoa(httpserver.DefaultMaxRequests)).IntVar(&f.schedule.maxRequests)
	f.schedule.web = kingpinflag.AddFlags(s, defaultAddress)

	list := app.Command("list", "List the backups.")
	f.addJSON(list)

	show := app.Command("show", "Show one backup: its manifest, tables and state.")
	f.addWhich(show)
	f.addJSON(show)
	show.Flag("of-server", "System identifier of the server whose backups are meant, where the repository has those of several "+
		"(default: the newest of all).").StringVar(&f.restore.ofServer)

	v := app.Command("verify", "Check a backup.")
	f.addWhich(v)
	f.addJSON(v)
	f.addScratch(v)
	f.addPgBackRest(v)
	v.Flag("level", "1: checksums; 2: full read; 3: restore into a throwaway server and compare.").Default("3").IntVar(&f.verify.level)
	v.Flag("all", "Check every backup.").BoolVar(&f.verify.all)
	v.Flag("of-server", "System identifier of the server whose backups are meant, where the repository has those of several "+
		"(default: one of each).").StringVar(&f.restore.ofServer)
	v.Flag("jobs", "Tables restored at once.").Default("2").IntVar(&f.backup.jobs)

	accept := app.Command("accept", "Mark a suspect backup as good, so that retention continues.")
	f.addWhich(accept)
	accept.Flag("database", "Say that this database is gone for good instead: no backup is kept for its sake. Repeatable.").Short('d').
		StringsVar(&f.backup.databases)
	accept.Flag("extension-data", "Say that nobody misses what an extension keeps in this table or sequence (schema.name) of --database: "+
		"from the next backup on it alerts nobody. Repeatable.").StringsVar(&f.unmissed)
	accept.Flag("of-server", "System identifier of the server whose --database is meant, where the backups of several hold one of that name "+
		"(default: the only one of them whose newest backup is without it). Without --database: say that this server is gone for good, and "+
		"that nobody waits for further backups of it.").StringVar(&f.restore.ofServer)

	r := app.Command("restore", "Restore a database beside the old one, check it, and swap the two.")
	f.addWhich(r)
	f.addJSON(r)
	f.addDryRun(r)
	f.addPgBackRest(r)
	f.addCluster(r)
	r.Flag("at", "Restore the newest backup whose state is not later than this time (RFC 3339); with --data-dir, that very moment.").
		StringVar(&f.restore.at)
	r.Flag("database", "Database to restore; needed when the backup has several.").Short('d').StringVar(&f.restore.database)
	r.Flag("yes", "Replace a database that --database does not name without asking.").Short('y').BoolVar(&f.restore.yes)
	r.Flag("as", "Name it gets (default: its own).").StringVar(&f.restore.as)
	r.Flag("to", "Another server to restore into, as a connection string; better as PG_RELIABILITY_BACKUP_TO.").StringVar(&f.restore.to)
	r.Flag("table", "Restore one table's rows (schema.name) as a new table beside the live one.").StringVar(&f.restore.table)
	r.Flag("list", "List what the backup of the database holds, and restore nothing.").BoolVar(&f.restore.list)
	r.Flag("of-server", "System identifier of the server whose backups are meant, where the repository has those of several "+
		"(default: the server's own).").StringVar(&f.restore.ofServer)
	r.Flag("keep-as", "Name the old database gets (default: NAME_before_TIME).").StringVar(&f.restore.keepAs)
	r.Flag("drop-old", "Drop the old database after the swap.").BoolVar(&f.restore.dropOld)
	r.Flag("drain", "Wait this long for open transactions of the old database before the swap ends them, at most 4s.").Default("2s").
		DurationVar(&f.restore.drain)
	r.Flag("owner", "Restore roles, owners and privileges; without, everything belongs to the role that restores.").Default("true").
		BoolVar(&f.restore.owner)
	r.Flag("jobs", "Tables restored at once.").Default("2").IntVar(&f.backup.jobs)

	b := app.Command("bootstrap", "Fill an empty server from the newest verified backup, or with an initial schema; with data in it, do "+
		"nothing.")
	f.addJSON(b)
	f.addDryRun(b)
	f.addOffsiteFetch(b)
	b.Flag("schema", "SQL file for a server that never had a backup. Repeatable, in order.").StringsVar(&f.bootstrap.schema)
	b.Flag("database", "Database the schema makes (default: the connection string's).").Short('d').StringVar(&f.restore.database)
	b.Flag("of-server", "System identifier of the server whose backups are meant, where the repository has those of several "+
		"(default: the server's own).").StringVar(&f.restore.ofServer)
	b.Flag("wait", "How long to wait for the server.").Default("1m").DurationVar(&f.bootstrap.wait)
	b.Flag("init", "Make the repository if its directory is empty. Only where the directory can't be an unmounted disk.").
		BoolVar(&f.backup.initialise)
	b.Flag("jobs", "Tables restored at once.").Default("2").IntVar(&f.backup.jobs)

	p := app.Command("prune", "Delete the backups that retention does not keep.")
	f.addRetention(p)
	f.addPgBackRest(p)
	f.addOffsite(p)
	f.addOffsiteKeep(p)
	f.addJSON(p)
	f.addDryRun(p)

	x := app.Command("refresh", "Update the catalogue with backups that pgBackRest made or expired on its own, and with how far archived "+
		"WAL reaches.")
	f.addPgBackRest(x)
	f.addJSON(x)

	f.addOffsiteCommands(app)

	h := app.Command("healthcheck", "Exit with 0 if the newest good backup of each server is fresh, 1 if not.")
	f.addHealth(h)
	h.Flag("of-server", "System identifier of the server whose backups are meant (default: each server's must be fresh).").
		StringVar(&f.restore.ofServer)
	explain(app)
	return app, f
}

func (f *flags) addJSON(c *kingpin.CmdClause) {
	c.Flag("json", "Print JSON.").BoolVar(&f.json)
}

func (f *flags) addDryRun(c *kingpin.CmdClause) {
	c.Flag("dry-run", "Say what would be done, and do nothing.").BoolVar(&f.dryRun)
}

func (f *flags) addWhich(c *kingpin.CmdClause) {
	c.Arg("backup", "An id, latest, latest-verified, or a time (RFC 3339).").Default("latest").StringVar(&f.which)
}

func (f *flags) addBackup(c *kingpin.CmdClause) {
	b := &f.backup
	c.Flag("engine", "pg_dump, or pgbackrest for large databases and point-in-time recovery.").Default("pg_dump").
		EnumVar(&b.engine, engineNames()...)
	c.Flag("database", "Back up this database only. Repeatable (default: all).").Short('d').StringsVar(&b.databases)
	c.Flag("exclude-database", "Do not back up databases of this name; * stands for any characters, ? for one. Repeatable.").
		StringsVar(&b.except)
	c.Flag("jobs", "Tables dumped and restored at once, where the format allows.").Default("2").IntVar(&b.jobs)
	c.Flag("parallel-above", "Database size from which it is dumped by --jobs at once (directory format).").Default("5GB").
		BytesVar(&b.parallelAbove)
	c.Flag("compress", "Level of gzip, 0 to 9. pg_dump's own default is 6; 3 takes much less time for a little more space.").Default("3").
		IntVar(&b.compress)
	c.Flag("lock-wait-timeout", "How long to wait for a table's lock.").Default("1m").DurationVar(&b.lockWait)
	c.Flag("timeout", "Give up a backup after this time, verification aside.").Default("12h").DurationVar(&b.timeout)
	c.Flag("suspect-below", "A backup with less than this share of the previous one's rows or size is suspect; 0 turns it off.").
		Default("0.5").Float64Var(&b.suspectBelow)
	c.Flag("min-free", "Space that must stay free on the repository's disk.").Default("0B").BytesVar(&b.minFree)
	c.Flag("space-check", "Refuse to begin when the repository's disk has too little free space.").Default("true").BoolVar(&b.spaceCheck)
	c.Flag("prune", "Delete the old backups that retention does not keep, after a success.").Default("true").BoolVar(&b.prune)
	c.Flag("init", "Make the repository if its directory is empty. Only where the directory can't be an unmounted disk.").
		BoolVar(&b.initialise)
}

func (f *flags) addRetention(c *kingpin.CmdClause) {
	r := &f.retention
	c.Flag("keep", "Keep this many newest good backups.").Default("7").IntVar(&r.keep)
	c.Flag("keep-daily", "Also keep the newest backup of each of this many days.").Default("0").IntVar(&r.daily)
	c.Flag("keep-weekly", "Also keep the newest backup of each of this many weeks.").Default("0").IntVar(&r.weekly)
	c.Flag("keep-monthly", "Also keep the newest backup of each of this many months.").Default("0").IntVar(&r.monthly)
	c.Flag("time-zone", "Time zone of --cron, and of the days of --keep-daily, such as Europe/Vienna.").Default("UTC").
		StringVar(&f.schedule.zone)
}

func (f *flags) addScratch(c *kingpin.CmdClause) {
	v := &f.verify
	c.Flag("scratch-dir", "Where throwaway servers are made (default: the system's temporary directory).").StringVar(&v.scratch)
	c.Flag("scratch-limit", "A verification is stopped when its throwaway server takes this many times the room that it should; 0 never.").
		Default("3").FloatVar(&v.limit)
	c.Flag("scratch-user", "System user that throwaway servers run as when this program is root (default: for rehearsals with pg_dump's "+
		"archives a number that owns nothing else; for pgBackRest postgres).").StringVar(&v.user)
	c.Flag("scratch-setting", "Setting of throwaway servers, such as shared_preload_libraries=x. Repeatable.").StringMapVar(&v.settings)
	c.Flag("verify-timeout", "Give up a verification after this time.").Default("12h").DurationVar(&v.timeout)
}

// mostLimit is a factor that no disk has room for.
const mostLimit = 1000

// mostJobs is more tables at once than any server is helped by: each is a session of it and a process here.
const mostJobs = 256

// check refuses values that no command has a meaning for. A flag that a command does not have is zero.
func (f *flags) check() error {
	for _, d := range []struct {
		flag  string
		value time.Duration
	}{
		{"--lock-wait-timeout", f.backup.lockWait}, {"--timeout", f.backup.timeout}, {"--verify-timeout", f.verify.timeout},
		{"--offsite-timeout", f.offsite.timeout},
		{"--retry-delay", f.schedule.retryDelay}, {"--drain", f.restore.drain}, {"--wait", f.bootstrap.wait}, {"--max-age", f.health.maxAge},
		{"--max-verified-age", f.health.maxVerifiedAge},
	} {
		if d.value < 0 {
			return failure.New(failure.Config, "%s=%s is before now", d.flag, d.value).WithHint("Choose a time of 0 or more, such as 30m.")
		}
	}
	if l := f.verify.limit; math.IsNaN(l) || l < 0 || l > mostLimit || l > 0 && l < 1 {
		return failure.New(failure.Config, "--scratch-limit=%g is neither 0 nor 1 to %d", l, mostLimit).WithHint("3 suits nearly all.")
	}
	if math.IsNaN(f.backup.suspectBelow) {
		return failure.New(failure.Config, "--suspect-below=NaN is not a share").WithHint("Choose 0 to 0.99.")
	}
	if f.backup.jobs > mostJobs || f.backup.jobs < 0 {
		return failure.New(failure.Config, "--jobs=%d is not 1 to %d", f.backup.jobs, mostJobs).
			WithHint("Each is a session of the server; twice its cores is plenty.")
	}
	return nil
}

func (f *flags) addHealth(c *kingpin.CmdClause) {
	c.Flag("max-age", "How old the newest good backup may be (default: as old as the run that should have been last by the schedule; "+
		"without a schedule 26h).").DurationVar(&f.health.maxAge)
	c.Flag("max-verified-age", "How old the last verification may be; 0 does not ask.").Default("0").DurationVar(&f.health.maxVerifiedAge)
}

// zone is the time zone of the schedule and of retention's days.
func (f *flags) zone() (*time.Location, error) {
	if f.schedule.zone == "" {
		return time.UTC, nil
	}
	l, err := time.LoadLocation(f.schedule.zone)
	if err != nil {
		return nil, failure.New(failure.Config, "--time-zone: %w", err).WithHint("Write a name such as Europe/Vienna, or UTC.")
	}
	return l, nil
}
