package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// figure is one line of the report: what was measured of each exporter, in the exporters' order.
type figure struct {
	What string `json:"what"`
	Unit string `json:"unit"`
	// Values are those of each round or scrape, sorted.
	Values [][]float64 `json:"values"`
}

func (f figure) median(i int) float64 { return f.Values[i][len(f.Values[i])/2] }

// result is all that was measured in one run, for people and for trends.
type result struct {
	Server    string    `json:"server"`
	CPUs      int       `json:"cpus"`
	Exporters []string  `json:"exporters"`
	Loads     []float64 `json:"loads"` // of the machine before each round
	Figures   []figure  `json:"figures"`
}

func newResult(databases, tables int, loads []float64, exporters []*exporter) result {
	server := fmt.Sprintf("PostgreSQL %d with %d databases of %d tables", exporters[0].server.Install.Major, databases, tables)
	r := result{Server: server, CPUs: runtime.NumCPU(), Loads: loads}
	for _, e := range exporters {
		r.Exporters = append(r.Exporters, e.name)
	}
	add := func(what, unit string, f func(*exporter) []float64) {
		line := figure{What: what, Unit: unit}
		for _, e := range exporters {
			values := f(e)
			slices.Sort(values)
			line.Values = append(line.Values, values)
		}
		r.Figures = append(r.Figures, line)
	}
	times := func(what string, f func(*exporter) []time.Duration) {
		add(what, "ms", func(e *exporter) []float64 { return each(f(e), milliseconds) })
	}
	times("a scrape, wall time", func(e *exporter) []time.Duration { return e.wall })
	times("a scrape, CPU of the server", func(e *exporter) []time.Duration { return e.serverCPU })
	times("a scrape, CPU of the exporter", func(e *exporter) []time.Duration { return e.ownCPU })
	add("the same for each sample on the page", "µs", func(e *exporter) []float64 {
		return each(e.ownCPU, func(d time.Duration) float64 { return 1000 * milliseconds(d) / float64(max(1, e.samples)) })
	})
	times("from the start until it is watched, CPU of the server", func(e *exporter) []time.Duration { return e.firstServerCPU })
	times("from the start until it is watched, CPU of the exporter", func(e *exporter) []time.Duration { return e.firstOwnCPU })
	times("a minute without a scrape, CPU of the server", func(e *exporter) []time.Duration { return e.idleServerCPU })
	times("a minute without a scrape, CPU of the exporter", func(e *exporter) []time.Duration { return e.idleOwnCPU })
	times("a minute with a scrape each 15 s, CPU of the server, all included", func(e *exporter) []time.Duration { return e.fullServerCPU })
	times("a minute with a scrape each 15 s, CPU of the exporter, all included", func(e *exporter) []time.Duration { return e.fullOwnCPU })
	add("memory (RSS)", "MB", func(e *exporter) []float64 { return each(e.resident, megabytes) })
	add("samples on the page", "", func(e *exporter) []float64 { return []float64{float64(e.samples)} })
	add("connections opened in a round of scrapes", "", func(e *exporter) []float64 { return []float64{float64(e.connections)} })
	return r
}

// JSON is the result for programs.
func (r result) JSON() ([]byte, error) { return json.MarshalIndent(r, "", "  ") }

// markdown is docs/performance.md.
func (r result) markdown(p plan, rivals []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Performance\n\nWritten by `make bench`: each exporter on a server of its own, all servers alike, all in the same minutes. A ratio "+
		"is ours divided by the other's: below 1 ours costs less.\nFigures of different runs can't be compared, ratios can.\n\n"+
		"%s; %d scrapes a round, rounds: %d; %d CPUs; %s. %s\n\n", r.Server, p.scrapes, p.rounds, r.CPUs,
		strings.Join(rivals, ", "), r.quiet())
	b.WriteString("| median (least to most) |")
	for i, name := range r.Exporters {
		fmt.Fprintf(&b, " %s |", name)
		if i > 0 {
			b.WriteString(" ratio |")
		}
	}
	fmt.Fprintf(&b, "\n|---%s|\n", strings.Repeat("|---", 2*len(r.Exporters)-1))
	for _, f := range r.Figures {
		fmt.Fprintf(&b, "| %s |", f.What)
		for i := range r.Exporters {
			fmt.Fprintf(&b, " %s |", f.cell(i))
			if i == 0 {
				continue
			}
			ratio := "-"
			if rival := f.median(i); (f.Unit != "ms" || rival >= 1) && rival > 0 && f.median(0) >= 0 { // less is noise
				ratio = fmt.Sprintf("%.2f", f.median(0)/rival)
			}
			fmt.Fprintf(&b, " %s |", ratio)
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "\nThe CPU is the scheduler's own account of all threads and, for the server, of all its processes, those of logins that "+
		"have ended included (these in ticks of 10 ms, over a whole minute). The minutes are measured, not computed. "+
		"They begin %s after the exporter is complete: what it does once or seldom (the first look at each database, bloat each hour) is in "+
		"what it took from the start until then. A scrape's CPU is what a "+
		"round of them in a row cost beyond what the exporter does anyway: less than nothing is noise. "+
		"Ours opens no connection for a scrape: what it opens are the prober's logins and its visits to the other databases, of which "+
		"postgres_exporter reads only the one that it is connected to.\n\n"+
		"\""+floorName+"\" is our own page as a file in memory, served by client_golang's handler: what as many samples cost at least "+
		"when nothing is asked of a database. What the server does by itself in such a minute is in that column, too.\n\n"+
		"What many servers cost one exporter, and a Prometheus: [fleet.md](fleet.md#6-what-it-costs).\n", p.calm)
	return b.String()
}

// quiet says whether the machine did anything else.
func (r result) quiet() string {
	most := slices.Max(r.Loads)
	if most <= quietLoad {
		return fmt.Sprintf("The machine did nothing else: its load before each round, the exporters' own included, was at most %.2f.", most)
	}
	return fmt.Sprintf("**The machine was not quiet**: its load before a round was up to %.2f.", most)
}

func (f figure) cell(i int) string {
	format := func(v float64) string {
		if f.Unit == "" {
			return fmt.Sprintf("%.0f", v)
		}
		return fmt.Sprintf("%.2f", v)
	}
	text := format(f.median(i))
	if f.Unit != "" {
		text += " " + f.Unit
	}
	if n := len(f.Values[i]); n > 1 {
		text += fmt.Sprintf(" (%s to %s)", format(f.Values[i][0]), format(f.Values[i][n-1]))
	}
	return text
}

func each[T any](values []T, f func(T) float64) []float64 {
	out := make([]float64, len(values))
	for i, v := range values {
		out[i] = f(v)
	}
	return out
}

func version(binary string) string {
	out, err := exec.Command(binary, "--version").CombinedOutput()
	line, _, _ := strings.Cut(string(out), "\n")
	if err != nil || line == "" {
		return "a rival of unknown version"
	}
	line, _, _ = strings.Cut(line, " (")
	return line
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func megabytes(n int64) float64 { return float64(n) / 1e6 }
