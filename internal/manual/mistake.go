package manual

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kingpin/v2"

	"github.com/pg-reliability/pg_reliability_exporter/internal/dsn"
)

// Mistake says what is wrong with a command line that kingpin turned down with err. kingpin itself names neither the flag
// nor the variable whose value can't be read.
func Mistake(app *kingpin.Application, args []string, env func(name string) (string, bool), err error) error {
	see := fmt.Sprintf("HINT: See %s --help", app.Name)
	context, parseErr := app.ParseContext(args)
	if context == nil || parseErr != nil {
		is, hint := stray(app, err)
		return fmt.Errorf("%s. HINT: %s%sSee %s --help", is, hint, meant(app, err), app.Name) // an unknown flag, which it does name
	}
	turnedDown := func(v kingpin.Value, text string) bool {
		is := v.Set(text)
		return is != nil && is.Error() == err.Error()
	}
	given := map[string]bool{}
	for _, e := range context.Elements {
		if flag, ok := e.Clause.(*kingpin.FlagClause); ok && e.Value != nil {
			m := flag.Model()
			given[m.Name] = true
			if turnedDown(m.Value, *e.Value) {
				return unreadable("--"+m.Name, *e.Value, err, see)
			}
		}
	}
	flags := app.Model().Flags
	if context.SelectedCommand != nil {
		flags = append(flags, context.SelectedCommand.Model().Flags...)
	}
	for _, m := range flags {
		text, _ := env(m.Envar)
		if text == "" || given[m.Name] {
			continue
		}
		for _, part := range strings.Split(text, "\n") { // of flags that can be repeated
			if turnedDown(m.Value, part) {
				return unreadable(m.Envar, part, err, see)
			}
		}
	}
	return fmt.Errorf("%w. %s", err, see)
}

// strayWord finds the word in kingpin's words for one that it has no place for.
var strayWord = regexp.MustCompile(`(?s)^(unexpected |expected command but got )"?(.*?)"?$`)

// stray says what a word that has no place may have been meant as. One that may hold a password is not repeated.
func stray(app *kingpin.Application, err error) (is, hint string) {
	is = err.Error()
	if strings.HasPrefix(is, "unknown short flag") {
		return is, "A flag that is a word has two dashes, as in --version. "
	}
	m := strayWord.FindStringSubmatch(is)
	if m == nil {
		return is, ""
	}
	switch word := m[2]; {
	case strings.HasPrefix(word, "http://") || strings.HasPrefix(word, "https://"):
		return strings.TrimSpace(m[1]) + ": a URL", "Write the name of its flag before it, as in --NAME=URL. "
	case strings.Contains(word, "://") || strings.Contains(word, "password="):
		return strings.TrimSpace(m[1]) + ": a connection string",
			"Set the variable DATA_SOURCE_NAME to it, or PGHOST and its like: all users of the machine see a command line. "
	case word == "true" || word == "false":
		return is, "A switch has no value: write --NAME for true, and --no-NAME for false. "
	case strings.HasPrefix(word, "\u2013") || strings.HasPrefix(word, "\u2014"):
		return is, "Its dash is a longer one, as word processors write it: type two of - instead. "
	case strings.HasPrefix(m[1], "expected command"):
		return is, "The commands are " + strings.Join(commands(app), ", ") + ". "
	}
	return is, ""
}

// commands are the names of the program's commands.
func commands(app *kingpin.Application) []string {
	var names []string
	for _, c := range app.Model().Commands {
		if !c.Hidden && c.Name != "help" {
			names = append(names, c.Name)
		}
	}
	return names
}

// unknownFlag finds the flag in kingpin's words for one that does not exist.
var unknownFlag = regexp.MustCompile(`^unknown long flag '--([^']+)'$`)

// meant asks for the flag that a mistyped one is next to, of the program or of any of its commands; empty where none is near.
func meant(app *kingpin.Application, err error) string {
	m := unknownFlag.FindStringSubmatch(err.Error())
	if m == nil {
		return ""
	}
	model := app.Model()
	flags := slices.Clone(model.Flags)
	for _, command := range model.FlattenedCommands() {
		flags = append(flags, command.Flags...)
	}
	var names []string
	for _, f := range flags {
		if !f.Hidden {
			names = append(names, f.Name)
			if f.IsBoolFlag() {
				names = append(names, "no-"+f.Name)
			}
		}
	}
	if near := dsn.Nearest(m[1], names); near != "" {
		return "Is --" + near + " meant? "
	}
	if name, is := strings.CutPrefix(strings.TrimPrefix(m[1], "no-"), switches); is {
		return likeIt(dsn.Like(name, collectors(names)))
	}
	return ""
}

// switches begins the names of flags that switch a collector.
const switches = "collector."

// likeIt names the collectors that may be meant, of too many to name all.
func likeIt(names []string) string {
	own := "One of --collector.config-dir is switched off by \"enabled: false\" in its file. "
	if len(names) == 0 {
		return own
	}
	return "Like it are the collectors " + strings.Join(names, ", ") + ". " + own
}

// collectors are those that flags switch, sorted.
func collectors(flags []string) []string {
	var names []string
	for _, f := range flags {
		name, is := strings.CutPrefix(f, "no-"+switches)
		if is && !strings.ContainsAny(name, "-.") { // flags of all, or of one's rows
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// unreadable puts the library's words for values into ours.
func unreadable(where, text string, err error, see string) error {
	is, hint := err.Error(), see
	switch {
	case strings.HasPrefix(is, "time: "):
		is, hint = "it is no length of time", "HINT: Write one with its unit, such as 5s, 2m or 1h30m"
	case strings.HasPrefix(is, "strconv.ParseBool"):
		is, hint = "it is neither true nor false", "HINT: Write true or false"
	case strings.HasPrefix(is, "strconv.Parse"):
		is, hint = "it is no number", "HINT: Write a number such as 7"
	}
	return fmt.Errorf("%s=%.80s: %s. %s", where, text, is, hint)
}
