package main

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/version"
	toolkit "github.com/prometheus/exporter-toolkit/web"
	"github.com/prometheus/exporter-toolkit/web/kingpinflag"

	"github.com/pg-reliability/pg_reliability_exporter/collector"
	"github.com/pg-reliability/pg_reliability_exporter/internal/fleet"
	"github.com/pg-reliability/pg_reliability_exporter/internal/httpserver"
	"github.com/pg-reliability/pg_reliability_exporter/internal/manual"
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

	session sessionFlags
	poolMin int
	poolMax int

	probe    probeFlags
	stateDir string
	// configFile has the targets of a fleet.
	configFile string
	volumes    []string
	container  containerFlags
	// backupCatalog is a repository of pg_reliability_backup.
	backupCatalog string

	collectorDir      string
	maxSamples        int
	disableDefaults   bool
	collectorSwitches map[string]*collectorSwitch

	logLevel, logFormat string
}

type statusFlags struct {
	page                           bool
	grafana, alertmanager, runbook string
}

type sessionFlags struct {
	statementTimeout, lockTimeout, idleInTransactionTimeout time.Duration
}

type probeFlags struct {
	interval, timeout, stallThreshold, loginInterval, loginTimeout time.Duration
	write                                                          bool
	writeInterval, writeTimeout                                    time.Duration
	instance                                                       string
}

type containerFlags struct {
	name, host string
}

// collectorSwitch is --collector.NAME or --no-collector.NAME.
type collectorSwitch struct{ set, on bool }

// newApp declares the flags. Each is also an environment variable: PG_RELIABILITY_EXPORTER_ and the flag's
// name in capitals, with _ for . and -.
func newApp(definitions []collector.Definition) (*kingpin.Application, *flags) {
	app := kingpin.New(appName, "Counts every outage, restart and lost second of a PostgreSQL server, and exports its metrics to Prometheus.\n\n"+
		"The server is named by DATA_SOURCE_NAME (postgres://user@host:5432/database), by DATA_SOURCE_URI, DATA_SOURCE_USER and DATA_SOURCE_PASS, "+
		"each also as NAME_FILE with the value in a file, or by the PG* variables.\n\n"+
		"Each flag is also an environment variable: --log.level is PG_RELIABILITY_EXPORTER_LOG_LEVEL.")
	app.Version(version.Print(appName)).DefaultEnvars().HelpFlag.Short('h')
	app.UsageFuncs(manual.Funcs(manualPage()))
	f := &flags{collectorSwitches: map[string]*collectorSwitch{}}

	f.web = kingpinflag.AddFlags(app, defaultAddress)
	app.Flag("web.telemetry-path", "Path of the metrics.").Default("/metrics").StringVar(&f.telemetryPath)
	app.Flag("healthcheck", "Ask the exporter that listens on this host, at the first --web.listen-address, whether it is alive, and exit: 0 if it is, else 1. "+
		"For images without a shell.").BoolVar(&f.healthcheck)
	app.Flag("web.max-requests", "Scrapes answered at once; more get 503. Of /probe at least two for each of max_targets. 0 is without a bound.").
		Default(strconv.Itoa(httpserver.DefaultMaxRequests)).IntVar(&f.maxRequests)
	app.Flag("web.allowed-hosts", "A further name under which browsers may show the pages, such as a reverse proxy's; '*' for all. Repeatable. "+
		"IP addresses, names without a dot, those of Kubernetes services and the machine's own need none; metrics and health endpoints never do.").
		StringsVar(&f.allowedHosts)
	app.Flag("web.enable-pprof", "Serve /debug/pprof.").BoolVar(&f.pprof)
	app.Flag("web.status-page", "Serve the status page at / and its data at /api/status. Without it / is a list of links.").Default("true").
		BoolVar(&f.status.page)
	app.Flag("web.grafana-url", "Where the status page's link to Grafana leads, such as https://grafana.example/d/pgr-overview. No link without.").
		StringVar(&f.status.grafana)
	app.Flag("web.alertmanager-url", "Where its link to the alerts leads. No link without.").StringVar(&f.status.alertmanager)
	app.Flag("web.runbook-url", "What an alert's name and .md are appended to, for links to runbooks.").Default(runbookURL).StringVar(&f.status.runbook)
	app.Flag("scrape.timeout-offset", "Answer this much before the timeout that Prometheus announces.").Default("500ms").DurationVar(&f.timeoutOffset)

	app.Flag("session.statement-timeout", "The server ends a live query of ours after this time.").Default("1s").DurationVar(&f.session.statementTimeout)
	app.Flag("session.lock-timeout", "The server ends our wait for a lock after this time.").Default("250ms").DurationVar(&f.session.lockTimeout)
	app.Flag("session.idle-in-transaction-timeout", "The server ends a session of ours that idles in a transaction.").Default("10s").
		DurationVar(&f.session.idleInTransactionTimeout)

	app.Flag("pool.min-conns", "Connections kept open for scrapes.").Default("1").IntVar(&f.poolMin)
	app.Flag("pool.max-conns", "Connections at once at the most, the prober's among them; at least 3, with --probe.write 4.").Default("4").IntVar(&f.poolMax)

	app.Flag("probe.interval", "Time between read probes.").Default("1s").DurationVar(&f.probe.interval)
	app.Flag("probe.timeout", "A read probe without an answer after this time has failed.").Default("2s").DurationVar(&f.probe.timeout)
	app.Flag("probe.stall-threshold", "A read that takes longer, and less than its timeout, counts as stalled time.").Default("500ms").
		DurationVar(&f.probe.stallThreshold)
	app.Flag("probe.login-interval", "Time between logins.").Default("10s").DurationVar(&f.probe.loginInterval)
	app.Flag("probe.login-timeout", "A login without an answer after this time has failed.").Default("2s").DurationVar(&f.probe.loginTimeout)
	app.Flag("probe.write", "Also commit a row at each --probe.write-interval. Needs deploy/sql/heartbeat.sql.").BoolVar(&f.probe.write)
	app.Flag("probe.write-interval", "Time between write probes.").Default("5s").DurationVar(&f.probe.writeInterval)
	app.Flag("probe.write-timeout", "A write probe without an answer after this time has failed.").Default("2s").DurationVar(&f.probe.writeTimeout)
	app.Flag("probe.instance", "Name of this exporter's heartbeat row (default: the host's name).").StringVar(&f.probe.instance)

	app.Flag("config.file", "YAML file with the servers of /probe, their auth modules, and what may be probed beside them (docs/fleet.md). "+
		"With it, DATA_SOURCE_NAME and its like may be left out.").StringVar(&f.configFile)
	app.Flag("state.dir", "Directory where counts outlive the exporter (default: $STATE_DIRECTORY, else "+
		"~/.local/state/"+appName+"); 'none' keeps nothing.").StringVar(&f.stateDir)
	app.Flag("volume", "A volume of the server to watch, as NAME=/PATH, such as data=/var/lib/postgresql. Repeatable.").StringsVar(&f.volumes)
	app.Flag("container.name", "Watch this container of the database in a container engine. Off without a name.").StringVar(&f.container.name)
	app.Flag("container.host", "The container engine: unix:///PATH or tcp://HOST:PORT.").Default("unix:///var/run/docker.sock").StringVar(&f.container.host)
	app.Flag("backup.catalog", "Repository of pg_reliability_backup to watch. Off without one.").StringVar(&f.backupCatalog)

	app.Flag("collector.config-dir", "Directory with collectors of your own (*.yml).").StringVar(&f.collectorDir)
	app.Flag("collector.max-samples", "Samples that one collector may have, and all of a server a fifth more. The rest is left out, and counted by "+
		"pg_reliability_collector_errors_total{reason=\"too_many\"}.").Default(strconv.Itoa(collector.DefaultMaxSamples)).IntVar(&f.maxSamples)
	app.Flag("collector.disable-defaults", "Run only the collectors that are switched on by flag, and those of --collector.config-dir.").
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
	}

	app.Flag("log.level", "debug, info, warn or error.").Default("info").EnumVar(&f.logLevel, "debug", "info", "warn", "error")
	app.Flag("log.format", "logfmt or json.").Default("logfmt").EnumVar(&f.logFormat, "logfmt", "json")
	return app, f
}

// check finds what the flags' own types can't.
func (f *flags) check() error {
	if f.telemetryPath == "/" || !strings.HasPrefix(f.telemetryPath, "/") {
		return fmt.Errorf("--web.telemetry-path=%q is no path for metrics. HINT: Write one such as /metrics", f.telemetryPath)
	}
	for name, d := range map[string]time.Duration{
		"--session.statement-timeout":           f.session.statementTimeout,
		"--session.lock-timeout":                f.session.lockTimeout,
		"--session.idle-in-transaction-timeout": f.session.idleInTransactionTimeout,
	} {
		if d < time.Millisecond {
			return fmt.Errorf("%s=%s would be no limit at all. HINT: Choose at least 1ms", name, d)
		}
	}
	for name, address := range map[string]string{
		"--web.grafana-url": f.status.grafana, "--web.alertmanager-url": f.status.alertmanager, "--web.runbook-url": f.status.runbook,
	} {
		if u, err := url.Parse(address); address != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
			return fmt.Errorf("%s=%q is no address of a page. HINT: Write one such as https://grafana.example/", name, address)
		}
	}
	if f.maxRequests < 0 {
		return fmt.Errorf("--web.max-requests=%d is no number of requests. HINT: Choose a positive one, or 0 for no bound", f.maxRequests)
	}
	if _, err := httpserver.NewHosts(f.allowedHosts); err != nil {
		return fmt.Errorf("--web.allowed-hosts: %w", err)
	}
	if f.maxSamples < 1 {
		return fmt.Errorf("--collector.max-samples=%d leaves nothing to show. HINT: Choose at least 1, such as %d", f.maxSamples, collector.DefaultMaxSamples)
	}
	if f.timeoutOffset < 0 {
		return fmt.Errorf("--scrape.timeout-offset=%s is negative", f.timeoutOffset)
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

// checkFleetOnly finds flags that speak of a server of our own, where there is none.
func (f *flags) checkFleetOnly() error {
	for name, set := range map[string]bool{
		"--volume": len(f.volumes) > 0, "--container.name": f.container.name != "", "--backup.catalog": f.backupCatalog != "",
	} {
		if set {
			return fmt.Errorf("%s is about the server beside the exporter, and none is named. HINT: Set DATA_SOURCE_NAME, or leave out %s", name, name)
		}
	}
	return nil
}

// enabled are the collectors that run.
func (f *flags) enabled(embedded, own []collector.Definition) []collector.Definition {
	var out []collector.Definition
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
