// Program demo shows the exporter at work: a throwaway PostgreSQL server under a light load, the exporter watching it,
// and Prometheus scraping the exporter. It ends on Ctrl-C and leaves neither a process nor a file behind.
//
// `make demo` runs it. DEMO_SECONDS=60 ends it after that time; DEMO_CHAOS=1 restarts, crashes and freezes the server
// now and then; DEMO_SERVERS=3 adds a standby and a server of its own. The exit code is 0 if everything ran until the end.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

func main() { os.Exit(run()) }

func run() int {
	// Children are told to die with the thread that started them, and the main thread lives longest.
	runtime.LockOSThread()
	o, err := parseOptions()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// With nobody left to read, writing fails and the demo ends in order.
	signal.Ignore(syscall.SIGPIPE)
	c := newConsole(os.Stdout)
	if err := show(ctx, o, c); err != nil {
		c.print("demo: %v", err)
		return 1
	}
	return 0
}

func parseOptions() (options, error) {
	var o options
	flag.StringVar(&o.exporter, "exporter", "bin/pg_reliability_exporter", "the exporter's program")
	flag.StringVar(&o.backup, "backup", "bin/pg_reliability_backup", "the backup job's program; empty for a demo without backups")
	flag.Parse()
	for _, program := range []string{o.exporter, o.backup} {
		if _, err := os.Stat(program); err != nil && program != "" {
			return o, fmt.Errorf("%s is not built: %w. HINT: Run make demo, or make build first", filepath.Base(program), err)
		}
	}
	if s := os.Getenv("DEMO_SECONDS"); s != "" {
		seconds, err := strconv.Atoi(s)
		if err != nil || seconds < 1 {
			return o, fmt.Errorf("DEMO_SECONDS=%q is not a number of seconds. HINT: Write one such as DEMO_SECONDS=60", s)
		}
		o.duration = time.Duration(seconds) * time.Second
	}
	switch s := os.Getenv("DEMO_SERVERS"); s {
	case "", "1":
		o.servers = 1
	case strconv.Itoa(fleetOf):
		o.servers = fleetOf
	default:
		return o, fmt.Errorf("DEMO_SERVERS=%q is neither 1 nor %d", s, fleetOf)
	}
	switch s := os.Getenv("DEMO_CHAOS"); s {
	case "", "0":
	case "1":
		o.chaos = true
	default:
		return o, errors.New("DEMO_CHAOS is neither 0 nor 1")
	}
	return o, nil
}
