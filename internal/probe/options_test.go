package probe

import (
	"strings"
	"testing"
	"time"

	"github.com/go-kit/log"
)

func discard() log.Logger { return log.NewNopLogger() }

func TestOptionsThatMakeNoSense(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Options)
		want   string // the error holds it; empty: no error
	}{
		"defaults":           {func(*Options) {}, ""},
		"interval too short": {func(o *Options) { o.ReadInterval = time.Millisecond }, "the probe interval is 1ms. HINT: Choose 100ms to 1h0m0s"},
		"negative timeout":   {func(o *Options) { o.LoginTimeout = -1 }, "the login timeout is"},
		"timeout too long":   {func(o *Options) { o.WriteTimeout = time.Hour }, "the write timeout is 1h0m0s"},
		"logins too often":   {func(o *Options) { o.ReadInterval = 20 * time.Second }, "the login interval (10s) is shorter"},
		"no target":          {func(o *Options) { o.Target = "" }, "no target"},
		"no logger":          {func(o *Options) { o.Logger = nil }, "no logger"},
		"write without name": {func(o *Options) { o.Write = true }, "needs a name"},
		"write, bad name":    {func(o *Options) { o.Write, o.Instance = true, "a\x00b" }, "printable"},
		"write":              {func(o *Options) { o.Write, o.Instance = true, "host" }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{Target: "db:5432/x", Logger: discard()}
			tc.change(&o)
			err := o.withDefaults().validate()
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error = %v, want %q", err, tc.want)
			}
		})
	}
}
