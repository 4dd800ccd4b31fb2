package dashboards

import (
	"bytes"
	"encoding/json"
	"fmt"
)

const (
	uidPrefix = "pgr-"
	// tag joins the boards: each links to all that have it.
	tag = "pg_reliability"
	// schemaVersion is Grafana 9.4's; newer ones migrate it when they load it.
	schemaVersion = 37
	gridWidth     = 24
)

// board is one dashboard, which answers one question.
type board struct {
	uid, title string
	about      string   // the question
	known      string   // the metric whose jobs, clusters and instances can be chosen
	more       []object // further variables
	rows       []row
}

// row is a headline with lines of panels beneath.
type row struct {
	title string
	lines []line
}

// line is panels side by side, as wide as the screen together.
type line struct {
	height int
	panels []*panel
}

func section(title string, lines ...line) row { return row{title, lines} }

func across(height int, panels ...*panel) line { return line{height, panels} }

// json is the board as Grafana reads it.
func (b board) json() ([]byte, error) {
	panels, err := b.panels()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(object{
		"uid": b.uid, "title": "PostgreSQL: " + b.title, "description": b.about, "tags": []string{tag, "postgresql"},
		"schemaVersion": schemaVersion, "version": 1, "id": nil, "editable": true, "graphTooltip": 1, "timezone": "browser", "weekStart": "",
		"refresh": "30s", "time": object{"from": "now-6h", "to": "now"}, "timepicker": object{},
		"fiscalYearStartMonth": 0, "liveNow": false, "style": "dark",
		"templating": object{"list": b.variables()}, "annotations": object{"list": annotations(b.uid)},
		"links": []object{{
			"type": "dashboards", "tags": []string{tag}, "title": "Boards", "asDropdown": false, "includeVars": true, "keepTime": true,
			"targetBlank": false, "icon": "external link", "tooltip": "", "url": "",
		}},
		"panels": panels,
	}); err != nil {
		return nil, fmt.Errorf("write JSON: %w", err)
	}
	return out.Bytes(), nil
}

// panels lays rows and lines out from top to bottom.
func (b board) panels() ([]object, error) {
	var all []object
	id, y := 0, 0
	next := func() int { id++; return id }
	for _, r := range b.rows {
		all = append(all, object{
			"id": next(), "type": "row", "title": r.title, "collapsed": false, "panels": []object{},
			"gridPos": object{"x": 0, "y": y, "w": gridWidth, "h": 1},
		})
		y++
		for _, l := range r.lines {
			widths, err := l.widths()
			if err != nil {
				return nil, fmt.Errorf("the row %q: %w", r.title, err)
			}
			x := 0
			for i, p := range l.panels {
				all = append(all, p.object(next(), x, y, widths[i], l.height))
				x += widths[i]
			}
			y += l.height
		}
	}
	return all, nil
}

// widths of the panels; those that don't say share what is left.
func (l line) widths() ([]int, error) {
	left, sharing := gridWidth, 0
	for _, p := range l.panels {
		if left -= p.width; p.width == 0 {
			sharing++
		}
	}
	if sharing == 0 && left != 0 || sharing > 0 && (left <= 0 || left%sharing != 0) {
		return nil, fmt.Errorf("the line of %q leaves %d of %d columns to %d panels, which share them equally. "+
			"HINT: Give panels a width of their own with .wide(n), or move one to another line", l.panels[0].title, left, gridWidth, sharing)
	}
	all := make([]int, len(l.panels))
	for i, p := range l.panels {
		if all[i] = p.width; p.width == 0 {
			all[i] = left / sharing
		}
	}
	return all, nil
}
