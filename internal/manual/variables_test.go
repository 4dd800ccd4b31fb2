package manual

import (
	"strings"
	"testing"

	"github.com/alecthomas/kingpin/v2"
)

func TestAMistypedVariableIsNamed(t *testing.T) {
	app := kingpin.New("prog", "").DefaultEnvars()
	app.Flag("probe.interval", "").Duration()
	app.Command("run", "").Flag("keep-daily", "").Int()
	if _, err := app.Parse([]string{"run"}); err != nil {
		t.Fatal(err)
	}
	got := Mistyped(app, []string{
		"PROG_PROBE_INTERVALL=s3cret", "PROG_KEEP_DAYLY=3", "PROG_PROBE_INTERVAL=1s", "PROG_KEEP_DAILY=3",
		"PROG_SERVICE_HOST=10.0.0.1", "PROG_PORT_9187_TCP=tcp://10.0.0.1:9187", "OTHER_PROBE_INTERVALL=2s", "PROG_PROBE_INTERVAL_=",
	})
	if len(got) != 2 || !strings.Contains(got[0], "PROG_PROBE_INTERVALL is not used") ||
		!strings.Contains(got[0], "Is PROG_PROBE_INTERVAL meant?") ||
		!strings.Contains(got[1], "Is PROG_KEEP_DAILY meant?") {
		t.Errorf("%q", got)
	}
	if strings.Contains(strings.Join(got, " "), "s3cret") {
		t.Error("the value is shown")
	}
}
