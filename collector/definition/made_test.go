package definition

import (
	"fmt"
	"testing"
	"unsafe"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

// Servers that are alike share statements and what describes their metrics; what differs is told apart, and none of it grows without bound.
func TestServersShareWhatIsMade(t *testing.T) {
	defs, err := Parse("shop.yml", []byte(`
- name: shop
  help: Help.
  top: 5
  refresh: 1m
  queries:
    - versions: "<16"
      sql: SELECT 1 AS v, 'a' AS name, 'b' AS about FROM pg_namespace AS n WHERE @schemas@ LIMIT @top@
    - versions: ">=16"
      sql: SELECT 2 AS v, 'a' AS name, 'b' AS about FROM pg_namespace AS n WHERE @schemas@ LIMIT @top@
  metrics:
    - {name: shop_old, column: v, type: gauge, help: H., versions: "<16"}
    - {name: shop_v, column: v, type: gauge, help: H.}
    - {name_prefix: shop_s_, name_column: name, help_column: about, column: v, type: gauge, help: Settings.}
`))
	if err != nil {
		t.Fatal(err)
	}
	Hide(defs, Hidden{Schemas: []string{"x"}})
	d := &defs[0]
	sql := func(version, top int) string {
		s, ok := d.SQLWithTop(version, top)
		if !ok {
			t.Fatalf("no statement for %d", version)
		}
		return s
	}
	bare := *d
	bare.made = nil
	for _, version := range []int{150000, 150001, 160000} {
		for top := range 3 * mostMade {
			want, _ := bare.SQLWithTop(version, top)
			if got := sql(version, top); got != want {
				t.Fatalf("%s, want %s", got, want)
			}
			once, again := sql(version, top), sql(version, top)
			if unsafe.StringData(once) != unsafe.StringData(again) {
				t.Fatal("a statement was made twice")
			}
			if s := fmt.Sprint(want, top); d.Shared(s) != s {
				t.Fatal("another text")
			}
		}
		if got, want := len(d.MetricsFor(version)), len(bare.MetricsFor(version)); got != want {
			t.Errorf("version %d has %d metrics, want %d", version, got, want)
		}
	}
	if n := len(d.made.sql); n > mostMade {
		t.Errorf("%d statements are kept", n)
	}
	if n := len(d.made.texts); n > mostMade {
		t.Errorf("%d texts are kept", n)
	}
	if n := len(d.made.metrics); n != 2 {
		t.Errorf("%d lists of metrics, want 2: for servers before 16 and others", n)
	}

	decode := func(version int, name, about string) []metric.Sample {
		dec := NewDecoder(d.MetricsFor(version), metric.RoomFor(100))
		dec.Row([]pgconn.FieldDescription{{Name: "v"}, {Name: "name"}, {Name: "about"}}, [][]byte{[]byte("1"), []byte(name), []byte(about)})
		if dec.Err != nil {
			t.Fatal(dec.Err)
		}
		return dec.Samples()
	}
	one, other := decode(160000, "a", "A."), decode(160001, "a", "A.")
	for i := range one {
		if one[i].Desc != other[i].Desc {
			t.Errorf("%s is described twice", one[i].Desc.Name)
		}
	}
	if s := decode(160000, "a", "B."); s[1].Desc == one[1].Desc || s[1].Desc.Help != "B." || one[1].Desc.Help != "A." {
		t.Errorf("another help: %+v beside %+v", s[1].Desc, one[1].Desc)
	}
	for i := range 2 * mostNamed {
		name := fmt.Sprint("n", i)
		if s := decode(160000, name, ""); s[1].Desc.Name != "shop_s_"+name {
			t.Fatalf("%s, want %s", s[1].Desc.Name, name)
		}
	}
	if n := len(d.MetricsFor(160000)[1].shared.named); n > mostNamed {
		t.Errorf("%d names are kept", n)
	}
	if !d.Same(&bare) {
		t.Error("it says the same with what was made of it and without")
	}
}

// A label that is as in the row before is the same text, and one that differs is its own, whatever buffer the rows are in.
func TestLabelsOfRows(t *testing.T) {
	d := NewDecoder([]Metric{{Name: "v", Column: "v", Type: metric.Gauge, Labels: []string{"db", "t"}}}, metric.RoomFor(100))
	buffer := make([]byte, 4)
	want := []string{"aaaa bbbb", "aaaa aaaa", " aaaa", "bbbb "}
	for _, row := range [][2]string{{"aaaa", "bbbb"}, {"aaaa", "aaaa"}, {"", "aaaa"}, {"bbbb", ""}} {
		first := append(buffer[:0], row[0]...)
		second := []byte(row[1])
		if row[0] == "" {
			first = nil
		}
		d.Row([]pgconn.FieldDescription{{Name: "v"}, {Name: "db"}, {Name: "t"}}, [][]byte{[]byte("1"), first, second})
	}
	for i, s := range d.Samples() {
		if got := s.Labels[0] + " " + s.Labels[1]; got != want[i] {
			t.Errorf("row %d: %q, want %q", i, got, want[i])
		}
	}
}
