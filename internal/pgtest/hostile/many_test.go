package hostile_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/hostile"
)

// Many targets that each have as many samples as one may have are cut together to what the process may have, and those that have few
// are not cut for them. PG_RELIABILITY_HOSTILE=all tries it with twenty.
func TestManyLargeTargetsShareWhatTheProcessMayHave(t *testing.T) {
	const (
		large = 20
		limit = 128 << 20 // what compose gives the exporter
	)
	if os.Getenv("PG_RELIABILITY_HOSTILE") != "all" {
		t.Skip("takes a minute, and collector has a quick one. HINT: Set PG_RELIABILITY_HOSTILE=all")
	}
	columns, err := columnsOfCollectors()
	if err != nil {
		t.Fatal(err)
	}
	var servers []*hostile.Server
	for range large {
		servers = append(servers, hostile.New(t, columns))
	}
	e := launch(t, servers, fmt.Sprintf("GOMEMLIMIT=%d", limit/10*9))
	before := e.goodPages(t)
	e.resetPeak(t)
	for _, f := range hostile.Faults() {
		if f.Name == "query: 40,000 rows for everything" {
			for _, s := range servers {
				s.Be(f)
			}
		}
	}
	cut := func(page string) bool { return strings.Contains(page, `reason="no_memory"`) }
	for i := range large {
		pgtest.Eventually(t, time.Minute, func() error {
			if page := e.page(t, nameOf(i)); !cut(page) && !strings.Contains(page, `reason="too_many"`) {
				return errors.New("it has not sent too much yet")
			}
			return nil
		})
	}
	for i := range large { // now all have what they may
		if !cut(e.page(t, nameOf(i))) {
			t.Errorf("%s does not say that it was cut for the process's sake", nameOf(i))
		}
	}
	peak := e.peak(t)
	t.Logf("the exporter used %d MB", peak>>20)
	if peak > limit {
		t.Errorf("the exporter used %d MB, and may have %d", peak>>20, limit>>20)
	}
	for i, page := range e.goodPages(t) {
		if cut(page.text) {
			t.Errorf("good-%d was cut", i)
		}
		if now, then := strings.Count(page.text, "\n"), strings.Count(before[i].text, "\n"); now < then/10*9 {
			t.Errorf("the page of good-%d has %d lines, and had %d", i, now, then)
		}
	}
}
