package manual

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kingpin/v2"

	"github.com/pg-reliability/pg_reliability_exporter/internal/dsn"
)

// Mistyped names the variables of an environment (NAME=VALUE) that no flag of a program has, and that differ from one by a letter or two:
// each as a sentence with the remedy, without its value. What else begins like the program's variables is nobody's mistake: Kubernetes
// makes such ones for a service of the program's name.
func Mistyped(app *kingpin.Application, environ []string) []string {
	m := app.Model()
	known := names(m.Flags)
	for _, c := range m.FlattenedCommands() {
		known = append(known, names(c.Flags)...)
	}
	prefix := strings.ToUpper(m.Name) + "_"
	var rests []string
	for _, k := range known {
		rests = append(rests, strings.TrimPrefix(k, prefix))
	}
	var out []string
	for _, line := range environ {
		name, value, _ := strings.Cut(line, "=")
		rest, ours := strings.CutPrefix(name, prefix)
		if !ours || value == "" || slices.Contains(known, name) {
			continue
		}
		if meant := dsn.Nearest(rest, rests); meant != "" {
			out = append(out, fmt.Sprintf("the variable %s is not used: no flag is called so. HINT: Is %s%s meant?", name, prefix, meant))
		}
	}
	return out
}

// names are the variables that flags have.
func names(flags []*kingpin.FlagModel) []string {
	var out []string
	for _, f := range flags {
		if f.Envar != "" {
			out = append(out, f.Envar)
		}
	}
	return out
}
