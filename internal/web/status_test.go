package web

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status/gather"
)

// statusStub answers with what it is asked.
type statusStub struct{ windows gather.Windows }

func (s *statusStub) Status(_ context.Context, now time.Time, judged gather.Judged, windows gather.Windows) status.Status {
	s.windows = windows
	return status.Status{
		SchemaVersion: 1, GeneratedAt: now, Target: "db1:5432/shop", State: judged.State, Probes: judged.Probes,
		Links: status.Links{Metrics: "metrics", Health: "api/health/detailed", API: "api/status"},
	}
}

func TestStatusTellsWhatTheHealthEndpointsTell(t *testing.T) {
	for name, tc := range map[string]struct {
		reasons []postgres.Reason
		state   status.State
	}{
		"up": {[]postgres.Reason{postgres.OK, postgres.OK}, status.State{Status: "up", Reason: "ok", Since: &since}},
		"down": {[]postgres.Reason{postgres.Refused, postgres.Refused}, status.State{Status: "down", Reason: "refused", Since: &since,
			Cause: "failed: refused"}},
		"login": {[]postgres.Reason{postgres.OK, postgres.Auth}, status.State{Status: "down", Reason: "auth", Since: &since,
			Cause: "failed: auth"}},
		"degraded": {[]postgres.Reason{postgres.OK, postgres.OK, postgres.ReadOnly}, status.State{Status: "degraded", Reason: "read_only",
			Since: &since, Cause: "failed: read_only"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			o.Prober, o.Status = &proberAt{snapshot(tc.reasons...)}, &statusStub{}
			resp := get(t, newServer(t, o), "GET", "/api/status")
			if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" || resp.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%d %v", resp.StatusCode, resp.Header)
			}
			var s status.Status
			if err := json.Unmarshal([]byte(body(t, resp)), &s); err != nil {
				t.Fatal(err)
			}
			if s.State.Message == "" || s.State.Since == nil || !s.State.Since.Equal(since) {
				t.Errorf("state = %+v", s.State)
			}
			if s.State.Message, s.State.Since = "", &since; s.State != tc.state {
				t.Errorf("state = %+v, want %+v", s.State, tc.state)
			}
			if len(s.Probes) != len(tc.reasons) || s.Probes[0].Name != "read" || s.Probes[0].Reason != string(tc.reasons[0]) ||
				*s.Probes[0].LatencySeconds != 0.002 {
				t.Errorf("probes = %+v", s.Probes)
			}
		})
	}
}

func TestAnOutageIsAsOldAsItsBeginning(t *testing.T) {
	s := snapshot(postgres.DNS, postgres.DNS) // since then; before, it had another reason
	s.OutageStart = since.Add(-time.Minute)
	o := options(t)
	o.Prober, o.Status = &proberAt{s}, &statusStub{}
	var got status.Status
	if err := json.Unmarshal([]byte(body(t, get(t, newServer(t, o), "GET", "/api/status"))), &got); err != nil {
		t.Fatal(err)
	}
	if got.State.Since == nil || !got.State.Since.Equal(s.OutageStart) {
		t.Errorf("down since %v, want %v", got.State.Since, s.OutageStart)
	}
}

func TestHistoryOfTheStatus(t *testing.T) {
	for query, want := range map[string]gather.Windows{
		"": {Hour: true, Day: true, Month: true}, "?history=none": {}, "?history=hour": {Hour: true}, "?history=day&history=month": {Day: true,
			Month: true},
	} {
		stub := &statusStub{}
		o := options(t)
		o.Status = stub
		if resp := get(t, newServer(t, o), "GET", "/api/status"+query); resp.StatusCode != 200 || stub.windows != want {
			t.Errorf("%q: %d, windows %+v, want %+v", query, resp.StatusCode, stub.windows, want)
		}
	}
	o := options(t)
	o.Status = &statusStub{}
	resp := get(t, newServer(t, o), "GET", "/api/status?history=week")
	if text := body(t, resp); resp.StatusCode != 400 || !strings.Contains(text, "HINT: Ask for hour, day, month or none") {
		t.Errorf("%d: %s", resp.StatusCode, text)
	}
}

func TestStatusPage(t *testing.T) {
	o := options(t)
	o.Status, o.PProf = &statusStub{}, true
	s := newServer(t, o)
	resp := get(t, s, "GET", "/")
	page := body(t, resp)
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/html; charset=utf-8" ||
		resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	policy := resp.Header.Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'; ") || strings.Contains(policy, "unsafe") ||
		!strings.Contains(policy, "frame-ancestors 'none'") {
		t.Errorf("policy = %q", policy)
	}
	// Whatever the page leads to is there, below whatever path a proxy serves us.
	links := 0
	for _, part := range strings.Split(page, `href="`)[1:] {
		link, _, _ := strings.Cut(part, `"`)
		if strings.HasPrefix(link, "#") || strings.HasPrefix(link, "data:") || link == "." {
			continue
		}
		links++
		if strings.HasPrefix(link, "/") || get(t, s, "GET", "/"+link).StatusCode == 404 {
			t.Errorf("the page leads to %s, which is not there", link)
		}
	}
	if links < 10 {
		t.Errorf("the page has %d links only", links)
	}
	if resp := get(t, s, "POST", "/"); resp.StatusCode != 405 {
		t.Errorf("POST: %d", resp.StatusCode)
	}
	if page := body(t, get(t, s, "GET", "/?pause=1")); !strings.Contains(page, "Resume updates") {
		t.Error("the page can't be paused")
	}
	s = newServer(t, options(t))
	if page := body(t, get(t, s, "GET", "/")); !strings.Contains(page, `href="api/health/detailed"`) || strings.Contains(page, "<svg") {
		t.Error("without the status page / is not the list of links")
	}
	if resp := get(t, s, "GET", "/api/status"); resp.StatusCode != 404 {
		t.Errorf("/api/status without the status page: %d", resp.StatusCode)
	}
}
