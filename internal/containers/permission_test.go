package containers

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// Who may not ask the engine is told what a proxy must allow for what was asked, and no more.
func TestForbiddenSocketNamesWhatWasAsked(t *testing.T) {
	e := &Engine{host: "unix:///var/run/docker.sock"}
	for _, tc := range []struct{ method, what, want string }{
		{http.MethodGet, "json", "a proxy that allows GET /containers/*/json alone"},
		{http.MethodPost, "restart", "a proxy that allows POST /containers/*/restart alone"},
	} {
		if err := e.explain(syscall.EACCES, tc.method, tc.what); !strings.HasSuffix(err.Error(), tc.want) {
			t.Errorf("%v, want %s", err, tc.want)
		}
	}
}
