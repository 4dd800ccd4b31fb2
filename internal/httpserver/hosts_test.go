package httpserver

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

func TestNamesThatSomebodyElseCouldOwnAreRefused(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	fine := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	for _, tc := range []struct {
		allowed []string
		host    string
		want    int
	}{
		{nil, "127.0.0.1:9187", 200},
		{nil, "10.1.2.3", 200},
		{nil, "[::1]:9187", 200},
		{nil, "[fd00::1]", 200},
		{nil, "localhost:9187", 200},
		{nil, "LOCALHOST.:9187", 200},
		{nil, "a.localhost", 200},
		{nil, host, 200},
		{nil, strings.ToUpper(host) + ":9187", 200},
		{nil, "exporter:9187", 200}, // compose
		{nil, "exporter.monitoring.svc:9187", 200},
		{nil, "exporter.monitoring.svc.cluster.local:9187", 200},
		{nil, "host.docker.internal:9187", 200},
		{nil, "", 200}, // HTTP/1.0, as no browser speaks it
		{nil, "evil.example", 421},
		{nil, "evil.example:9187", 421},
		{nil, "127.0.0.1.evil.example", 421},
		{nil, "localhost.evil.example", 421},
		{nil, host + ".evil.example", 421},
		{nil, "evil.local", 421}, // whoever is in the same network may have it
		{nil, "evil.example:localhost", 421},
		{nil, "svc.example", 421},
		{[]string{"exporter.example.com"}, "exporter.example.com:443", 200},
		{[]string{"exporter.example.com"}, "Exporter.Example.Com.", 200},
		{[]string{"a.example, b.example", "c.example"}, "b.example", 200},
		{[]string{"exporter.example.com"}, "x.exporter.example.com", 421},
		{[]string{"*"}, "evil.example", 200},
	} {
		h, err := NewHosts(tc.allowed)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = tc.host
		w := httptest.NewRecorder()
		h.Wrap(fine).ServeHTTP(w, r)
		if w.Code != tc.want {
			t.Errorf("host %q with %q allowed: %d, want %d", tc.host, tc.allowed, w.Code, tc.want)
		}
		if text := w.Body.String(); w.Code == 421 && !strings.Contains(text, "--web.allowed-hosts=NAME") {
			t.Errorf("the refusal of %q does not say what to do: %s", tc.host, text)
		}
	}
}

func TestTheMachinesNameWithItsDomainIsItsOwn(t *testing.T) {
	h, err := NewHosts(nil)
	if err != nil {
		t.Fatal(err)
	}
	h.own = "db1"
	h.canonical = func() string { return "db1.example.com" }
	for name, want := range map[string]bool{"db1.example.com": true, "db1.evil.example": false, "db2.example.com": false} {
		if got := h.allows(name); got != want {
			t.Errorf("%s: %t, want %t", name, got, want)
		}
	}
}

func TestAllowedHostsThatAreNoneAreRefusedAtTheStart(t *testing.T) {
	for _, bad := range []string{"https://a.example", "a.example:9187", "", "a b", "*.example.com", "a.example,"} {
		if _, err := NewHosts([]string{bad}); err == nil || !strings.Contains(err.Error(), "HINT: ") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
