package main

import (
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// newReport is docs/performance.md.
func newReport(databases, tables, rounds, scrapes int, c *pgtest.Cluster, exporters []*exporter) string {
	ours, rival := exporters[0], exporters[1]
	var b strings.Builder
	fmt.Fprintf(&b, "# Performance\n\nWritten by `make bench`: both exporters on one server, in turn, in one run. Ratios are ours divided by "+
		"postgres_exporter's; below 1 ours costs less.\nFigures of different runs can't be compared, ratios can.\n\n"+
		"PostgreSQL %d with %d databases of %d tables, %d rounds of %d scrapes each, %d CPUs, %s.\n\n",
		c.Install.Major, databases, tables, rounds, scrapes, runtime.NumCPU(), rivalVersion(rival.command[0]))
	fmt.Fprintf(&b, "| median | %s | %s | ratio |\n|---|---|---|---|\n", ours.name, rival.name)
	row := func(what string, f func(*exporter) time.Duration) {
		a, r := f(ours), f(rival)
		ratio := "-"
		if r > 0 {
			ratio = fmt.Sprintf("%.2f", float64(a)/float64(r))
		}
		fmt.Fprintf(&b, "| %s | %.2f ms | %.2f ms | %s |\n", what, milliseconds(a), milliseconds(r), ratio)
	}
	row("a scrape, wall time", func(e *exporter) time.Duration { return median(e.wall) })
	row("a scrape, CPU of the server", func(e *exporter) time.Duration { return median(e.serverCPU) })
	row("a scrape, CPU of the exporter", func(e *exporter) time.Duration { return median(e.ownCPU) })
	atInterval := func(scrape, idle []time.Duration) time.Duration { return 4*median(scrape) + 60*median(idle) }
	row("a minute with a scrape each 15 s, CPU of the server, all included", func(e *exporter) time.Duration { return atInterval(e.serverCPU, e.idleServerCPU) })
	row("a minute with a scrape each 15 s, CPU of the exporter, all included", func(e *exporter) time.Duration { return atInterval(e.ownCPU, e.idleOwnCPU) })
	fmt.Fprintf(&b, "| memory (RSS) | %.1f MB | %.1f MB | %.2f |\n", megabytes(median(ours.resident)), megabytes(median(rival.resident)),
		float64(median(ours.resident))/float64(median(rival.resident)))
	fmt.Fprintf(&b, "| samples on the page | %d | %d | %.2f |\n", ours.samples, rival.samples, float64(ours.samples)/float64(rival.samples))
	fmt.Fprintf(&b, "| connections opened in a round of %d scrapes | %d | %d | |\n", scrapes, ours.connections, rival.connections)
	fmt.Fprintf(&b, "\nOurs opens none for a scrape: its connections here are the prober's logins, one each 10 s. What both do without being "+
		"scraped (ours probes each second, logs in each 10 s and refreshes sizes and settings in the background) is measured apart, taken "+
		"off the figures for a scrape, and included in those for a minute.\n\n"+
		"What many servers cost one exporter, and a Prometheus: [fleet.md](fleet.md#6-what-it-costs).\n")
	return b.String()
}

func rivalVersion(binary string) string {
	out, err := exec.Command(binary, "--version").CombinedOutput()
	line, _, _ := strings.Cut(string(out), "\n")
	if err != nil || line == "" {
		return "postgres_exporter of unknown version"
	}
	line, _, _ = strings.Cut(line, " (")
	return line
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func megabytes(n int64) float64 { return float64(n) / 1e6 }
