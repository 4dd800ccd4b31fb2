package web

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-kit/log"
)

// An exporter without a server of its own says of no database that it is up.
func TestTheFirstPageOfAFleetJudgesNoServer(t *testing.T) {
	w := httptest.NewRecorder()
	newLanding(nil, Options{Logger: log.NewNopLogger()}).ServeHTTP(w, nil)
	body := w.Body.String()
	if strings.Contains(body, ">up<") || !strings.Contains(body, `<p class="status">running</p>`) {
		t.Errorf("%s", body)
	}
}
