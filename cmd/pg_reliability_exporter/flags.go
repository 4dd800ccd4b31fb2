package main

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/alecthomas/units"
	"github.com/prometheus/common/version"
	toolkit "github.com/prometheus/exporter-toolkit/web"
	"github.com/prometheus/exporter-toolkit/web/kingpinflag"

	"github.com/pg-reliability/pg_reliability_exporter/collector"
	"github.com/pg-reliability/pg_reliability_exporter/collector/definition"
	"github.com/pg-reliability/pg_reliability_exporter/internal/fleet"
	"github.com/pg-reliability/pg_reliability_exporter/internal/httpserver"
	"github.com/pg-reliability/pg_reliability_exporter/internal/manual"
	"github.com/pg-reliability/pg_reliability_exporter/internal/passcommand"
	"github.com/pg-reliability/pg_reliability_exporter/internal/sqltext"
	"github.com/pg-reliability/pg_reliability_exporter/internal/watchdog"
)

const (
	appName = "pg_reliability_exporter"
	// defaultAddress is postgres_exporter's, so that existing scrape configurations go on working.
	defaultAddress = ":9187"
	// runbookURL is where the runbooks of this repository are; a test compares it with the alerts' own.
	runbookURL = "https://github.com/pg-reliability/pg_reliability_exporter/blob/main/alerts/runbooks/"
)

// flags are what the command line says.
type flags struct {
	web           *toolkit.FlagConfig
	telemetryPath string
	pprof         bool
	maxRequests   int
	allowedHosts  []string
	status        statusFlags
	healthcheck   bool
	timeoutOffset time.Duration

	session  sessionFlags
	password passwordFlags
	poolMin  int
	poolMax  int

	probe    probeFlags
	stateDir string
	// configFile has the targets of a fleet.
	configFile string
	volumes    []string
	container  containerFlags
	serverLog  serverLogFlags
	// showStatements is what pages show of statements.
	showStatements sqltext.Show
	watchdog       watchdogFlags
	// objective is what was promised of a recovery; zero is nothing.
	objective struct{ loss, back time.Duration }
	// stall is how long slow reads may take together before they are an incident.
	stall time.Duration
	// backupCatalog is a repository of pg_reliability_backup.
	backupCatalog string
	// pgbouncer is a connection string of the PgBouncer before the server.
	pgbouncer string

	collectorDir      string
	queriesFile       string // postgres_exporter's
	maxSamples        int
	maxMemory         units.Base2Bytes
	databases         fleet.Databases
	hidden            definition.Hidden
	disableDefaults   bool
	collectorSwitches map[string]*collectorSwitch

	logLevel, logFormat string
}

type statusFlags struct {
	page                                     bool
	external, grafana, alertmanager, runbook string
}

// externalURL is where people reach the status page, with a slash at its end; empty where nobody said.
func (s *statusFlags) externalURL() string {
	if s.external == "" {
		return ""
	}
	return strings.TrimSuffix(s.external, "/") + "/"
}

type sessionFlags struct {
	statementTimeout, lockTimeout, idleInTransactionTimeout time.Duration
}

// passwordFlags name a program that prints the password.
type passwordFlags struct {
	command string
	timeout time.Duration
}

type probeFlags struct {
	interval, pulseInterval, timeout, stallThreshold, loginInterval, calmLoginInterval, loginTimeout time.Duration
	write                                                                                            bool
	writeInterval, writeTimeout                                                                      time.Duration
	instance                                                                                         string
}

type containerFlags struct {
	name, host string
}

// serverLogFlags say where the server's own log is.
type serverLogFlags struct {
	files      []string
	container  string
	parameters bool
}

// watchdogFlags say what is done with a server that hangs.
type watchdogFlags struct {
	action, command string
	after           time.Duration
}

// collectorSwitch is --collector.NAME or --no-collector.NAME.
type collectorSwitch struct {
	set, on bool
	// top is --collector.NAME.top, where limited says that there is one.
	top     int
	limited bool
}

// newApp declares the flags. Each is also an environment variable: PG_RELIABILITY_EXPORTER_ and the flag's
// name in capitals, with _ for . and -.
func newApp(definitions []definition.Definition) (*kingpin.Application, *flags) {
	app := kingpin.New(appName, "Counts every outage, restart and lost second of a PostgreSQL server, and exports its metrics to "+
		"Prometheus.\n\n"+
		"Name the server by DATA_SOURCE_NAME (postgres://user@host:5432/database), or by DATA_SOURCE_URI, DATA_SOURCE_USER and "+
		"DATA_SOURCE_PASS, or by the PG* variables that psql reads. Each of the DATA_SOURCE variables can also be NAME_FILE, with the value "+
		"in a file.\n\n"+
		"Every flag is also an environment variable: --log.level is PG_RELIABILITY_EXPORTER_LOG_LEVEL."+
		" A value behind = is the default; a word in capitals says what to write. Times have a unit, such as 250ms, 5s, 2m or 1h.")
	app.Version(version.Print(appName)).DefaultEnvars().HelpFlag.Short('h').NoEnvar()
	app.VersionFlag.NoEnvar()
	manual.Apply(app, manualPage(definitions))
	f := &flags{collectorSwitches: map[string]*collectorSwitch{}}

	f.web = kingpinflag.AddFlags(app, defaultAddress)
	app.Flag("web.telemetry-path", "The metrics are served under this path.").Default("/metrics").StringVar(&f.telemetryPath)
	app.Flag("healthcheck", "Ask the exporter that runs on this host whether it is alive, at the first --web.listen-address, and exit with 0 "+
		"if it is and 1 if it is not. This is for images without a shell.").BoolVar(&f.healthcheck)
	app.Flag("web.max-requests", "So many scrapes are answered at once; further ones get status 503. 0 means no limit. With --config.file, "+
		"/probe gets at least two for each of max_targets.").
		Default(strconv.Itoa(httpserver.DefaultMaxRequests)).IntVar(&f.maxRequests)
	app.Flag("web.allowed-hosts", "Browsers may also show the pages under this name, such as a reverse proxy's; '*' allows every name. "+
		"May be given several times. IP addresses, names without a dot, those of Kubernetes services and the machine's own are always "+
		"allowed, and metrics and health endpoints are served under every name.").
		PlaceHolder("HOST").StringsVar(&f.allowedHosts)
	app.Flag("web.enable-pprof", "Serve Go's profiles of this program under /debug/pprof.").BoolVar(&f.pprof)
	app.Flag("web.status-page", "Serve the status page at / and its data at /api/status. With --no-web.status-page, / is a list of links.").
		Default("true").BoolVar(&f.status.page)
	app.Flag("web.external-url", "URL under which people reach the status page, such as https://db1.example/exporter/, for links of alerts "+
		"and boards to an outage's story. Without it they lead to where Prometheus scrapes, over plain HTTP.").StringVar(&f.status.external)
	app.Flag("web.grafana-url", "The status page links to Grafana at this address, such as https://grafana.example/d/pgr-overview. "+
		"Without it, there is no link.").
		PlaceHolder("URL").StringVar(&f.status.grafana)
	app.Flag("web.alertmanager-url", "The status page links to Alertmanager at this address. Without it, there is no link.").
		PlaceHolder("URL").StringVar(&f.status.alertmanager)
	app.Flag("web.runbook-url", "The status page links to an alert's runbook at this address, followed by the alert's name and .md.").
		Default(runbookURL).StringVar(&f.status.runbook)
	app.Flag("web.show-statements", "How much of SQL statements the pages show, and incidents keep: none, masked (without literals and "+
		"comments) or full.").
		Default(string(sqltext.Masked)).EnumVar((*string)(&f.showStatements), string(sqltext.None), string(sqltext.Masked), string(sqltext.Full))
	app.Flag("scrape.timeout-offset", "Prometheus says how long it waits for a scrape. The exporter answers this much earlier, with what it "+
		"has by then.").Default("500ms").
		DurationVar(&f.timeoutOffset)

	app.Flag("session.statement-timeout", "The server ends a query of the exporter after this time (statement_timeout).").Default("1s").
		DurationVar(&f.session.statementTimeout)
	app.Flag("session.lock-timeout", "The server ends a query of the exporter that has waited this long for a lock (lock_timeout).").
		Default("250ms").DurationVar(&f.session.lockTimeout)
	app.Flag("session.idle-in-transaction-timeout", "The server ends a session of the exporter that has been idle in a transaction for this "+
		"long (idle_in_transaction_session_timeout).").Default("10s").
		DurationVar(&f.session.idleInTransactionTimeout)

	app.Flag("password.command", "Run this program for each login; the first line that it prints is the password of DATA_SOURCE_NAME's role. "+
		"This is for passwords that soon expire (docs/managed.md). Arguments are separated by spaces and may be quoted; no shell reads them. "+
		"The program gets PGHOST, PGPORT, PGUSER and PGDATABASE.").
		PlaceHolder("COMMAND").StringVar(&f.password.command)
	app.Flag("password.command-timeout", "The program of --password.command is killed when it takes longer than this.").
		Default(passcommand.DefaultTimeout.String()).
		DurationVar(&f.password.timeout)

	app.Flag("pool.min-conns", "So many connections are kept open for scrapes.").Default("1").IntVar(&f.poolMin)
	app.Flag("pool.max-conns", "The exporter never has more connections than this, those of the prober included: at least 3, or 4 with "+
		"--probe.write.").Default("4").
		IntVar(&f.poolMax)

	app.Flag("probe.interval", "The prober runs a query on an open connection this often.").Default("1s").DurationVar(&f.probe.interval)
	app.Flag("probe.timeout", "A query of the prober that is not answered within this time has failed.").Default("2s").
		DurationVar(&f.probe.timeout)
	app.Flag("probe.pulse-interval", "Between two queries the server is asked for a sign of life this often, so that the moment at which it "+
		"freezes is known. A time as long as --probe.interval switches this off, and behind a connection pooler it is always off.").
		Default("250ms").DurationVar(&f.probe.pulseInterval)
	app.Flag("probe.stall-threshold", "An answer that takes this much longer than the way to the server, and less than --probe.timeout, "+
		"counts as stalled time.").Default("200ms").
		DurationVar(&f.probe.stallThreshold)
	app.Flag("probe.login-interval", "The prober opens a new connection this often while something is unusual, and for five minutes after.").
		Default("10s").
		DurationVar(&f.probe.loginInterval)
	app.Flag("probe.calm-login-interval", "It opens one this often at all other times. The default is three times --probe.login-interval.").
		PlaceHolder("TIME").DurationVar(&f.probe.calmLoginInterval)
	app.Flag("probe.login-timeout", "A login that is not complete within this time, plus six round trips to the server, has failed.").
		Default("2s").
		DurationVar(&f.probe.loginTimeout)
	app.Flag("probe.write", "The prober also commits a row now and then, to know that writes succeed. This needs the table that "+
		"deploy/sql/heartbeat.sql makes.").BoolVar(&f.probe.write)
	app.Flag("probe.write-interval", "With --probe.write, a row is committed this often.").Default("5s").DurationVar(&f.probe.writeInterval)
	app.Flag("probe.write-timeout", "A commit that is not confirmed within this time has failed.").Default("2s").
		DurationVar(&f.probe.writeTimeout)
	app.Flag("probe.instance", "Name of this exporter's row in the heartbeat table. The default is the host's name.").
		PlaceHolder("NAME").StringVar(&f.probe.instance)

	app.Flag("config.file", "YAML file with the servers that /probe answers for, their logins, and what else may be probed (docs/fleet.md). "+
		"With it, DATA_SOURCE_NAME and its like are not needed.").PlaceHolder("FILE").StringVar(&f.configFile)
	app.Flag("state.dir", "Directory in which counts are kept when the exporter restarts; 'none' keeps nothing. The default is "+
		"$STATE_DIRECTORY, or else ~/.local/state/"+appName+".").PlaceHolder("DIR").StringVar(&f.stateDir)
	app.Flag("volume", "Watch the free space of a disk of the server, such as data=/var/lib/postgresql. May be given several times.").
		PlaceHolder("NAME=/PATH").StringsVar(&f.volumes)
	app.Flag("container.name", "Watch the database's container of this name. Without it, no container is watched.").
		PlaceHolder("NAME").StringVar(&f.container.name)
	app.Flag("container.host", "Address of the container engine: unix:///PATH or tcp://HOST:PORT.").Default("unix:///var/run/docker.sock").
		StringVar(&f.container.host)
	app.Flag("log.file", "Follow the server's log in these files, such as '/var/log/postgresql/*.json'. The formats jsonlog, csvlog and "+
		"stderr are recognized. May be given several times.").
		PlaceHolder("PATTERN").StringsVar(&f.serverLog.files)
	app.Flag("log.container", "Follow the server's log in the output of this container of the engine at --container.host.").
		PlaceHolder("NAME").StringVar(&f.serverLog.container)
	app.Flag("log.parameters",
		"Show literals of statements and values of rows that stand in the server's log. Without it, they are masked.").
		BoolVar(&f.serverLog.parameters)
	app.Flag("incident.stall", "When queries of the prober were slow for this long together, what is known of that time is kept, as it is of "+
		"an outage.").
		Default("2s").DurationVar(&f.stall)
	app.Flag("objective.rpo", "Your recovery point objective: at most this much work may be lost with the server's data, such as 15m. Alerts "+
		"and the status page compare with it. Needs --backup.catalog.").PlaceHolder("TIME").DurationVar(&f.objective.loss)
	app.Flag("objective.rto", "Your recovery time objective: a restore of the newest backup may take at most this long, such as 30m. Needs "+
		"--backup.catalog.").PlaceHolder("TIME").
		DurationVar(&f.objective.back)
	app.Flag("watchdog", "What to do with a server that hangs: off (nothing), container (restart --container.name) or command (run "+
		"--watchdog.command). It acts at most three times an hour, after what is known was saved (docs/black-box.md).").Default(watchdogOff).
		EnumVar(&f.watchdog.action, watchdogOff, watchdogContainer, watchdogCommand)
	app.Flag("watchdog.after", "The watchdog acts when the server has taken connections and answered none of them for this long.").
		Default(watchdog.DefaultAfter.String()).DurationVar(&f.watchdog.after)
	app.Flag("watchdog.command", "Program that restarts the server, within two minutes. Arguments are separated by spaces and may be quoted; "+
		"no shell reads them.").PlaceHolder("COMMAND").StringVar(&f.watchdog.command)
	app.Flag("backup.catalog", "Report the backups in this repository of pg_reliability_backup. Without it, none are reported.").
		PlaceHolder("DIR").StringVar(&f.backupCatalog)

	app.Flag("pgbouncer.dsn", "Connection string of the PgBouncer in front of the server, such as "+
		"'host=/var/run/postgresql port=6432 user=stats'. Its admin console is asked for pools, for clients that wait, and for what is paused "+
		"(docs/pgbouncer.md). Without DATA_SOURCE_NAME and its like, PgBouncer alone is watched.").PlaceHolder("DSN").StringVar(&f.pgbouncer)

	app.Flag("collector.config-dir", "Directory with collectors of your own (*.yml).").PlaceHolder("DIR").StringVar(&f.collectorDir)
	app.Flag("extend.query-path", "File with queries in the form of postgres_exporter. Those that can't be taken are named in the log "+
		"(docs/migrating.md).").
		PlaceHolder("FILE").StringVar(&f.queriesFile)
	app.Flag("collector.max-samples", "One collector has at most this many samples, and all collectors of a server together a fifth "+
		"more. The rest is left out, and counted by "+
		"pg_reliability_collector_errors_total{reason=\"too_many\"}.").Default(strconv.Itoa(collector.DefaultMaxSamples)).IntVar(&f.maxSamples)
	app.Flag("collector.max-memory", "The samples of all servers together may take this much memory, such as 200MB; a server with few "+
		"samples is never cut for one with many. The rest is left out, and counted by "+
		"pg_reliability_collector_errors_total{reason=\"no_memory\"}. 0 stands for six tenths of what the exporter may have: of GOMEMLIMIT, "+
		"of its container's or service's limit, or of half the machine, 2 GB at the most.").
		Default("0").BytesVar(&f.maxMemory)
	app.Flag("collector.disable-defaults", "Run only collectors that are switched on by a flag, and those of --collector.config-dir.").
		BoolVar(&f.disableDefaults)
	for _, d := range definitions {
		s := &collectorSwitch{}
		f.collectorSwitches[d.Name] = s
		help := strings.TrimSuffix(d.Help, ".")
		if d.Enabled {
			help += " (on by default)."
		} else {
			help += " (off by default: " + strings.TrimSuffix(d.OffReason, ".") + ")."
		}
		app.Flag("collector."+d.Name, help).IsSetByUser(&s.set).Default(fmt.Sprint(d.Enabled)).BoolVar(&s.on)
		if s.limited = d.Top > 0 && d.TopOf == ""; s.limited {
			app.Flag("collector."+d.Name+".top", "The collector "+d.Name+" has at most this many rows, of all databases together.").
				Default(strconv.Itoa(d.Top)).IntVar(&s.top)
		}
	}

	app.Flag("collector.exclude-schemas", "Leave out tables, indexes and sequences in schemas whose names match this pattern, such as "+
		"'tmp_*'. May be given several times.").
		PlaceHolder("PATTERN").StringsVar(&f.hidden.Schemas)
	app.Flag("collector.statements.exclude-users", "Leave out statements of roles whose names match this pattern, such as 'backup_*'. May be "+
		"given several times.").PlaceHolder("PATTERN").StringsVar(&f.hidden.Users)
	app.Flag("collector.statements.exclude-databases", "Leave out statements in databases whose names match this pattern. May be given "+
		"several times.").PlaceHolder("PATTERN").StringsVar(&f.hidden.Databases)
	app.Flag("databases.all", "Look into every database that the role may connect to, one after another, for the collectors of tables, "+
		"indexes and sequences (docs/collectors.md). With --no-databases.all, only into the one that the connection names.").
		Default("true").BoolVar(&f.databases.All)
	app.Flag("databases.include", "Look only into databases whose names match this pattern, such as 'app_*'. May be given several times.").
		PlaceHolder("PATTERN").StringsVar(&f.databases.Include)
	app.Flag("databases.exclude", "Do not look into databases whose names match this pattern. May be given several times.").
		PlaceHolder("PATTERN").StringsVar(&f.databases.Exclude)

	app.Flag("log.level", "How much the exporter itself logs: debug, info, warn or error.").Default("info").
		EnumVar(&f.logLevel, "debug", "info", "warn", "error")
	app.Flag("log.format", "How it does: logfmt or json.").Default("logfmt").EnumVar(&f.logFormat, "logfmt", "json")
	return app, f
}

// check finds what the flags' own types can't.
func (f *flags) check() error {
	if f.telemetryPath == "/" || !strings.HasPrefix(f.telemetryPath, "/") {
		return fmt.Errorf("--web.telemetry-path=%q can't be the path of the metrics. HINT: Write one such as /metrics", f.telemetryPath)
	}
	if err := errors.Join(f.checkTimes(), f.checkAddresses()); err != nil {
		return err
	}
	if f.maxRequests < 0 {
		return fmt.Errorf("--web.max-requests=%d is negative. HINT: Choose a positive one, or 0 for no bound", f.maxRequests)
	}
	if _, err := httpserver.NewHosts(f.allowedHosts); err != nil {
		return fmt.Errorf("--web.allowed-hosts: %w", err)
	}
	if f.maxSamples < 1 {
		return fmt.Errorf("--collector.max-samples=%d leaves nothing to show. HINT: Choose at least 1, such as %d", f.maxSamples,
			collector.DefaultMaxSamples)
	}
	if f.maxMemory != 0 && f.maxMemory < units.MiB {
		return fmt.Errorf("--collector.max-memory=%s leaves nothing to show. HINT: Choose at least 1MB, such as 200MB, or 0 for what fits the "+
			"memory that there is", f.maxMemory)
	}
	if f.stall < 100*time.Millisecond {
		return fmt.Errorf("--incident.stall=%s would keep every slow read. HINT: Choose at least 100ms, such as 2s", f.stall)
	}
	for name, s := range f.collectorSwitches {
		if s.limited && (s.top < 1 || s.top > definition.MostTop) {
			return fmt.Errorf("--collector.%s.top=%d is no number of rows. HINT: Choose 1 to %d, or switch it off with --no-collector.%s",
				name, s.top, definition.MostTop, name)
		}
	}
	if err := collector.CheckPatterns(append(slices.Clone(f.databases.Include), f.databases.Exclude...)); err != nil {
		return fmt.Errorf("--databases.include, --databases.exclude: %w", err)
	}
	if f.objective.loss < 0 || f.objective.back < 0 {
		return errors.New("--objective.rpo and --objective.rto can't be negative. HINT: Write a time such as 15m, or leave them out")
	}
	if f.objective.loss+f.objective.back > 0 && f.backupCatalog == "" {
		return errors.New("--objective.rpo and --objective.rto are of a recovery from backups, and none are known. HINT: Set " +
			"--backup.catalog, too")
	}
	if f.timeoutOffset < 0 {
		return fmt.Errorf("--scrape.timeout-offset=%s is negative", f.timeoutOffset)
	}
	return nil
}

// checkTimes finds times that are too short.
func (f *flags) checkTimes() error {
	for name, d := range map[string]time.Duration{
		"--session.statement-timeout":           f.session.statementTimeout,
		"--session.lock-timeout":                f.session.lockTimeout,
		"--session.idle-in-transaction-timeout": f.session.idleInTransactionTimeout,
		"--password.command-timeout":            f.password.timeout,
		"--probe.interval":                      f.probe.interval,
		"--probe.timeout":                       f.probe.timeout,
		"--probe.stall-threshold":               f.probe.stallThreshold,
		"--probe.login-interval":                f.probe.loginInterval,
		"--probe.login-timeout":                 f.probe.loginTimeout,
		"--probe.write-interval":                f.probe.writeInterval,
		"--probe.write-timeout":                 f.probe.writeTimeout,
	} {
		if d < time.Millisecond {
			return fmt.Errorf("%s=%s is too short to be meant. HINT: Choose at least 1ms, or leave it out for the default", name, d)
		}
	}
	return nil
}

// checkAddresses finds what is no page's URL.
func (f *flags) checkAddresses() error {
	for name, address := range map[string]string{
		"--web.external-url": f.status.external, "--web.grafana-url": f.status.grafana, "--web.alertmanager-url": f.status.alertmanager,
		"--web.runbook-url": f.status.runbook,
	} {
		if u, err := url.Parse(address); address != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
			return fmt.Errorf("%s=%q is not the URL of a page. HINT: Write one such as https://grafana.example/", name, address)
		}
	}
	return nil
}

// maxProbes lets two Prometheus servers scrape every server of a fleet at the same moment: when many of them hang, so do
// their scrapes, and that is when each counts.
func (f *flags) maxProbes(config *fleet.Config) int {
	if f.maxRequests == 0 || config == nil {
		return f.maxRequests
	}
	return max(f.maxRequests, 2*config.MaxTargets)
}

// checkWithoutServer finds flags that speak of a server of our own, where there is none.
func (f *flags) checkWithoutServer() error {
	for name, set := range map[string]bool{
		"--log.file": len(f.serverLog.files) > 0, "--log.container": f.serverLog.container != "",
		"--volume": len(f.volumes) > 0, "--container.name": f.container.name != "", "--backup.catalog": f.backupCatalog != "",
		"--watchdog": f.watchdog.action != watchdogOff,
	} {
		if set {
			return fmt.Errorf("%s is about the server beside the exporter, and none is named. HINT: Set DATA_SOURCE_NAME, or leave out %s", name,
				name)
		}
	}
	return nil
}

// enabled are the collectors that run.
func (f *flags) enabled(embedded, own []definition.Definition) []definition.Definition {
	tops := map[string]int{}
	for name, s := range f.collectorSwitches {
		if s.limited {
			tops[name] = s.top
		}
	}
	embedded = slices.Clone(embedded)
	_ = definition.SetTops(embedded, tops) // what could be wrong with them was found when they were read
	own = slices.Clone(own)
	definition.Hide(embedded, f.hidden)
	definition.Hide(own, f.hidden)
	var out []definition.Definition
	for _, d := range embedded {
		s := f.collectorSwitches[d.Name]
		if s.on && (s.set || !f.disableDefaults) {
			out = append(out, d)
		}
	}
	for _, d := range own {
		if d.Enabled {
			out = append(out, d)
		}
	}
	return out
}
