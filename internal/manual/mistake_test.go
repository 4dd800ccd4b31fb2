package manual

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kingpin/v2"
)

// A mistake in a value names the flag or the variable that holds it.
func TestMistakeNamesItsPlace(t *testing.T) {
	for name, tc := range map[string]struct {
		args string
		env  [2]string
		want string
	}{
		"no unit": {"--interval=5", [2]string{}, "--interval=5: it is no length of time. HINT: Write one with its unit, such as " +
			"5s, 2m or 1h30m"},
		"no number, of command": {"run --keep=many", [2]string{}, "--keep=many: it is no number. HINT: Write a number such as 7"},
		"an enum": {"--level=loud", [2]string{}, "--level=loud: enum value must be one of info,warn, got 'loud'. HINT: See " +
			"prog --help"},
		"the second is wrong":   {"--other=5s --interval=x", [2]string{}, "--interval=x: it is no length of time"},
		"variable":              {"run", [2]string{"PROG_INTERVAL", "soon"}, "PROG_INTERVAL=soon: it is no length of time"},
		"variable of a command": {"run", [2]string{"PROG_RUN_KEEP", "lots"}, "PROG_RUN_KEEP=lots: it is no number"},
		"variable, a switch":    {"run", [2]string{"PROG_WRITE", "maybe"}, "PROG_WRITE=maybe: it is neither true nor false"},
		"the flag wins":         {"run --interval=x", [2]string{"PROG_INTERVAL", "y"}, "--interval=x: "},
		"unknown flag":          {"--nonsense", [2]string{}, "unknown long flag '--nonsense'. HINT: See prog --help"},
		"unknown collector": {"--no-collector.bloat", [2]string{}, "unknown long flag '--no-collector.bloat'. HINT: One of " +
			"--collector.config-dir is switched off by \"enabled: false\" in its file. See prog --help"},
		"collector like others": {"--no-collector.stats_of_stat", [2]string{}, "unknown long flag " +
			"'--no-collector.stats_of_stat'. HINT: Like it are the collectors stat_io. " +
			"One of --collector.config-dir is switched off by \"enabled: false\" in its file. See prog --help"},
		"one dash":    {"-interval=5s", [2]string{}, "unknown short flag '-i'. HINT: A flag that is a word has two dashes, as in --version. See"},
		"a long dash": {"–interval=5s", [2]string{}, "unexpected –interval=5s. HINT: Its dash is a longer one"},
		"a connection string": {"run postgresql://u:hunter2@h/d", [2]string{}, "unexpected: a connection string. HINT: Set the variable " +
			"DATA_SOURCE_NAME to it"},
		"keywords":              {"run password=hunter2", [2]string{}, "unexpected: a connection string. HINT: Set the variable"},
		"a URL":                 {"run http://u:hunter2@h:9187", [2]string{}, "unexpected: a URL. HINT: Write the name of its flag before it"},
		"value of a switch":     {"--write=false run", [2]string{}, "unexpected false. HINT: A switch has no value"},
		"mistyped flag":         {"--intervall=5s", [2]string{}, "unknown long flag '--intervall'. HINT: Is --interval meant? See prog --help"},
		"mistyped switch":       {"--no-writes", [2]string{}, "unknown long flag '--no-writes'. HINT: Is --no-write meant? See prog --help"},
		"mistyped of a command": {"run --keeep=3", [2]string{}, "unknown long flag '--keeep'. HINT: Is --keep meant? See prog --help"},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.env[0] != "" {
				t.Setenv(tc.env[0], tc.env[1])
			}
			app := kingpin.New("prog", "").DefaultEnvars()
			app.Flag("interval", "").Default("1s").DurationVar(new(time.Duration))
			app.Flag("other", "").Default("1s").DurationVar(new(time.Duration))
			app.Flag("level", "").Default("info").EnumVar(new(string), "info", "warn")
			app.Flag("write", "").BoolVar(new(bool))
			app.Flag("collector.stat_io", "").BoolVar(new(bool))
			app.Flag("collector.locks", "").BoolVar(new(bool))
			app.Flag("collector.disable-defaults", "").BoolVar(new(bool))
			app.Flag("collector.locks.top", "").IntVar(new(int))
			app.Command("run", "").Default().Flag("keep", "").Envar("PROG_RUN_KEEP").Default("7").IntVar(new(int))
			args := strings.Fields(tc.args)
			_, err := app.Parse(args)
			if err == nil {
				t.Fatal("nothing is wrong")
			}
			if got := Mistake(app, args, os.LookupEnv, err).Error(); !strings.HasPrefix(got, tc.want) || strings.Contains(got, "hunter2") {
				t.Errorf("%s\nwant %s", got, tc.want)
			}
		})
	}
}

// A word in the place of a command is not repeated where it may hold a password, and the commands are named.
func TestMistakenCommand(t *testing.T) {
	for word, want := range map[string]string{
		"backup":                    "expected command but got \"backup\". HINT: The commands are run, verify. See prog --help",
		"postgresql://u:hunter2@h/": "expected command but got: a connection string. HINT: Set the variable DATA_SOURCE_NAME to it",
	} {
		app := kingpin.New("prog", "")
		app.Command("run", "")
		app.Command("verify", "")
		_, err := app.Parse([]string{word})
		if err == nil {
			t.Fatalf("%s is taken", word)
		}
		if got := Mistake(app, []string{word}, os.LookupEnv, err).Error(); !strings.HasPrefix(got, want) || strings.Contains(got, "hunter2") {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}
