package definition

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// topPlaceholder stands in a query for how many rows it may return at the most.
const topPlaceholder = "@top@"

// SQLWithTop is SQLFor with another limit than the collector's own.
func (d *Definition) SQLWithTop(version, top int) (string, bool) {
	for i := range d.Queries {
		if d.Queries[i].Versions.Contains(version) {
			return d.statement(i, top), true
		}
	}
	return "", false
}

// MostTop is the largest Top.
const MostTop = 100_000

// SetTops gives the collectors that are named other limits, and to those with TopOf the limit of the collector they name.
func SetTops(defs []Definition, tops map[string]int) error {
	byName := map[string]int{}
	for i := range defs {
		if top, ok := tops[defs[i].Name]; ok && defs[i].TopOf == "" {
			defs[i].Top = top
		}
		byName[defs[i].Name] = defs[i].Top
	}
	for i := range defs {
		d := &defs[i]
		if d.TopOf == "" {
			continue
		}
		if d.Top = byName[d.TopOf]; d.Top == 0 {
			return &FileError{File: d.File, Line: d.Line, What: fmt.Sprintf("top_of: %s names no collector with a top", d.TopOf),
				Hint: "Name one of the same directory that has \"top: \", or write a top of its own."}
		}
	}
	return nil
}

// top reads a collector's limit, and checks it against the queries.
func (r *reader) top(n *yaml.Node, d *Definition, f map[string]*yaml.Node) {
	uses := false
	for _, q := range d.Queries {
		uses = uses || strings.Contains(q.SQL, topPlaceholder)
	}
	if v := f["top"]; v != nil {
		most, err := strconv.Atoi(r.Text(v, "top"))
		if err != nil || most < 1 || most > MostTop {
			r.Fail(v, fmt.Sprintf("top %q is no number of rows", v.Value), fmt.Sprintf("Choose 1 to %d.", MostTop))
		}
		d.Top = most
	}
	if v := f["top_of"]; v != nil {
		d.TopOf = r.Text(v, "top_of")
	}
	has := f["top"] != nil || f["top_of"] != nil
	switch {
	case f["top"] != nil && f["top_of"] != nil:
		r.Fail(f["top_of"], "a collector with top and top_of", "Remove one of the two.")
	case has && !uses:
		r.Fail(n, "top without "+topPlaceholder+" in a query", "Write it behind LIMIT, where the number goes.")
	case uses && !has:
		r.Fail(n, topPlaceholder+" in a query of a collector without top", "Add \"top: \" with a number of rows.")
	}
}

// perDatabase checks a collector that runs in each database: its series must not meet those of the others.
func (r *reader) perDatabase(n *yaml.Node, d *Definition) {
	if d.Live() {
		r.Fail(n, "scope: database with refresh: live", "Give refresh a duration: no scrape visits other databases.")
	}
	for _, m := range d.Metrics {
		if !slices.Contains(m.Labels, "datname") {
			r.Fail(&yaml.Node{Line: m.Line}, "a metric of each database without the label datname",
				"Add it to the labels, and \"current_database() AS datname\" to the query.")
		}
	}
}
