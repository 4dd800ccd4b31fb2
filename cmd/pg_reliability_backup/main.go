// Command pg_reliability_backup backs up a PostgreSQL server, proves each backup by restoring it, and
// brings it back when it is needed.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kingpin/v2"
	"github.com/go-kit/log/level"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/internal/dsn"
	"github.com/pg-reliability/pg_reliability_exporter/internal/logging"
	"github.com/pg-reliability/pg_reliability_exporter/internal/manual"
)

const appName = "pg_reliability_backup"

func main() {
	kingpin.ManPageTemplate = manual.Template // kingpin has no other way to choose it
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	syscall.Umask(syscall.Umask(0o077) &^ 0o700) // what its owner can't read is no backup
	os.Exit(run(ctx, os.Args[1:], takeEnvironment(), os.Stdout, os.Stderr))
}

// takeEnvironment reads the variables and takes libpq's away from the process: the libraries would read them by
// themselves, for whatever server, also one that --to names.
func takeEnvironment() environment {
	variables := map[string]string{}
	for _, line := range os.Environ() {
		name, value, _ := strings.Cut(line, "=")
		variables[name] = value
	}
	for _, name := range append(dsn.Variables(), "PGSSLPASSWORD", "PGTZ") { // pgx's own
		_ = os.Unsetenv(name)
	}
	return func(name string) (string, bool) { v, ok := variables[name]; return v, ok }
}

// run is the whole program; it returns the exit code.
func run(ctx context.Context, args []string, env environment, stdout, stderr io.Writer) int {
	app, f := newApp()
	app.UsageWriter(stdout).ErrorWriter(stderr)
	ended := false
	// --help, --version and their like have printed what they print; kingpin, which expects not to come back, would go on
	// with the usage.
	app.Terminate(func(int) { ended = true; app.UsageWriter(io.Discard) })
	command, err := app.Parse(joinAt(args))
	if ended {
		return exitOK
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v%s\n", appName, manual.Mistake(app, joinAt(args), env, err), connectionHint(err))
		return exitConfig
	}
	p := &program{command: command, flags: f, env: env, out: stdout, err: stderr, log: logging.New(quiet{stderr}, f.logLevel, f.logFormat)}
	for _, mistake := range manual.Mistyped(app, os.Environ()) {
		_ = level.Warn(p.log).Log("msg", mistake)
	}
	if err = f.check(); err == nil {
		err = p.commands()[command](ctx)
	}
	if err == nil {
		return exitOK
	}
	_ = level.Error(p.log).Log("msg", command+" failed", "reason", failure.Of(err), "err", err)
	return exitCode(command, err)
}

// connectionHint tells who typed a flag of psql's where a server is named here; "" of other mistakes.
func connectionHint(err error) string {
	for flag, variable := range map[string]string{
		"--host": "PGHOST", "--port": "PGPORT", "--user": "PGUSER", "--username": "PGUSER", "--dbname": "PGDATABASE", "--password": "PGPASSWORD",
	} {
		if err.Error() == "unknown long flag '"+flag+"'" {
			return ". The server is named by variables: " + variable + " and its like, or DATA_SOURCE_NAME with all of it in one"
		}
	}
	return ""
}

// joinAt makes "--cron @daily" into "--cron=@daily": by itself, kingpin takes @daily for a file of arguments.
func joinAt(args []string) []string {
	var joined []string
	for i, a := range args {
		if i > 0 && strings.HasPrefix(a, "@") && strings.HasPrefix(args[i-1], "--") && !strings.Contains(args[i-1], "=") {
			joined[len(joined)-1] += "=" + a
			continue
		}
		joined = append(joined, a)
	}
	return joined
}
