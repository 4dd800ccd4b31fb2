package job

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
)

// manifest makes one from "database: table=rows table=rows; database: ...". A table's name that ends in ~ is one that may go.
func manifest(id int, format int, text string) catalog.Manifest {
	m := catalog.Manifest{ID: fmt.Sprint(id), Format: format}
	for _, part := range strings.Split(text, ";") {
		name, tables, ok := strings.Cut(strings.TrimSpace(part), ":")
		if !ok {
			continue
		}
		d := catalog.Database{Name: name, Bytes: 1000}
		for _, f := range strings.Fields(tables) {
			var n int64
			table, rows, _ := strings.Cut(f, "=")
			if _, err := fmt.Sscan(rows, &n); err != nil {
				panic(err)
			}
			table, passing := strings.CutSuffix(table, "~")
			d.Contents.Tables = append(d.Contents.Tables, catalog.Table{Schema: "s", Name: table, Rows: n, Passing: passing})
		}
		m.Databases = append(m.Databases, d)
	}
	return m
}

func TestSuspicion(t *testing.T) {
	for name, tc := range map[string]struct {
		before []string // newest first
		now    string
		want   string // what the message holds; "" for no suspicion
	}{
		"the first backup":                   {nil, "a: t=1", ""},
		"as before":                          {[]string{"a: t=1000"}, "a: t=1000", ""},
		"half of the rows":                   {[]string{"a: t=1000"}, "a: t=400", "400 rows, the backup before had 1000"},
		"a database is gone":                 {[]string{"a: t=1000; b: t=1"}, "a: t=1000", "vanished database b"},
		"an empty database is gone":          {[]string{"a: t=1000; b:"}, "a: t=1000", "vanished database b"},
		"two databases are gone":             {[]string{"a: t=1000; b: t=1; c: t=1"}, "a: t=1000", "vanished databases b, c"},
		"the old one of a restore is gone":   {[]string{"a: t=1000; a_before_20261123T020000: t=900"}, "a: t=1000", ""},
		"a table is gone":                    {[]string{"a: t=1000 u=500"}, "a: t=1000", "a.s.u (gone, it had 500 rows)"},
		"a table is empty":                   {[]string{"a: t=1000 u=500"}, "a: t=1000 u=0", "a.s.u (empty, it had 500 rows)"},
		"a small table is gone":              {[]string{"a: t=1000 u=99"}, "a: t=1000", ""},
		"a partition is gone":                {[]string{"a: t=1000 u~=500"}, "a: t=1000", ""},
		"a new table is gone again":          {[]string{"a: t=1000 u=500", "a: t=1000"}, "a: t=1000", ""},
		"one of two nights is gone":          {[]string{"a: t=1000 u=500", "a: t=1000 u=500", "a: t=1000"}, "a: t=1000", "a.s.u (gone"},
		"a staging table is empty again":     {[]string{"a: t=1000 u=500", "a: t=1000 u=510", "a: t=1000 u=0"}, "a: t=1000 u=0", ""},
		"a table that comes and goes":        {[]string{"a: t=1000 u=500", "a: t=1000 u=500", "a: t=1000", "a: t=1000 u=500"}, "a: t=1000", ""},
		"a queue":                            {[]string{"a: t=90000 u=500", "a: t=90000 u=9000"}, "a: t=90000 u=0", ""},
		"a database that is new has no past": {[]string{"a: t=1000; b: u=500", "a: t=1000"}, "a: t=1000; b: u=0", "b.s.u (empty"},
	} {
		t.Run(name, func(t *testing.T) {
			var before []catalog.Manifest
			for i, text := range tc.before {
				before = append(before, manifest(100-i, 2, text))
			}
			s := Suspicion(manifest(101, 2, tc.now), before, 0.5)
			switch {
			case (s != nil) != (tc.want != ""):
				t.Fatalf("suspicion = %+v, want %q", s, tc.want)
			case s != nil && (!strings.Contains(s.Message, tc.want) || s.Reason == "" || s.Against != "100"):
				t.Errorf("suspicion = %+v, want %q", s, tc.want)
			}
			if got := Suspicion(manifest(101, 2, tc.now), before, 0); got != nil {
				t.Errorf("switched off: %+v", got)
			}
		})
	}
	// What could not be dumped tonight did not vanish.
	now := manifest(2, 2, "a: t=1000")
	now.Omitted = []catalog.Omission{{Kind: catalog.FailedDatabase, Database: "b"}}
	if s := Suspicion(now, []catalog.Manifest{manifest(1, 2, "a: t=1000; b: t=9000")}, 0.5); s != nil {
		t.Errorf("suspicion = %+v", s)
	}
	// In format 1 nobody noted which tables are partitions: the first night after an update says nothing of tables.
	if s := Suspicion(manifest(2, 2, "a: t=1000"), []catalog.Manifest{manifest(1, 1, "a: t=1000 day_1=500")}, 0.5); s != nil {
		t.Errorf("suspicion = %+v", s)
	}
}
