package manual

import (
	"strings"

	"github.com/alecthomas/kingpin/v2"
)

// Group is a part of --help: flags that are about one thing, below a title of their own.
type Group struct {
	Title string
	// Flags are names, or their beginnings up to a dot: "probe" is --probe.interval and --probe.write, too. Where several groups hold a
	// flag, the longest beginning has it.
	Flags []string
	// Brief, unless empty, is what --help says instead of listing the group's flags; --help-long and the man page list them.
	Brief string
}

// Apply makes an application's help and man page ours.
func Apply(app *kingpin.Application, p Page) {
	app.UsageFuncs(funcs(p)).UsageTemplate(usage)
}

// section is a group with the flags of one command line.
type section struct {
	Title, Brief string
	Flags        []*kingpin.FlagModel
}

// others is the title of flags that are in no group.
const others = "Flags"

// sections sorts flags into the groups, in the groups' order; what is in none comes first. Hidden flags are left out, and so are groups
// without a flag.
func sections(groups []Group, flags []*kingpin.FlagModel) []section {
	out := make([]section, len(groups)+1)
	out[0].Title = others
	for i, g := range groups {
		out[i+1].Title, out[i+1].Brief = g.Title, g.Brief
	}
	for _, f := range flags {
		if !f.Hidden {
			i := groupOf(groups, f.Name)
			out[i].Flags = append(out[i].Flags, f)
		}
	}
	kept := out[:0]
	for _, s := range out {
		if len(s.Flags) > 0 {
			kept = append(kept, s)
		}
	}
	return kept
}

// groupOf is the number of a flag's group, from 1, or 0.
func groupOf(groups []Group, flag string) int {
	group, longest := 0, 0
	for i, g := range groups {
		for _, begin := range g.Flags {
			if len(begin) > longest && (flag == begin || strings.HasPrefix(flag, begin+".")) {
				group, longest = i+1, len(begin)
			}
		}
	}
	return group
}

// rows are what kingpin makes columns of: a flag as it is typed, and what it means. The variable's name is left out, as it follows from
// the flag's and the help's first lines say how.
func (p Page) rows(flags []*kingpin.FlagModel) [][2]string {
	var out [][2]string
	for _, f := range flags {
		if f.Hidden {
			continue
		}
		typed := p.typedAs(f)
		if v, ok := f.Value.(interface{ IsCumulative() bool }); ok && v.IsCumulative() {
			typed += " ..."
		}
		out = append(out, [2]string{typed, f.Help})
	}
	return out
}

// usage takes the place of kingpin.DefaultUsageTemplate, behind --help: the flags come in groups.
const usage = `{{define "FormatCommand" -}}
{{if .FlagSummary}} {{.FlagSummary}}{{end -}}
{{range .Args}}{{if not .Hidden}} {{if not .Required}}[{{end}}<{{.Name}}>{{if not .Required}}]{{end}}{{end}}{{end -}}
{{end -}}

{{define "FormatCommands" -}}
{{range .FlattenedCommands -}}
{{if not .Hidden -}}
  {{.FullCommand}}{{template "FormatCommand" .}}
{{.Help|Wrap 4}}
{{end -}}
{{end -}}
{{end -}}

{{define "FormatUsage" -}}
{{template "FormatCommand" .}}{{if .Commands}} <command> [<args> ...]{{end}}
{{if .Help}}
{{.Help|Wrap 0 -}}
{{end -}}
{{end -}}

{{if .Context.SelectedCommand -}}
usage: {{.App.Name}} {{.Context.SelectedCommand}}{{template "FormatUsage" .Context.SelectedCommand}}
{{if .Context.SelectedCommand.HelpLong}}{{.Context.SelectedCommand.HelpLong|Wrap 0}}
{{end -}}
{{else -}}
usage: {{.App.Name}}{{template "FormatUsage" .App}}
{{end -}}
{{range .Context.Flags|Sections -}}
{{.Title}}:
{{if .Brief}}{{.Brief|Wrap 2}}{{else}}{{.Flags|FlagsToTwoColumns|FormatTwoColumns}}{{end}}
{{end -}}
{{if .Context.Args -}}
Args:
{{.Context.Args|ArgsToTwoColumns|FormatTwoColumns}}
{{end -}}
{{if .Context.SelectedCommand -}}
{{if len .Context.SelectedCommand.Commands -}}
Subcommands:
{{template "FormatCommands" .Context.SelectedCommand}}
{{end -}}
{{else if .App.Commands -}}
Commands:
{{template "FormatCommands" .App}}
{{end -}}
`
