//go:build !race

// The race detector allocates, too.

package definition

import (
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

// A row of two labels and three metrics costs a text, for the database is that of the row before, and the list that its samples share,
// and the list of samples grows. More than that is more garbage at each scrape.
func TestAllocationsOfRows(t *testing.T) {
	labels := []string{"datname", "relname"}
	metrics := []Metric{
		{Name: "rows", Column: "rows", Type: metric.Gauge, Help: "h", Labels: labels},
		{Name: "seq_total", Column: "seq", Type: metric.Counter, Help: "h", Labels: labels},
		{Name: "idx_total", Column: "idx", Type: metric.Counter, Help: "h", Labels: labels},
	}
	var fields []pgconn.FieldDescription
	for _, name := range []string{"datname", "relname", "rows", "seq", "idx"} {
		fields = append(fields, pgconn.FieldDescription{Name: name})
	}
	const rows = 1000
	var names [rows][]byte
	for i := range names {
		names[i] = []byte("table_" + strconv.Itoa(i))
	}
	database, value := []byte("shop"), []byte("123456")
	got := testing.AllocsPerRun(20, func() {
		d := NewDecoder(metrics, metric.RoomFor(3*rows))
		for _, name := range names {
			d.Row(fields, [][]byte{database, name, value, value, value})
		}
		if len(d.Samples()) != 3*rows || d.Malformed > 0 {
			t.Fatalf("%d samples: %v", len(d.Samples()), d.Err)
		}
	}) / rows
	t.Logf("%.3f allocations a row", got)
	if most := 2.03 * 1.1; got > most {
		t.Errorf("%.2f allocations a row, at most %.2f", got, most)
	}
}

// A reload compares each collector of each server of a fleet under its lock: for two thousand servers that took a minute.
func TestAllocationsOfAComparison(t *testing.T) {
	d := Definition{Name: "a", File: "f", Line: 1, Queries: []Query{{SQL: "SELECT 1", Line: 2}},
		Metrics: []Metric{{Name: "m", Column: "v", Help: "H.", Line: 3}}}
	o, moved, other := d, d, d
	moved.Line, moved.Queries = 7, []Query{{SQL: "SELECT 1", Line: 8}}
	other.Metrics = []Metric{{Name: "m", Column: "v", Help: "Other.", Line: 3}}
	if !d.Same(&o) || !d.Same(&moved) || d.Same(&other) {
		t.Errorf("itself %t, moved %t, another %t", d.Same(&o), d.Same(&moved), d.Same(&other))
	}
	if n := testing.AllocsPerRun(100, func() { d.Same(&o) }); n > 5 {
		t.Errorf("%g allocations", n)
	}
}
