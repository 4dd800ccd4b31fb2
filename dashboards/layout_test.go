package dashboards_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"regexp"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/dashboards"
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

// Grafana puts a column whose place is no whole number at the end, where a phone does not show it.
func TestColumnsHaveWholePlaces(t *testing.T) {
	files, err := dashboards.Files(config(t))
	if err != nil {
		t.Fatal(err)
	}
	tables := 0
	for name, text := range files {
		var b struct {
			Panels []struct {
				Title           string
				Transformations []struct {
					Options struct{ IndexByName map[string]float64 }
				}
			}
		}
		if err := json.Unmarshal(text, &b); err != nil {
			t.Fatal(err)
		}
		for _, p := range b.Panels {
			for _, tr := range p.Transformations {
				for column, place := range tr.Options.IndexByName {
					tables++
					if place != math.Trunc(place) {
						t.Errorf("%s: %q: the column %s has the place %v", name, p.Title, column, place)
					}
				}
				if at, ok := tr.Options.IndexByName["Value #A"]; ok && name == "fleet.json" && at != 1 {
					t.Errorf("the fleet's State has the place %v, not the one beside its name", at)
				}
			}
		}
	}
	if tables == 0 {
		t.Error("no table has columns")
	}
}

// TestLabelsInTablesAreText: a version, a database or a query id that looks like a number is shown as it is, and not rounded.
func TestLabelsInTablesAreText(t *testing.T) {
	data, err := os.ReadFile("settings.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title       string
			FieldConfig struct {
				Overrides []struct {
					Matcher    struct{ ID, Options string }
					Properties []struct {
						ID    string
						Value any
					}
				}
			}
		}
	}
	if err := json.Unmarshal(data, &board); err != nil {
		t.Fatal(err)
	}
	for _, p := range board.Panels {
		if p.Title != "Servers" {
			continue
		}
		o := p.FieldConfig.Overrides[0]
		if !regexp.MustCompile("^"+o.Matcher.Options+"$").MatchString("Version") || o.Properties[0].ID != "unit" ||
			o.Properties[0].Value != "string" {
			t.Errorf("the column of versions is %+v", o)
		}
		return
	}
	t.Error("there is no table of servers")
}
