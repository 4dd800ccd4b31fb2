package dashboards_test

import (
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/painted"
)

const unknownColour = painted.Unknown

// What a board shows of a fault has the colour of a fault, and what is unknown is grey: never green. Each case of a panel with one number
// says its colour, so that a new one has to.
func TestColourOfEachFault(t *testing.T) {
	boards := uids(t)
	n := 0
	for _, tc := range several {
		for _, p := range boards[tc.board].Panels {
			if p.Title != tc.panel || p.Type != "stat" || len(tc.want) != 1 {
				continue
			}
			n++
			got, err := p.FieldConfig.Colour(tc.refID, tc.want[0].Value)
			if err != nil || got != tc.colour {
				t.Errorf("%s: %s shows %v in %q, want %q (%v)", tc.name, tc.panel, tc.want[0].Value, got, tc.colour, err)
			}
		}
	}
	if n < 25 {
		t.Errorf("only %d cases have a colour", n)
	}
}
