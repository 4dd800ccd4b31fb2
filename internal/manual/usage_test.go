package manual

import (
	"bytes"
	"strings"
	"testing"

	"github.com/alecthomas/kingpin/v2"
)

// --help is read by people who look for one flag: they find it below a title, without the same name thrice.
func TestHelpComesInGroups(t *testing.T) {
	app := kingpin.New("prog", "What it is.").DefaultEnvars()
	Apply(app, Page{Groups: []Group{
		{Title: "Second", Flags: []string{"web"}},
		{Title: "First", Flags: []string{"web.first"}},
		{Title: "Of nobody", Flags: []string{"nothing"}},
		{Title: "Many", Flags: []string{"many"}, Brief: "--many.NAME is one of many."},
	}})
	for _, name := range []string{"web.other", "web.first.of-all", "webs", "many.a"} {
		app.Flag(name, "What "+name+" means.").String()
	}
	app.Flag("hidden", "What is hidden.").Hidden().String()
	app.Flag("web.list", "What may be repeated.").PlaceHolder("ITEM").Strings()
	var out bytes.Buffer
	app.UsageWriter(&out)
	app.Usage(nil)
	want := `
Flags:
  --help        Show context-sensitive help (also try --help-long and
                --help-man).
  --webs=VALUE  What webs means.

Second:
  --web.other=VALUE    What web.other means.
  --web.list=ITEM ...  What may be repeated.

First:
  --web.first.of-all=VALUE  What web.first.of-all means.

Many:
  --many.NAME is one of many.
`
	if got := out.String(); !strings.Contains(got, want) {
		t.Errorf("got\n%s\nwant in it\n%s", got, want)
	}
}
