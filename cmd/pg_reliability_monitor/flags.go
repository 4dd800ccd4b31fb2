package main

import (
	"strconv"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/version"

	"github.com/pg-reliability/pg_reliability_exporter/internal/manual"
	"github.com/pg-reliability/pg_reliability_exporter/internal/monitor"
)

const appName = "pg_reliability_monitor"

type flags struct {
	exporter, backup             string
	username, passwordFile, ca   string
	tokenFile                    string
	containerName, containerHost string
	unit, restartCommand         string
	logFile                      string
	once, json, ascii            bool
	timeout                      time.Duration
}

// newApp declares the flags. Each is also an environment variable. Unless told otherwise, the screen is ASCII or not.
func newApp(ascii bool) (*kingpin.Application, *flags) {
	app := kingpin.New(appName, "A terminal screen of one PostgreSQL server: what pg_reliability_exporter knows, live, with keys to back up, read logs and restart.\n\n"+
		"Each flag is also an environment variable: --exporter.url is PG_RELIABILITY_MONITOR_EXPORTER_URL.\n\n"+
		"--once and --json exit with 0 when the database is up, 1 degraded, 2 down, 3 unknown; a wrong flag is 64.")
	app.UsageFuncs(manual.Funcs(manual.Page{
		Short:   "a terminal screen of a PostgreSQL server's health, with keys to back up, read logs and restart",
		SeeAlso: []string{"pg_reliability_exporter(1)", "pg_reliability_backup(1)"},
	}))
	app.Version(version.Print(appName)).DefaultEnvars().HelpFlag.Short('h')
	f := &flags{}
	app.Flag("exporter.url", "Address of the exporter.").Default("http://localhost:9187").StringVar(&f.exporter)
	app.Flag("backup.url", "Address of the backup job, for backups now.").Default("http://localhost:9188").StringVar(&f.backup)
	app.Flag("backup.token-file", "The backup job's --web.backup-token-file; without, no backup from here.").StringVar(&f.tokenFile)
	app.Flag("username", "User for basic authentication at both.").StringVar(&f.username)
	app.Flag("password-file", "File with the user's password.").StringVar(&f.passwordFile)
	app.Flag("ca-file", "Certificates to trust besides the system's (PEM).").StringVar(&f.ca)
	app.Flag("container.name", "Container of the database: its log, and restarts.").StringVar(&f.containerName)
	app.Flag("container.host", "Address of its engine: unix:///path, tcp://host:port, on Windows npipe:////./pipe/name (default: Docker's).").StringVar(&f.containerHost)
	app.Flag("systemd.unit", "Unit of the database, such as postgresql@17-main: its log, and restarts.").StringVar(&f.unit)
	app.Flag("restart.command", "Command of the shell, on Windows of cmd, that restarts the database, where it is neither a container nor a unit.").StringVar(&f.restartCommand)
	app.Flag("log.file", "The server's log, where it is in files; a pattern means the newest.").StringVar(&f.logFile)
	app.Flag("ascii", "Draw with ASCII only (default: where the locale is not UTF-8; on Windows in the old console and in pipes).").Default(strconv.FormatBool(ascii)).BoolVar(&f.ascii)
	app.Flag("once", "Print the state once and exit.").BoolVar(&f.once)
	app.Flag("json", "Print the exporter's answer to GET /api/status and exit.").BoolVar(&f.json)
	app.Flag("timeout", "How long --once and --json wait.").Default("10s").DurationVar(&f.timeout)
	return app, f
}

// exporterOptions and backupOptions are where the two programs are.
func (f *flags) exporterOptions() monitor.HTTPOptions {
	return monitor.HTTPOptions{URL: f.exporter, Username: f.username, PasswordFile: f.passwordFile, CAFile: f.ca}
}

func (f *flags) backupOptions() monitor.HTTPOptions {
	return monitor.HTTPOptions{URL: f.backup, Username: f.username, PasswordFile: f.passwordFile, CAFile: f.ca, TokenFile: f.tokenFile}
}
