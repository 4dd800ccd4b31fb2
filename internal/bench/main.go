// Command bench compares ours with postgres_exporter, any other exporter that is named, and the bare page: each on a server of its own,
// all alike, in the same minutes of one run. It prints medians, their spread and ratios, and writes them to docs/performance.md and as
// JSON. Figures of different runs or machines can't be compared; the ratios can.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	ours := flag.String("ours", "bin/pg_reliability_exporter", "our binary")
	rival := flag.String("rival", "/usr/bin/prometheus-postgres-exporter", "postgres_exporter's binary")
	databases := flag.Int("databases", 10, "databases")
	tables := flag.Int("tables", 200, "tables in each")
	another := flag.String("another", "", "one more exporter to compare with; it takes DATA_SOURCE_NAME and --web.listen-address")
	minute := flag.Duration("minute", time.Minute, "how long they are watched idle and scraped; shorter is scaled to one, with larger errors")
	patience := flag.Duration("patience", 2*time.Minute, "how long the first round waits for the machine to do nothing else")
	trend := flag.String("json", "", "file to write all figures to, for trends")
	calm := flag.Duration("calm", 315*time.Second, "how long they are left alone before they are watched; ours logs in less often after five "+
		"minutes in which nothing odd was seen")
	onlyParts := flag.Bool("parts", false, "measure what the parts of ours cost in a minute instead, and print a table")
	serve := flag.String("serve", "", "serve this saved page instead, at -web.listen-address")
	listen := flag.String("web.listen-address", "", "see -serve")
	rounds := flag.Int("rounds", 3, "rounds")
	scrapes := flag.Int("scrapes", 30, "scrapes a round")
	out := flag.String("out", "docs/performance.md", "file to write; empty writes none")
	targets := flag.String("fleet", "", "measure fleets of these sizes instead, such as 1,10,50,100, and what a Prometheus keeps of one "+
		"(alone: prometheus); prints what docs/fleet.md shows")
	flag.Parse()
	if *serve != "" {
		return serveFile(*serve, *listen)
	}
	if *targets != "" {
		var sizes []int
		for _, text := range strings.Split(*targets, ",") {
			if *targets == "prometheus" {
				break
			}
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 {
				return fmt.Errorf("-fleet=%s is no list of numbers", *targets)
			}
			sizes = append(sizes, n)
		}
		return measureFleet(ctx, *ours, sizes)
	}
	p := plan{rounds: *rounds, scrapes: *scrapes, minute: *minute, calm: *calm, patience: *patience}
	if *onlyParts {
		return measureParts(ctx, *ours, *databases, *tables, p)
	}
	exporters := []*exporter{
		{name: "pg_reliability_exporter", command: []string{*ours, "--state.dir=none"}},
		{name: "postgres_exporter", command: []string{*rival}},
	}
	if *another != "" {
		exporters = append(exporters, &exporter{name: filepath.Base(*another), command: []string{*another}})
	}
	var versions []string
	for i, e := range exporters {
		if _, err := os.Stat(e.command[0]); err != nil {
			return fmt.Errorf("%w. HINT: make build; apt-get install prometheus-postgres-exporter", err)
		}
		if i > 0 {
			versions = append(versions, version(e.command[0]))
		}
	}

	fmt.Printf("each on a server of its own: %d databases with %d tables each\n", *databases, *tables)
	loads, exporters, err := measureAll(ctx, exporters, *databases, *tables, p)
	defer func() {
		for _, e := range exporters {
			e.end()
		}
	}()
	if err != nil {
		return err
	}
	r := newResult(*databases, *tables, loads, exporters)
	report := r.markdown(p, versions)
	fmt.Print(report)
	if *trend != "" {
		text, err := r.JSON()
		if err := errors.Join(err, os.WriteFile(*trend, append(text, '\n'), 0o644)); err != nil {
			return err
		}
	}
	if *out == "" {
		return nil
	}
	return os.WriteFile(*out, []byte(report+rest(*out)), 0o644)
}

// measureAll measures all exporters, and the bare page of the first: their minutes side by side, rows of scrapes in turn. The loads are the
// machine's, before each round.
func measureAll(ctx context.Context, exporters []*exporter, databases, tables int, p plan) (loads []float64, _ []*exporter, err error) {
	for _, e := range exporters {
		if err := e.begin(ctx, databases, tables); err != nil {
			return nil, exporters, fmt.Errorf("%s: %w", e.name, err)
		}
	}
	_, page, err := scrapeAs(ctx, exporters[0].url, "text/plain;version=0.0.4")
	if err != nil {
		return nil, exporters, err
	}
	floor, remove, err := bare(page)
	if err != nil {
		return nil, exporters, err
	}
	defer remove()
	exporters = append(exporters, floor)
	if err := floor.begin(ctx, databases, tables); err != nil {
		return nil, exporters, fmt.Errorf("%s: %w", floor.name, err)
	}
	fmt.Printf("all are complete; they are left alone for %s\n", p.calm)
	if err := wait(ctx, p.calm); err != nil {
		return nil, exporters, err
	}
	for _, e := range exporters {
		e.first()
	}
	for round := range p.rounds {
		quiet, err := awaitQuiet(ctx, p.patience)
		if err != nil {
			return nil, exporters, err
		}
		p.patience = 0 // of the load that comes later, our own is a part
		loads = append(loads, quiet)
		if err := sideBySide(ctx, exporters, func(e *exporter) error { return e.idleMinute(ctx, p) }); err != nil {
			return nil, exporters, err
		}
		if err := sideBySide(ctx, exporters, func(e *exporter) error { return e.fullMinute(ctx, p) }); err != nil {
			return nil, exporters, err
		}
		for _, e := range exporters {
			if err := e.scrapes(ctx, p); err != nil {
				return nil, exporters, fmt.Errorf("%s: %w", e.name, err)
			}
			fmt.Printf("round %d of %d, load %.2f: %s\n", round+1, p.rounds, quiet, e.last())
		}
	}
	return loads, exporters, nil
}

// rest is what is in the report that is not of this run: its chapters.
func rest(file string) string {
	old, _ := os.ReadFile(file)
	if at := strings.Index(string(old), "\n## "); at >= 0 {
		return string(old[at:])
	}
	return ""
}

// server has databases with tables.
func server(ctx context.Context, databases, tables int) (*pgtest.Cluster, error) {
	c, err := pgtest.Start(ctx, pgtest.Options{Settings: map[string]string{
		"log_connections": "on", "max_connections": "100", "autovacuum": "off", "shared_buffers": "128MB",
	}})
	if err != nil {
		return nil, err
	}
	if err := fill(ctx, c, databases, tables); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// floorName is what the report calls a page that is only served.
const floorName = "the bare page"

// bare is this program, serving a page.
func bare(page string) (*exporter, func(), error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, nil, err
	}
	file := filepath.Join(dir, "page")
	if err := os.WriteFile(file, []byte(page), 0o600); err != nil {
		return nil, nil, err
	}
	return &exporter{name: floorName, command: []string{self, "-serve=" + file}}, func() { _ = os.RemoveAll(dir) }, nil
}

// fill makes databases with tables that have rows and indexes.
func fill(ctx context.Context, c *pgtest.Cluster, databases, tables int) error {
	for d := range databases {
		name := fmt.Sprintf("shop_%d", d)
		if err := c.Exec(ctx, "CREATE DATABASE "+name); err != nil {
			return err
		}
		err := c.ExecIn(ctx, name, fmt.Sprintf(`DO $$ BEGIN
			FOR i IN 1..%d LOOP
				EXECUTE format('CREATE TABLE t_%%s (id int PRIMARY KEY, note text)', i);
				EXECUTE format('INSERT INTO t_%%s SELECT g, repeat(''x'', 40) FROM generate_series(1, 20) g', i);
			END LOOP; END $$`, tables), "CHECKPOINT")
		if err != nil {
			return err
		}
	}
	return nil
}

// settle is how long an exporter may take to answer with data.
const settle = 20 * time.Second
