package catalog

import (
	"strings"
	"testing"
)

// A manifest that our own reader refuses was published: no later run pruned or made anything.
func TestNoManifestIsWrittenThatIsNotReadAgain(t *testing.T) {
	var r Room
	if err := r.Take(Database{Name: "small"}); err != nil || r.taken == 0 {
		t.Errorf("%v, %d taken", err, r.taken)
	}
	if err := r.take(mostOfDatabase + 1); err == nil || !strings.Contains(err.Error(), "HINT") {
		t.Errorf("a database larger than its part: %v", err)
	}
	n := 0
	for ; r.take(mostOfDatabase) == nil && n < 10; n++ {
	}
	if n != 2 || r.take(1000) != nil {
		t.Errorf("%d large databases have room", n)
	}
	if readable(maxText) != nil || readable(maxText+1) == nil || mostOfDatabases >= maxText {
		t.Error("the bound is not the reader's")
	}
}

func TestWhatIsOmittedIsBounded(t *testing.T) {
	var m Manifest
	for range 3 * mostOmitted {
		m.Omit(Omission{Kind: ChangedTable, Database: "a", Name: strings.Repeat("n", 3*mostSaid), Why: strings.Repeat("é", 3*mostSaid)})
	}
	m.Omit(Omission{Kind: FailedDatabase, Database: "b", Why: "x"})
	if len(m.Omitted) != mostOmitted+2 || !m.Lacks("b") || !m.Incomplete {
		t.Errorf("%d are named", len(m.Omitted))
	}
	if o := m.Omitted[mostOmitted]; o.Name != "more of the kind" || len(o.Why) > 100 {
		t.Errorf("the last is %+v", o)
	}
	if s := m.Omitted[0].String(); len(s) > 3*mostSaid || strings.Contains(s, "\uFFFD") {
		t.Errorf("%d bytes", len(s))
	}
}
