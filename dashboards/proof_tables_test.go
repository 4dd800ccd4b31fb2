package dashboards_test

import (
	"slices"
	"testing"
	"time"
)

// columns asks what Grafana gets wrong by itself: where one column of a table has data alone, it is called "Value", which is
// the first one's name. So where any has data, the first must, also in a span so short that nothing happened in it.
func (b proofBoard) columns(t *testing.T, p *proofPrometheus) {
	t.Helper()
	builtin := builtins(2*time.Second, proofScrape)
	choices, err := b.choices(p, builtin)
	if err != nil {
		t.Fatal(err)
	}
	for _, panel := range b.flat() {
		if panel.Type != "table" {
			continue
		}
		var have []bool
		asOf := time.Now().Add(-proofScrape) // for all columns, as Grafana asks: what is being scraped just now is in none
		for _, target := range panel.Targets {
			expr, err := choices[0].interpolate(target.Expr, builtin)
			if err != nil {
				t.Fatal(err)
			}
			found, err := p.at(asOf, expr)
			if err != nil {
				t.Errorf("%s / %s / %s: %v", b.UID, panel.Title, target.RefID, err)
			}
			have = append(have, hasData(found))
		}
		if !have[0] && slices.Contains(have, true) {
			t.Errorf("%s / %s: the first column has no data while others have: %v", b.UID, panel.Title, have)
		}
	}
}

// listed says that the outage that goes on is on Overview's list, without an end.
func (b proofBoard) listed(t *testing.T, p *proofPrometheus, instance string) {
	t.Helper()
	builtin := builtins(proofSpan, proofScrape)
	choices, err := b.choices(p, builtin)
	if err != nil {
		t.Fatal(err)
	}
	for _, panel := range b.flat() {
		if panel.Title != "Outages" {
			continue
		}
		for i, want := range []int{1, 0, 1} { // began, ended, lasted: one value in all of the span, so that it is one row
			expr, err := choices[0].interpolate(panel.Targets[i].Expr, builtin)
			if err != nil {
				t.Fatal(err)
			}
			found, err := p.span(expr, proofSpan, proofScrape)
			if err != nil {
				t.Fatal(err)
			}
			values := map[any]bool{}
			for _, s := range found {
				for _, v := range s.Values {
					if s.Metric["instance"] == instance {
						values[v[1]] = true
					}
				}
			}
			if len(values) != want {
				t.Errorf("column %d of the outage of %s has %d values, want %d: %v", i, instance, len(values), want, values)
			}
		}
		return
	}
	t.Errorf("%s has no table Outages", b.UID)
}
