// Command bench compares a scrape of ours with one of postgres_exporter: both on one server, in turn, in one run. It
// prints medians and ratios and writes them to docs/performance.md. Figures of different runs or machines
// can't be compared; the ratios can.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
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
	rounds := flag.Int("rounds", 3, "rounds, one of each exporter in turn")
	scrapes := flag.Int("scrapes", 30, "scrapes a round")
	out := flag.String("out", "docs/performance.md", "file to write; empty writes none")
	targets := flag.String("fleet", "", "measure fleets of these sizes instead, such as 1,10,50,100, and what a Prometheus keeps of one (alone: prometheus); prints what docs/fleet.md shows")
	flag.Parse()
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
	for _, path := range []string{*ours, *rival} {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("%w. HINT: make build; apt-get install prometheus-postgres-exporter", err)
		}
	}

	fmt.Printf("server: %d databases with %d tables each\n", *databases, *tables)
	c, err := pgtest.Start(ctx, pgtest.Options{Settings: map[string]string{
		"log_connections": "on", "max_connections": "100", "autovacuum": "off", "shared_buffers": "128MB",
	}})
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if err := fill(ctx, c, *databases, *tables); err != nil {
		return err
	}
	exporters := []*exporter{
		{name: "pg_reliability_exporter", command: []string{*ours, "--state.dir=none"}},
		{name: "postgres_exporter", command: []string{*rival}},
	}
	for round := range *rounds {
		for _, e := range exporters {
			if err := e.measure(ctx, c, *scrapes); err != nil {
				return fmt.Errorf("%s: %w", e.name, err)
			}
			fmt.Printf("round %d of %d: %s\n", round+1, *rounds, e.last())
		}
	}
	report := newReport(*databases, *tables, *rounds, *scrapes, c, exporters)
	fmt.Print(report)
	if *out == "" {
		return nil
	}
	return os.WriteFile(*out, []byte(report), 0o644)
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
