package web

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/incident"
	"github.com/pg-reliability/pg_reliability_exporter/internal/sessions"
)

type incidentsStub struct{}

func (incidentsStub) Target() string { return "db1:5432/shop" }
func (incidentsStub) List() []incident.Summary {
	return []incident.Summary{{ID: "20261128T101500.000Z-outage", Kind: incident.Outage, Start: since, Cause: incident.Unknown,
		Sentence: "Why is not known."}}
}

func (incidentsStub) Get(id string) (incident.Window, incident.Story, bool) {
	if id != "20261128T101500.000Z-outage" {
		return incident.Window{}, incident.Story{}, false
	}
	w := incident.Window{ID: id, Kind: incident.Outage, Start: since, End: since.Add(time.Second), Target: "db1:5432/shop"}
	return w, incident.Explain(&w), true
}

type sessionsStub struct{}

func (sessionsStub) Newest() (sessions.Sample, bool) {
	return sessions.Sample{At: noon, Used: 7, Max: 100, Blocked: 1}, true
}

func (sessionsStub) Tree() *sessions.Tree {
	return &sessions.Tree{At: noon, Nodes: []sessions.Node{{PID: 4711, User: "app", Blocks: 1, Remedy: "SELECT pg_terminate_backend(4711)"},
		{PID: 4712, Depth: 1, Wait: "Lock:relation", BlockedBy: []int{4711}}}}
}

func (sessionsStub) Since(from time.Time) []sessions.Sample {
	return []sessions.Sample{{At: from.Add(time.Second), Used: 6, Waits: []sessions.Wait{{Event: "IO:WALSync", Sessions: 2}}}}
}

func TestSessionsAreToldFromMemory(t *testing.T) {
	o := options(t)
	o.Incidents, o.Sessions = incidentsStub{}, sessionsStub{}
	s := newServer(t, o)
	resp := get(t, s, "GET", "/api/sessions")
	want := `{"schema_version":1,"generated_at":"2026-05-04T12:00:00Z","target":"db1:5432/shop",` +
		`"now":{"sampled_at":"2026-05-04T12:00:00Z","used":7,"max":100,"active":0,"idle_in_transaction":0,"blocked":1,"waits":[],` +
		`"blocking_at":"2026-05-04T12:00:00Z","blocking":[` +
		`{"pid":4711,"depth":0,"user":"app","transaction_seconds":0,"state_seconds":0,"blocks":1,"remedy":"SELECT pg_terminate_backend(4711)"},` +
		`{"pid":4712,"depth":1,"wait":"Lock:relation","transaction_seconds":0,"state_seconds":0,"blocks":0,"blocked_by":[4711]}]},` +
		`"samples":[{"at":"2026-05-04T11:55:01Z","used":6,"active":0,"idle_in_transaction":0,"blocked":0,` +
		`"waits":[{"event":"IO:WALSync","sessions":2}]}]}` + "\n"
	if got := body(t, resp); resp.StatusCode != 200 || got != want || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if resp := get(t, s, "POST", "/api/sessions"); resp.StatusCode != 405 {
		t.Errorf("POST is answered with %d", resp.StatusCode)
	}
	if resp := get(t, newServer(t, options(t)), "GET", "/api/sessions"); resp.StatusCode != 404 {
		t.Errorf("without samples it is %d", resp.StatusCode)
	}
}

func TestIncidents(t *testing.T) {
	o := options(t)
	o.Incidents = incidentsStub{}
	s := newServer(t, o)
	for path, want := range map[string]struct {
		status     int
		kind, text string
	}{
		"/incidents":                                 {200, "text/html; charset=utf-8", `href="./incidents/20261128T101500.000Z-outage"`},
		"/incidents/":                                {200, "text/html; charset=utf-8", `href="../incidents/20261128T101500.000Z-outage"`},
		"/incidents/20261128T101500.000Z-outage":     {200, "text/html; charset=utf-8", `href="../api/incidents/20261128T101500.000Z-outage"`},
		"/incidents/20261128T101500.000Z-outage.md":  {200, "text/markdown; charset=utf-8", "# Outage of db1:5432/shop"},
		"/api/incidents":                             {200, "application/json", `"schema_version":1`},
		"/api/incidents/20261128T101500.000Z-outage": {200, "application/json", `"cause":"unknown"`},
		"/incidents/..%2f..%2fetc%2fpasswd":          {404, "text/plain; charset=utf-8", "There is no such incident"},
		"/api/incidents/none":                        {404, "text/plain; charset=utf-8", "There is no such incident"},
	} {
		resp := get(t, s, "GET", path)
		text := body(t, resp)
		if resp.StatusCode != want.status || resp.Header.Get("Content-Type") != want.kind || !strings.Contains(text, want.text) {
			t.Errorf("%s: %d, %s, %s", path, resp.StatusCode, resp.Header.Get("Content-Type"), text)
		}
		if want.kind == "application/json" && !json.Valid([]byte(text)) {
			t.Errorf("%s: %s", path, text)
		}
		if resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s may be kept", path)
		}
	}
	if resp := get(t, s, "POST", "/incidents"); resp.StatusCode != 405 {
		t.Errorf("POST is answered with %d", resp.StatusCode)
	}
	if resp := get(t, newServer(t, options(t)), "GET", "/incidents"); resp.StatusCode != 404 {
		t.Errorf("without incidents the page is %d", resp.StatusCode)
	}
}
