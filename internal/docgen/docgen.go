// Package docgen writes docs/metrics.md, the catalogue of metrics, from what the program itself says of
// them: the collectors' definitions, and the descriptions of everything that is measured without SQL.
package docgen

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/collector/definition"
	"github.com/pg-reliability/pg_reliability_exporter/internal/declared"
	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

const intro = `# Metrics

<!-- Written by "go test ./internal/docgen -update". Change collector/metrics/*.yml or the code instead. -->

Every metric the exporter can show. A value that is not known is absent, never 0. Metrics that begin with
` + "`pg_reliability_`" + ` are ours; the others have the names, labels and meanings that dashboards and alerts for
postgres_exporter use. Where such a name contradicts the rules for names of its type (a counter without
` + "`_total`" + `, a gauge that ends in ` + "`_count`" + `), the page calls its type untyped; queries don't care.

`

// Metrics renders the catalogue: first what needs no SQL, then each collector in the order of the definitions.
func Metrics(defs []definition.Definition, rooms []declared.Room) []byte {
	var b bytes.Buffer
	b.WriteString(intro)
	contents(&b, rooms, defs)
	for _, room := range rooms {
		fmt.Fprintf(&b, "## %s\n\n", room.Name)
		table(&b, slices.SortedFunc(slices.Values(room.Metrics), func(a, b *metric.Desc) int { return cmp.Compare(a.Name, b.Name) }), nil)
	}
	b.WriteString("## Collectors\n\n")
	for i := range defs {
		oneCollector(&b, &defs[i])
	}
	return append(bytes.TrimRight(b.Bytes(), "\n"), '\n')
}

func contents(b *bytes.Buffer, rooms []declared.Room, defs []definition.Definition) {
	for _, r := range rooms {
		fmt.Fprintf(b, "- [%s](#%s)\n", r.Name, anchor(r.Name))
	}
	b.WriteString("- [Collectors](#collectors)\n\n| Collector | Measures | Versions | Refresh | Default |\n|---|---|---|---|---|\n")
	for i := range defs {
		d := &defs[i]
		fmt.Fprintf(b, "| [%s](#%s) | %s | %s | %s | %s |\n", d.Name, d.Name, cell(d.Help), versions(d), refresh(d), onOff(d))
	}
	b.WriteString("\n")
}

func oneCollector(b *bytes.Buffer, d *definition.Definition) {
	fmt.Fprintf(b, "### %s\n\n%s\n\n", d.Name, d.Help)
	facts := []string{"PostgreSQL " + versions(d), "refresh " + refresh(d)}
	if d.Scope == definition.ScopeDatabase {
		facts = append(facts, "of each database")
	} else {
		facts = append(facts, "of the whole server")
	}
	if !d.Live() {
		facts = append(facts, "timeout "+short(d.Timeout))
	}
	switch {
	case d.TopOf != "":
		facts = append(facts, "rows as of "+d.TopOf)
	case d.Top > 0:
		facts = append(facts, fmt.Sprintf("at most %d rows of their own, `--collector.%s.top`", d.Top, d.Name))
	}
	if d.Requires.Role != "" {
		facts = append(facts, "only on a "+d.Requires.Role)
	}
	if d.Requires.Extension != "" {
		facts = append(facts, strings.TrimSpace("needs the extension "+d.Requires.Extension+" "+d.Requires.ExtensionVersion))
	}
	if d.Enabled {
		facts = append(facts, fmt.Sprintf("on by default (`--no-collector.%s`)", d.Name))
	} else {
		facts = append(facts, fmt.Sprintf("off by default (`--collector.%s`): %s", d.Name, d.OffReason))
	}
	fmt.Fprintf(b, "%s.\n\n", strings.Join(facts, "; "))
	var metrics []*metric.Desc
	since := map[string]string{}
	for _, m := range d.Metrics {
		is := m.Desc()
		if is.Name == "" {
			is.Name = m.NamePrefix + "*"
		}
		metrics = append(metrics, is)
		since[is.Name] = m.Versions.String()
	}
	table(b, metrics, since)
}

func table(b *bytes.Buffer, metrics []*metric.Desc, since map[string]string) {
	b.WriteString("| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n")
	for _, m := range metrics {
		labels := "`" + strings.Join(m.Labels, "`, `") + "`"
		if len(m.Labels) == 0 {
			labels = ""
		}
		help := m.Help
		if v := since[m.Name]; v != "" {
			help += " PostgreSQL " + v + "."
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", m.Name, m.Type, labels, cell(help))
	}
	b.WriteString("\n")
}

// versions is the union of the queries' ranges where it is one range, else each of them.
func versions(d *definition.Definition) string {
	ranges := make([]definition.Range, 0, len(d.Queries))
	for _, q := range d.Queries {
		ranges = append(ranges, q.Versions)
	}
	slices.SortFunc(ranges, func(a, b definition.Range) int { return cmp.Compare(a.Min, b.Min) })
	var joined []definition.Range
	for _, r := range ranges {
		if n := len(joined); n > 0 && joined[n-1].Max == r.Min && r.Min != 0 {
			joined[n-1].Max = r.Max
			continue
		}
		joined = append(joined, r)
	}
	texts := make(map[string]bool, len(joined))
	for _, r := range joined {
		texts[cmp.Or(r.String(), "all")] = true
	}
	return strings.Join(slices.Sorted(maps.Keys(texts)), ", ")
}

func refresh(d *definition.Definition) string {
	if d.Live() {
		return "live"
	}
	return short(d.Refresh)
}

// short is a duration as one writes it: 1m, not 1m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func onOff(d *definition.Definition) string {
	if d.Enabled {
		return "on"
	}
	return "off"
}

// cell is a text fit for a table's cell.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "*", `\*`, "<", "&lt;", "_", `\_`).Replace(s)
}

// anchor is what a heading's link is called.
func anchor(heading string) string {
	return strings.ReplaceAll(strings.ToLower(heading), " ", "-")
}
