package contents

import (
	"fmt"
	"maps"
	"slices"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
)

// Compare lists how a restored database differs from what its backup's manifest says, one sentence
// each, in a fixed order. Empty means equal. Contents that are not Exact say what must be there, not
// that nothing else may be. Rows that were not counted, and kinds of objects that the manifest's version did not count,
// are not compared, and neither are those in without.
func Compare(want, got catalog.Contents, without ...string) []string {
	if !want.Exact {
		return missing(want, got)
	}
	var d []string
	d = append(d, compareTables(want, got)...)
	d = append(d, compareSequences(want, got)...)
	d = append(d, compareKept(want, got)...)
	if want.SchemaChanged {
		return d
	}
	d = append(d, compareNames("index", want.Indexes, got.Indexes)...)
	d = append(d, compareNames("constraint", want.Constraints, got.Constraints)...)
	d = append(d, compareNames("extension", extensions(want), withoutTemplates(want, extensions(got)))...)
	for _, kind := range slices.Sorted(maps.Keys(union(want.Objects, got.Objects))) {
		if !counted(want.Kinds, kind) || slices.Contains(without, kind) {
			continue
		}
		if w, g := want.Objects[kind], got.Objects[kind]; w != g {
			d = append(d, fmt.Sprintf("%d %s, the backup's server had %d", g, kind, w))
		}
	}
	return d
}

// missing is Compare without what is there in addition.
func missing(want, got catalog.Contents) []string {
	var d []string
	tables, sequences := map[[2]string]bool{}, map[[2]string]bool{}
	for _, t := range got.Tables {
		tables[[2]string{t.Schema, t.Name}] = true
	}
	for _, s := range got.Sequences {
		sequences[[2]string{s.Schema, s.Name}] = true
	}
	for _, t := range want.Tables {
		if !tables[[2]string{t.Schema, t.Name}] {
			d = append(d, fmt.Sprintf("table %s.%s is missing", t.Schema, t.Name))
		}
	}
	for _, s := range want.Sequences {
		if !sequences[[2]string{s.Schema, s.Name}] {
			d = append(d, fmt.Sprintf("sequence %s.%s is missing", s.Schema, s.Name))
		}
	}
	for _, name := range want.Indexes {
		if !slices.Contains(got.Indexes, name) {
			d = append(d, fmt.Sprintf("index %s is missing", name))
		}
	}
	return d
}

func compareTables(want, got catalog.Contents) []string {
	var d []string
	have := map[[2]string]int64{}
	for _, t := range got.Tables {
		have[[2]string{t.Schema, t.Name}] = t.Rows
	}
	for _, t := range want.Tables {
		rows, ok := have[[2]string{t.Schema, t.Name}]
		switch {
		case !ok:
			d = append(d, fmt.Sprintf("table %s.%s is missing", t.Schema, t.Name))
		case want.Exact && !t.Uncounted && rows != t.Rows:
			d = append(d, fmt.Sprintf("table %s.%s has %d rows, the backup's server had %d", t.Schema, t.Name, rows, t.Rows))
		}
		delete(have, [2]string{t.Schema, t.Name})
	}
	for _, t := range got.Tables {
		if _, extra := have[[2]string{t.Schema, t.Name}]; extra {
			d = append(d, fmt.Sprintf("table %s.%s was not in the backup's server", t.Schema, t.Name))
		}
	}
	return d
}

// compareSequences allows a later value than the manifest's, and any of a sequence that moved: see catalog.Sequence.
func compareSequences(want, got catalog.Contents) []string {
	var d []string
	have := map[[2]string]catalog.Sequence{}
	for _, s := range got.Sequences {
		have[[2]string{s.Schema, s.Name}] = s
	}
	for _, w := range want.Sequences {
		g, ok := have[[2]string{w.Schema, w.Name}]
		behind := w.Increment > 0 && g.Last < w.Last || w.Increment < 0 && g.Last > w.Last ||
			g.Last == w.Last && w.Called && !g.Called
		switch {
		case !ok:
			d = append(d, fmt.Sprintf("sequence %s.%s is missing", w.Schema, w.Name))
		case want.Exact && !w.Cycles && !w.Moved && behind:
			d = append(d, fmt.Sprintf("sequence %s.%s stands at %d, the backup's server had %d", w.Schema, w.Name, g.Last, w.Last))
		}
		delete(have, [2]string{w.Schema, w.Name})
	}
	for _, s := range got.Sequences {
		if _, extra := have[[2]string{s.Schema, s.Name}]; extra {
			d = append(d, fmt.Sprintf("sequence %s.%s was not in the backup's server", s.Schema, s.Name))
		}
	}
	return d
}

func compareNames(kind string, want, got []string) []string {
	var d []string
	left := map[string]int{}
	for _, n := range got {
		left[n]++
	}
	for _, n := range want {
		if left[n] == 0 {
			d = append(d, fmt.Sprintf("%s %s is missing", kind, n))
			continue
		}
		left[n]--
	}
	for _, n := range slices.Sorted(maps.Keys(left)) {
		if left[n] > 0 {
			d = append(d, fmt.Sprintf("%s %s was not in the backup's server", kind, n))
		}
	}
	return d
}

// extensions are compared by name: a dump does not pin versions, the server that restores has its own.
func extensions(c catalog.Contents) []string {
	var names []string
	for _, e := range c.Extensions {
		names = append(names, e.Name)
	}
	return names
}

// withoutTemplates leaves out plpgsql where the backup's database had none: template0 has it, and so each database that is restored.
func withoutTemplates(want catalog.Contents, names []string) []string {
	const ofTemplate0 = "plpgsql"
	if slices.Contains(extensions(want), ofTemplate0) {
		return names
	}
	return slices.DeleteFunc(names, func(n string) bool { return n == ofTemplate0 })
}

func union(a, b map[string]int64) map[string]int64 {
	u := maps.Clone(a)
	if u == nil {
		u = map[string]int64{}
	}
	maps.Copy(u, b)
	return u
}
