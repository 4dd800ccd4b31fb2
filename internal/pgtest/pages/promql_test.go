package pages

import (
	"reflect"
	"testing"
)

func TestSelectSeesWhatIsMissing(t *testing.T) {
	series := []map[string]string{{"kind": "crash"}, {"kind": "restart"}}
	for matchers, ok := range map[string]bool{
		``:                        true,
		`{kind="crash"}`:          true,
		`{kind=~"crash|restart"}`: true,
		`{kind!="crash"}`:         true,
		`{kind="crahs"}`:          false,
		`{kind=~"crash|oom"}`:     false,
		`{kin="crash"}`:           false,
		`{kin!="crash"}`:          false,
	} {
		if err := Select(series, matchers); (err == nil) != ok {
			t.Errorf("%s: %v", matchers, err)
		}
	}
}

func TestSelectorsAreFound(t *testing.T) {
	expr := `sum by (pg_label) (rate(pg_a_total{job=~"$job", x="up"}[$__rate_interval])) / on (up) pgr:b:c5m or up == 0`
	want := []Selector{{"pg_a_total", `{job=~"$job", x="up"}`, "$__rate_interval", "rate"}, {Metric: "pgr:b:c5m"}, {Metric: "up"}}
	if got := Selectors(expr); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	if got, want := Grouped(expr), []string{"pg_label", "up"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
	if got := (Selector{Matchers: `{job="a", kind!="b"}`}).Without("job").Matchers; got != `{kind!="b"}` {
		t.Error(got)
	}
}
