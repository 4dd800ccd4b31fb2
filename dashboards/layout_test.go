package dashboards_test

import (
	"fmt"
	"testing"
)

const columns = 24

// Panels neither overlap nor leave holes, and their ids are unique: links and a test's reports name them.
func TestPanelsFillTheScreen(t *testing.T) {
	for name, b := range shipped(t) {
		ids := map[int]bool{}
		taken := map[[2]int]string{}
		height := 0
		for _, p := range b.Panels {
			where := fmt.Sprintf("%s: %d %q", name, p.ID, p.Title)
			if p.ID == 0 || ids[p.ID] {
				t.Errorf("%s: its id is not unique", where)
			}
			ids[p.ID] = true
			g := p.GridPos
			if g.X < 0 || g.W < 1 || g.H < 1 || g.X+g.W > columns {
				t.Errorf("%s lies outside of the grid: %+v", where, g)
			}
			// On a screen of 1600 px four columns are 260 px: less holds no number with its unit.
			if p.Type != "row" && g.W < 4 {
				t.Errorf("%s is too narrow: %d columns", where, g.W)
			}
			for x := g.X; x < g.X+g.W; x++ {
				for y := g.Y; y < g.Y+g.H; y++ {
					if other := taken[[2]int{x, y}]; other != "" {
						t.Fatalf("%s lies on %s", where, other)
					}
					taken[[2]int{x, y}] = where
				}
			}
			height = max(height, g.Y+g.H)
		}
		if len(taken) != columns*height {
			t.Errorf("%s: %d of %d cells are empty", name, columns*height-len(taken), columns*height)
		}
	}
}
