// Command pg_reliability_exporter watches PostgreSQL servers without pause and exports what it sees to Prometheus.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/prometheus/common/version"

	"github.com/pg-reliability/pg_reliability_exporter/collector"
	"github.com/pg-reliability/pg_reliability_exporter/internal/host"
	"github.com/pg-reliability/pg_reliability_exporter/internal/logging"
	"github.com/pg-reliability/pg_reliability_exporter/internal/manual"
	"github.com/pg-reliability/pg_reliability_exporter/internal/quiet"
	"github.com/pg-reliability/pg_reliability_exporter/internal/smallfile"
)

const (
	exitOK     = 0
	exitFailed = 1
	// exitUsage: the command line, the environment or a file it names is wrong; nothing was started.
	exitUsage = 2
)

// gcPercent is how much garbage there may be beside what is in use, in per cent, before it is collected: less than Go's 100, for we run
// beside a database. What is kept for the pages is hardly ever text any more, so that 60 costs no more CPU than 40 did when it was.
// $GOGC wins.
const gcPercent = 60

func main() {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
	if _, set := os.LookupEnv("GOMEMLIMIT"); !set {
		boundHeap(host.OwnMemory("", ""))
	}
	kingpin.ManPageTemplate = manual.Template // kingpin has no other way to choose it
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	os.Exit(run(ctx, os.Args[1:], os.LookupEnv, reload, os.Stderr, processors()))
}

// processors are one while little is to do. $GOMAXPROCS wins.
func processors() *quiet.Processors {
	if _, set := os.LookupEnv("GOMAXPROCS"); set {
		return nil
	}
	return quiet.NewProcessors()
}

// stopTimeout bounds the program's end: each part has a shorter limit of its own.
const stopTimeout = 10 * time.Second

// bounded calls f, which ends with ctx; what has not ended in time then is left behind, as a dead mount holds it for good.
func bounded(ctx context.Context, f func() error) error {
	ended := make(chan error, 1)
	go func() { ended <- f() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(stopTimeout):
		return fmt.Errorf("a part did not end within %s and is left behind. HINT: Look for a disk or network file system that hangs",
			stopTimeout)
	}
}

// patiently puts the parts together until ctx ends. What takes long is named: a file that is named may be on a dead mount, where reading it
// never ends.
func patiently(ctx context.Context, logger log.Logger, assemble func() (*exporter, error)) (*exporter, error) {
	slow := time.AfterFunc(readTimeout, func() {
		_ = level.Warn(logger).Log("msg", "the configuration is still being read, and nothing is watched until it is. "+
			"HINT: Look for a network mount that is dead, or a disk that fails", "after", readTimeout)
	})
	defer slow.Stop()
	return smallfile.Within(ctx, &smallfile.Turn{}, "the configuration", assemble)
}

// run is the whole program; it returns the exit code.
func run(ctx context.Context, args []string, env environment, reload <-chan os.Signal, stderr io.Writer, p *quiet.Processors) int {
	embedded, err := collector.Embedded()
	if err != nil {
		fmt.Fprintf(stderr, "%s: the embedded collectors: %v\n", appName, err)
		return exitFailed
	}
	app, f := newApp(embedded)
	if args, err = welcome(args, env); err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", appName, err)
		return exitUsage
	}
	if _, err := app.Parse(args); err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", appName, manual.Mistake(app, args, env, err))
		return exitUsage
	}
	if f.healthcheck {
		if err := healthcheck(ctx, *f.web.WebListenAddresses); err != nil {
			fmt.Fprintf(stderr, "%s: %v\n", appName, err)
			return exitFailed
		}
		return exitOK
	}
	logger := logging.New(stderr, f.logLevel, f.logFormat)
	for _, mistake := range manual.Mistyped(app, os.Environ()) {
		_ = level.Warn(logger).Log("msg", mistake)
	}
	e, err := patiently(ctx, logger, func() (*exporter, error) { return assemble(f, embedded, env, logger, p) })
	if err != nil {
		_ = level.Error(logger).Log("msg", "can't start", "err", err)
		return exitUsage
	}
	_ = level.Info(logger).Log(append([]any{"msg", "starting", "version", version.Info()}, e.watches()...)...)
	if err := bounded(ctx, func() error { return e.run(ctx, reload) }); err != nil {
		_ = level.Error(logger).Log("msg", "stopped", "err", err)
		return exitFailed
	}
	_ = level.Info(logger).Log("msg", "stopped")
	return exitOK
}
