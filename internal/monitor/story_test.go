package monitor

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

func shows(t *testing.T, s *Screen, parts ...string) {
	t.Helper()
	text := s.draw()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("the screen does not show %q:\n%s", part, text)
		}
	}
}

func press(s *Screen, key rune) tea.Cmd { return s.key(tea.KeyPressMsg{Code: key, Text: string(key)}) }

func TestTheTreeSaysWhomToEnd(t *testing.T) {
	s := New(t.Context(), Options{Sources: Sources{Status: &ExporterClient{}}})
	s.width, s.height = 100, 30
	press(s, 't')
	shows(t, s, "Not known")
	s.status = &status.Status{Sessions: &status.Sessions{}}
	shows(t, s, "Nobody waits for a lock.")
	s.status.Sessions.Blocking = []status.Blocking{
		{PID: 7, User: "app", Application: "worker", State: "idle in transaction", Wait: "Client:ClientRead",
			TransactionSeconds: 61, Blocks: 2, Statement: "LOCK TABLE t",
			Remedy: "SELECT pg_terminate_backend(7)"},
		{PID: 8, Depth: 1, Wait: "Lock:relation", StateSeconds: 5, Blocks: 1, BlockedBy: []int{7}},
		{PID: 0, Depth: 2},
	}
	shows(t, s, "7 app (worker), idle in transaction, transaction 1 min 1 s old, 2 behind it", "to end it: SELECT pg_terminate_backend(7)",
		"  8 , waits for Lock:relation for 5 s", "LOCK TABLE t", "a prepared transaction")
	press(s, 't')
	if strings.Contains(s.draw(), "Who blocks whom") {
		t.Error("T does not lead back")
	}
}

func TestTheWatchdogIsOnTheScreen(t *testing.T) {
	s := New(t.Context(), Options{Sources: Sources{Status: &ExporterClient{}}})
	s.width, s.height = 160, 40
	s.status = &status.Status{}
	if strings.Contains(s.draw(), "Watchdog") {
		t.Error("there is a watchdog where there is none")
	}
	at := s.now().Add(-10 * time.Minute)
	s.status.Watchdog = status.Watchdog{On: true, AfterSeconds: 30}
	shows(t, s, "on, after 30 s; never acted")
	s.status.Watchdog = status.Watchdog{On: true, AfterSeconds: 30, Idle: "another exporter is the watchdog", LastRestartAt: &at,
		LeftAlone: "its disk is full", LeftAloneAt: &at}
	shows(t, s, "does nothing: another exporter is the watchdog; acted 10 min ago; left it alone 10 min ago: its disk is full")
}

func TestIncidentsAreListedWithTheirCause(t *testing.T) {
	body := `{"schema_version":1,"incidents":[{"id":"1","kind":"outage","start":"2026-11-28T11:15:29Z","end":"2026-11-28T11:15:33Z",` +
		`"cause":"killed_by_signal","sure":"certain","sentence":"Process 7 was killed \u001b[2Jby signal 9."},` +
		`{"id":"2","kind":"stall","start":"2026-11-28T11:00:00Z","cause":"unknown","sentence":"Why is not known."}]}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/incidents" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(body))
	}))
	defer server.Close()
	c, err := NewExporterClient(HTTPOptions{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	s := New(t.Context(), Options{Sources: Sources{Status: c, Incidents: c}})
	s.width, s.height = 100, 30
	ask := press(s, 'i')
	shows(t, s, "has not answered yet")
	s.Update(ask())
	shows(t, s, "2026-11-28 11:15:29Z  outage, 4 s: killed by signal", "Process 7 was killed by signal 9.", "stall, so far: unknown")
	body = `{"schema_version":2}`
	s.Update(s.askIncidents()())
	shows(t, s, "HINT")
	press(s, 'i')
	if s.askIncidents() != nil {
		t.Error("incidents are asked for while nobody looks")
	}
}
