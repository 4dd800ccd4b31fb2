package sqltext_test

import (
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/sqltext"
)

func TestTextsAreKeptUpToABound(t *testing.T) {
	var texts sqltext.Texts
	for _, tc := range []struct {
		of    string
		bytes int64
		want  bool
	}{
		{"a", sqltext.MostBytes, true}, {"a", sqltext.MostBytes, true}, {"a", 1, false},
		{"b", sqltext.MostBytes + 1, false}, {"b", 1, true},
	} {
		if got := texts.Keep(tc.of, tc.bytes); got != tc.want {
			t.Errorf("%d bytes of %s are kept: %t", tc.bytes, tc.of, got)
		}
	}
	kept := 0
	for range 10_000 {
		if texts.Keep("many", 1) {
			kept++
		}
	}
	if kept != 1000 {
		t.Errorf("%d small texts of one are kept", kept)
	}
	for i := range 1000 {
		texts.Keep(string(rune('A'+i)), sqltext.MostBytes)
	}
	if texts.Keep("the last", sqltext.MostBytes) || !texts.Keep("the last", 1000) {
		t.Error("all together have no bound, or a small one is not kept")
	}
}
