package definition

import (
	"strconv"
	"strings"
	"sync"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

// made is what is made of a definition once for all servers that are alike. It is safe for concurrent use. What it holds is bounded, since
// some of it depends on what servers say.
type made struct {
	mu      sync.Mutex
	sql     map[statementKey]string
	texts   map[string]string   // of statements for an extension's schema or without functions, each to itself
	metrics map[string][]Metric // by which of the definition's there are
}

type statementKey struct{ query, top int }

const (
	// mostMade bounds the statements of one definition.
	mostMade = 64
	// mostNamed bounds the metrics whose names come from a column and that are shared, longestNamed their text in bytes.
	mostNamed, longestNamed = 2000, 500
)

// share has what is made of the definitions kept for all servers. It is called when they are complete.
func share(defs []Definition) {
	for i := range defs {
		defs[i].made = &made{sql: map[statementKey]string{}, texts: map[string]string{}, metrics: map[string][]Metric{}}
	}
}

// statement is a query's text with its limit.
func (d *Definition) statement(query, top int) string {
	if d.made == nil {
		return d.write(query, top)
	}
	d.made.mu.Lock()
	defer d.made.mu.Unlock()
	key := statementKey{query, top}
	sql, ok := d.made.sql[key]
	if !ok {
		if len(d.made.sql) >= mostMade {
			clear(d.made.sql)
		}
		sql = d.write(query, top)
		d.made.sql[key] = sql
	}
	return sql
}

func (d *Definition) write(query, top int) string {
	conditions := d.conditions
	if conditions == nil {
		conditions = Hidden{}.conditions()
	}
	return strings.NewReplacer(append([]string{topPlaceholder, strconv.Itoa(top)}, conditions...)...).Replace(d.Queries[query].SQL)
}

// Shared is a statement's text, in the memory that all servers with the same one share.
func (d *Definition) Shared(sql string) string {
	if d.made == nil {
		return sql
	}
	d.made.mu.Lock()
	defer d.made.mu.Unlock()
	if known, ok := d.made.texts[sql]; ok {
		return known
	}
	if len(d.made.texts) >= mostMade {
		clear(d.made.texts)
	}
	d.made.texts[sql] = sql
	return sql
}

// metricsFor is MetricsFor, made once for versions that have the same metrics.
func (m *made) metricsFor(all []Metric, version int) []Metric {
	which := make([]byte, len(all))
	for i := range all {
		if all[i].Versions.Contains(version) {
			which[i] = 1
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	out, ok := m.metrics[string(which)]
	if !ok {
		for i, there := range which {
			if there == 1 {
				one := all[i]
				one.shared = &shared{desc: all[i].Desc(), named: map[named]*metric.Desc{}}
				out = append(out, one)
			}
		}
		m.metrics[string(which)] = out
	}
	return out
}

// shared is what describes a metric of all servers.
type shared struct {
	desc *metric.Desc

	mu    sync.Mutex
	named map[named]*metric.Desc
}

// named is a name that stands in a column, and its help.
type named struct{ name, help string }

// desc describes a metric with a fixed name.
func (m *Metric) desc() *metric.Desc {
	if m.shared == nil {
		return m.Desc()
	}
	return m.shared.desc
}

// descOf describes a metric whose name stands in a column.
func (m *Metric) descOf(n named) *metric.Desc {
	desc := m.Desc()
	desc.Name, desc.Help = n.name, n.help
	if m.shared == nil || len(n.name)+len(n.help) > longestNamed {
		return desc
	}
	m.shared.mu.Lock()
	defer m.shared.mu.Unlock()
	if known, ok := m.shared.named[n]; ok {
		return known
	}
	if len(m.shared.named) < mostNamed {
		m.shared.named[n] = desc
	}
	return desc
}
