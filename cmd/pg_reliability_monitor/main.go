// Command pg_reliability_monitor is a terminal screen of one PostgreSQL server, fed by pg_reliability_exporter.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/alecthomas/kingpin/v2"
	"golang.org/x/term"

	"github.com/pg-reliability/pg_reliability_exporter/internal/manual"
	"github.com/pg-reliability/pg_reliability_exporter/internal/monitor"
)

const (
	exitOK = 0
	// exitUsage is that of the exporter and of the backup job. It is also that of a database that is down: standard error tells which.
	exitUsage = 2
	// exitFailed: the screen itself failed.
	exitFailed = 70
)

func main() {
	kingpin.ManPageTemplate = manual.Template // kingpin has no other way to choose it
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr))
}

// run is the whole program; it returns the exit code.
func run(ctx context.Context, args []string, env environment, stdout, stderr io.Writer) int {
	fail := func(code int, err error) int {
		fmt.Fprintf(stderr, "%s: %v\n", appName, err)
		return code
	}
	width, onTerminal := terminalWidth(stdout)
	app, f := newApp(onlyASCII(runtime.GOOS, env, onTerminal))
	if _, err := app.Parse(args); err != nil {
		return fail(exitUsage, manual.Mistake(app, args, env, err))
	}
	for _, mistake := range manual.Mistyped(app, os.Environ()) {
		fmt.Fprintf(stderr, "%s: %s\n", appName, mistake)
	}
	sources, err := newSources(f)
	if err != nil {
		return fail(exitUsage, err)
	}
	limits, err := newLimits()
	if err != nil {
		return fail(exitFailed, err)
	}
	o := monitor.Options{Sources: sources, Limits: limits, ASCII: f.ascii}
	if f.once || f.json {
		ctx, cancel := context.WithTimeout(ctx, f.timeout)
		defer cancel()
		var code int
		if f.json {
			code, err = monitor.JSON(ctx, stdout, sources.Status)
		} else {
			noColour, _ := env("NO_COLOR")
			o.Colour = onTerminal && noColour == ""
			if o.Colour {
				lipgloss.EnableLegacyWindowsANSI(stdout.(*os.File)) // a terminal is one
			}
			code, err = monitor.Once(ctx, stdout, o, width)
		}
		if err != nil {
			return fail(code, err)
		}
		return code
	}
	if !onTerminal {
		return fail(exitUsage, errors.New("the output is not a terminal. HINT: Scripts use --once or --json"))
	}
	o.Colour = true // what the terminal can't show is taken out by bubbletea; so is all colour under NO_COLOR
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	_, err = tea.NewProgram(monitor.New(ctx, o), tea.WithContext(ctx), tea.WithoutSignalHandler()).Run()
	if err != nil && !errors.Is(err, tea.ErrInterrupted) && ctx.Err() == nil {
		return fail(exitFailed, err)
	}
	return exitOK
}

// terminalWidth is that of the terminal, and whether there is one.
func terminalWidth(w io.Writer) (int, bool) {
	const usual = 80
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return usual, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		return usual, true
	}
	return width, true
}
