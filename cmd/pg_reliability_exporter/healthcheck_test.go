package main

import (
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

func TestHealthcheckSpeaksOfTheExporterAlone(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	r := launch(t, c.MonitorDSN())
	address := strings.TrimPrefix(r.url, "http://")
	none := func(string) (string, bool) { return "", false }
	check := func(t *testing.T, want int) {
		t.Helper()
		var out pgtest.Buffer
		if got := run(t.Context(), []string{"--healthcheck", "--web.listen-address=" + address}, none, nil, &out, nil); got != want {
			t.Errorf("exit code %d, want %d: %s", got, want, &out)
		}
	}
	check(t, exitOK)
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, detect, func() error { return r.reason(t, "refused") })
	check(t, exitOK) // the database's state is not the exporter's
	r.stop()
	check(t, exitFailed)
	for host, want := range map[string]string{"": "refused", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"} {
		err := healthcheck(t.Context(), []string{host + address[strings.LastIndexByte(address, ':'):]})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("asking %q: %v, want %q", host, err, want)
		}
	}
}
