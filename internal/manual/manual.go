// Package manual writes the man pages. kingpin has a template of its own, but no place for a page's short
// description, files and date, and it leaves a line that begins with a dot, or a negatable flag, to chance.
package manual

import (
	"cmp"
	"strings"
	"text/template"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/version"
)

// File is an entry of the section FILES.
type File struct{ Path, Meaning string }

// Page is what a program's own help does not say.
type Page struct {
	// Short is the line that `apropos` shows, without a full stop.
	Short string
	Files []File
	// SeeAlso are other pages, such as pg_dump(1).
	SeeAlso []string
	// Values are what is typed behind a flag, by its name, such as DIR, where its declaration does not say.
	Values map[string]string
	// Groups of the flags; without any they are one list.
	Groups []Group
}

// funcs are what both templates need. The page's date is the build's, so that the same commit gives the same page.
func funcs(p Page) template.FuncMap {
	return template.FuncMap{
		"Roff": escape, "Paragraphs": paragraphs, "Upper": strings.ToUpper, "FlagsToTwoColumns": p.rows,
		"Flag":     func(f *kingpin.FlagModel) string { return escape(p.typedAs(f)) },
		"Sections": func(flags []*kingpin.FlagModel) []section { return sections(p.Groups, flags) },
		"Page":     func() Page { return p },
		"Date":     func() string { return date(version.BuildDate) },
		"Version":  func() string { return version.Version },
	}
}

// date is the day of a build's time, or nothing when that is not known.
func date(build string) string {
	t, err := time.Parse(time.RFC3339, build)
	if err != nil {
		return ""
	}
	return t.Format(time.DateOnly)
}

// typedAs is --name with its value, as it is typed.
func (p Page) typedAs(f *kingpin.FlagModel) string {
	name := "--" + f.Name
	switch {
	case f.IsBoolFlag() && f.Name != "help" && f.Name != "version":
		name = "--[no-]" + f.Name
	case !f.IsBoolFlag() && f.PlaceHolder == "" && strings.Join(f.Default, "") == "":
		name += "=" + cmp.Or(p.Values[f.Name], "VALUE")
	case !f.IsBoolFlag():
		name += "=" + strings.Trim(f.FormatPlaceHolder(), `"`)
	}
	if f.Short != 0 {
		name = "-" + string(f.Short) + ", " + name
	}
	return name
}

// escape makes text mean itself: no escapes, no requests, and hyphens that can be copied.
func escape(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "~", `\(ti`, "^", `\(ha`, "`", `\(ga`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}

// paragraphs keeps empty lines as breaks, and indented lines as they are: tables of two columns.
func paragraphs(s string) string {
	var out []string
	table := false
	for _, l := range strings.Split(strings.TrimSpace(s), "\n") {
		code, meaning, _ := strings.Cut(strings.TrimSpace(l), "  ")
		switch {
		case strings.HasPrefix(l, " ") && meaning != "":
			out = append(out, ".TP 6", escape(code), escape(meaning))
			table = true
		case strings.TrimSpace(l) == "":
			out = append(out, ".PP")
		default:
			if table {
				out = append(out, ".PP")
				table = false
			}
			out = append(out, escape(l))
		}
	}
	return strings.Join(out, "\n")
}

// Template takes the place of kingpin.ManPageTemplate, behind --help-man.
const Template = `{{define "Flags"}}{{range .}}{{if not .Hidden}}.TP
\fB{{Flag .}}\fR
{{Roff .Help}}
{{end}}{{end}}{{end -}}
.TH {{Upper .App.Name}} 1 "{{Date}}" "{{.App.Name}} {{Version}}" "User commands"
.SH NAME
{{Roff .App.Name}} \- {{Roff Page.Short}}
.SH SYNOPSIS
.B {{.App.Name}}
[\fIflags\fR]{{if .App.Commands}} \fIcommand\fR [\fIflags\fR] [\fIarguments\fR]{{end}}
.SH DESCRIPTION
{{Paragraphs .App.Help}}
.SH OPTIONS
{{range Sections .App.Flags}}{{if Page.Groups}}.SS "{{Roff .Title}}"
{{end}}{{template "Flags" .Flags}}{{end -}}
{{if .App.Commands}}.SH COMMANDS
{{range .App.FlattenedCommands}}{{if and (not .Hidden) (ne .FullCommand "help")}}.SS {{Roff .FullCommand}}{{range .Args}} [{{Roff .Name}}]{{end}}
{{Roff .Help}}
{{if .HelpLong}}.PP
{{Paragraphs .HelpLong}}
{{end}}{{range .Args}}.TP
\fI{{Roff .Name}}\fR
{{Roff .Help}}
{{end}}{{template "Flags" .Flags}}{{end}}{{end}}{{end -}}
{{with Page.Files}}.SH FILES
{{range .}}.TP
.I {{Roff .Path}}
{{Roff .Meaning}}
{{end}}{{end -}}
.SH "SEE ALSO"
{{range Page.SeeAlso}}{{Roff .}},
{{end}}https://github.com/pg\-reliability/pg_reliability_exporter
`
