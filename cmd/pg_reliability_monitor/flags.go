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
	app := kingpin.New(appName, "A terminal screen of one PostgreSQL server: it shows what pg_reliability_exporter knows, live, and has keys "+
		"to make a backup, read logs and restart the database.\n\n"+
		"Every flag is also an environment variable: --exporter.url is PG_RELIABILITY_MONITOR_EXPORTER_URL. A value behind = is the "+
		"default; a word in capitals says what to write.\n\n"+
		"--once and --json exit with 0 when the database is up, 1 when it is degraded, 2 when it is down, and 3 when that is unknown, or "+
		"--systemd.unit names none that there is. A wrong "+
		"flag is 2, too, and is explained on standard error.")
	manual.Apply(app, manual.Page{
		Short:   "a terminal screen of a PostgreSQL server's health, with keys to back up, read logs and restart",
		SeeAlso: []string{"pg_reliability_exporter(1)", "pg_reliability_backup(1)"},
		Groups: []manual.Group{
			{Title: "What to ask", Flags: []string{"exporter", "backup", "username", "password-file", "ca-file", "timeout"}},
			{Title: "How to restart the database, and where its log is",
				Flags: []string{"container", "systemd", "restart", "log"}},
			{Title: "What to print", Flags: []string{"once", "json", "ascii"}},
		},
	})
	app.Version(version.Print(appName)).DefaultEnvars().HelpFlag.Short('h').NoEnvar()
	app.VersionFlag.NoEnvar()
	f := &flags{}
	app.Flag("exporter.url", "Address of the exporter.").Default("http://localhost:9187").StringVar(&f.exporter)
	app.Flag("backup.url", "Address of the backup job, which the key B asks for a backup.").Default("http://localhost:9188").
		StringVar(&f.backup)
	app.Flag("backup.token-file", "The file that the backup job has as --web.backup-token-file. Without it, no backup can be made from here.").
		PlaceHolder("FILE").StringVar(&f.tokenFile)
	app.Flag("username", "User name for basic authentication at the exporter and the backup job.").PlaceHolder("NAME").StringVar(&f.username)
	app.Flag("password-file", "File that holds this user's password.").PlaceHolder("FILE").StringVar(&f.passwordFile)
	app.Flag("ca-file", "File with certificates (PEM) that are trusted besides the system's.").PlaceHolder("FILE").StringVar(&f.ca)
	app.Flag("container.name", "The database runs in the container of this name: its log is shown, and it can be restarted.").
		PlaceHolder("NAME").StringVar(&f.containerName)
	app.Flag("container.host", "Address of the container engine: unix:///path, tcp://host:port, or npipe:////./pipe/name on Windows. The "+
		"default is Docker's.").
		PlaceHolder("ADDRESS").StringVar(&f.containerHost)
	app.Flag("systemd.unit", "The database is this unit of systemd, such as postgresql@17-main: its log is shown, and it can be restarted.").
		PlaceHolder("UNIT").StringVar(&f.unit)
	app.Flag("restart.command", "A command of the shell (of cmd on Windows) that restarts the database, where it is neither a container nor "+
		"a unit.").PlaceHolder("COMMAND").StringVar(&f.restartCommand)
	app.Flag("log.file", "File with the server's log. Of several files that match a pattern, the newest is shown.").
		PlaceHolder("PATTERN").StringVar(&f.logFile)
	app.Flag("ascii", "Draw with ASCII characters only. The default is on where the locale is not UTF-8, and on Windows in the old console "+
		"and in pipes.").
		Default(strconv.FormatBool(ascii)).BoolVar(&f.ascii)
	app.Flag("once", "Print the state once, and exit.").BoolVar(&f.once)
	app.Flag("json", "Print the exporter's answer to GET /api/status, and exit.").BoolVar(&f.json)
	app.Flag("timeout", "--once and --json wait at most this long for the exporter, such as 10s.").Default("10s").DurationVar(&f.timeout)
	return app, f
}

// exporterOptions and backupOptions are where the two programs are.
func (f *flags) exporterOptions() monitor.HTTPOptions {
	return monitor.HTTPOptions{URL: f.exporter, Username: f.username, PasswordFile: f.passwordFile, CAFile: f.ca}
}

func (f *flags) backupOptions() monitor.HTTPOptions {
	return monitor.HTTPOptions{URL: f.backup, Username: f.username, PasswordFile: f.passwordFile, CAFile: f.ca, TokenFile: f.tokenFile}
}
