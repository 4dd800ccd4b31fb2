package definition

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

// FuzzRows: whatever a server answers, the samples of it are few, valid, and each of a metric that was asked for.
func FuzzRows(f *testing.F) {
	for _, seed := range []struct{ columns, values string }{
		{"v,l", "1|a"}, {"v,l,v", "1|a|2"}, {"l", "a"}, {"v,n,h,l", "t|size_bytes|Size.|x"}, {"v,n,h,l", "NaN|9 bad|\xff|\xfe"},
		{"v,l", strings.Repeat("9", 500) + "|" + strings.Repeat("l", 3000)}, {"", ""}, {"v,v,v", "1e999|0x1p4|1_0"}, {"v,n,l,h", "-Inf|" +
			strings.Repeat("n", 500) + "||"},
	} {
		f.Add(seed.columns, seed.values, 3)
	}
	metrics := []Metric{
		{Name: "fixed", Column: "v", Type: metric.Gauge, Help: "h", Labels: []string{"l"}},
		{Name: "single_total", Column: "v", Type: metric.Counter, Help: "h"},
		{NamePrefix: "made_", NameColumn: "n", HelpColumn: "h", Column: "v", Type: metric.Gauge, Help: "h", Labels: []string{"l"}},
	}
	f.Fuzz(func(t *testing.T, columns, values string, times int) {
		var fields []pgconn.FieldDescription
		var row [][]byte
		parts := strings.Split(values, "|")
		for i, name := range strings.Split(columns, ",") {
			fields = append(fields, pgconn.FieldDescription{Name: name})
			var value []byte
			if i < len(parts) && parts[i] != "NULL" {
				value = []byte(parts[i])
			}
			row = append(row, value)
		}
		const most = 5
		d := NewDecoder(metrics, metric.RoomFor(most))
		page := metric.NewPages().Page(metric.RoomFor(most))
		for range min(max(times, 0), 20) {
			d.Row(fields, row)
		}
		if len(d.Samples()) > most {
			t.Errorf("%d samples", len(d.Samples()))
		}
		if d.Malformed > 0 != (d.Err != nil) {
			t.Errorf("%d are malformed, and the error is %v", d.Malformed, d.Err)
		}
		for _, s := range d.Samples() {
			if s.Desc.Name != "fixed" && s.Desc.Name != "single_total" && !strings.HasPrefix(s.Desc.Name, "made_") {
				t.Errorf("a sample of %q", s.Desc.Name)
			}
			if !metricName.MatchString(s.Desc.Name) || len(s.Desc.Name) > nameLimit+len("made_") || !utf8.ValidString(s.Desc.Help) {
				t.Errorf("name %q, help %q", s.Desc.Name, s.Desc.Help)
			}
			for _, l := range s.Labels {
				if len(l) > labelLimit {
					t.Errorf("a label of %d bytes", len(l))
				}
			}
			page.Add(s)
		}
		for _, family := range page.List() { // what is no UTF-8 is made so by the page
			for _, m := range family.DTO().GetMetric() {
				for _, l := range m.GetLabel() {
					if !utf8.ValidString(l.GetValue()) || len(l.GetValue()) > 3*labelLimit {
						t.Errorf("label %s of %d bytes", l.GetName(), len(l.GetValue()))
					}
				}
			}
		}
	})
}

// FuzzDefinitions: whatever a user's file holds, it is read or refused with its name, and what is read can be validated.
func FuzzDefinitions(f *testing.F) {
	for _, pattern := range []string{"../metrics/*.yml", "testdata/good/*.yml", "testdata/bad/*.yml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatalf("no files %s: %v", pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		defs, err := Parse("file.yml", text)
		if err != nil {
			if !strings.Contains(err.Error(), "file.yml") {
				t.Errorf("no file in %v", err)
			}
			return
		}
		_ = Validate(defs, map[string]string{"pg_up": "the prober"})
		for i := range defs {
			d := &defs[i]
			for _, version := range []int{130000, 150003, 180000} {
				sql, ok := d.SQLFor(version)
				if ok && statements(sql) != 1 {
					t.Errorf("%d statements in %q", statements(sql), sql)
				}
				denied := map[string]bool{}
				for _, o := range d.OptionalFor(version) {
					denied[o.Function] = true
				}
				d.OptionalFor(version).Without(sql, denied)
				d.MetricsFor(version)
			}
		}
	})
}

// FuzzStatements: a text has as many statements as its parts, whatever stands in quotes and comments of either.
func FuzzStatements(f *testing.F) {
	for _, seed := range []string{
		"SELECT 1", "SELECT ';'", "SELECT $$;$$", "SELECT $a$;$b$;$a$", "-- ;", "/* ; /* ; */ ; */ SELECT 1", "SELECT E'\\';'", "SELECT \"a;b\"",
		"SELECT $1;", "'", "$$", "/*", "",
		"SELECT 'a''b;c'", ";;;", "e'\\", "SELECT 1; SELECT 2",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		n := statements(sql)
		if n < 0 || n > len(sql) {
			t.Fatalf("%d statements in %q", n, sql)
		}
		if n > 0 && strings.Trim(sql, " \t\r\n\f;") == "" {
			t.Errorf("%d statements in nothing: %q", n, sql)
		}
		if behind := statements("SELECT 1;\n" + sql); behind != n+1 {
			t.Errorf("%d statements in %q, and %d with one more before it", n, sql, behind)
		}
	})
}
