package page

import (
	"bytes"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

func draw(t *testing.T, s status.Status, v View) string {
	t.Helper()
	var b bytes.Buffer
	if err := New().Render(&b, s, v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// fill gives every field of a status a value: each text is the given one, each list has two entries.
func fill(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), text)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)))
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), text)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), text)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf(text), reflect.ValueOf(int64(7)).Convert(v.Type().Elem()))
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64:
		v.SetFloat(0.5)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint64:
		v.SetUint(7)
	}
}

func TestEveryTextIsEscaped(t *testing.T) {
	var s status.Status
	const text = `"'><script>alert(1)</script><b onload=x>` + "\x1b]0;pwn\a\u009b"
	fill(reflect.ValueOf(&s).Elem(), text)
	page := draw(t, s, View{PProf: true, Fleet: []string{text}})
	for _, bad := range []string{"<script>alert", "<b onload", `"'>`, "\x1b", "\a", "\u009b"} {
		if at := strings.Index(page, bad); at >= 0 {
			t.Errorf("%q is on the page: %s", bad, page[max(0, at-200):at+50])
		}
	}
	if n := strings.Count(page, "alert(1)"); n < 20 {
		t.Errorf("the text is %d times on the page; the test proves little", n)
	}
	// A link may not become a script.
	s.Links.Grafana = "javascript:alert(1)"
	if page = draw(t, s, View{}); strings.Contains(page, `href="javascript:`) {
		t.Error("a link is a script")
	}
}

func TestThePageWorksWithNothingKnown(t *testing.T) {
	s := status.Status{State: status.State{Status: status.Unknown, Message: "no probe has reported yet"}, Target: "db1:5432/shop"}
	page := draw(t, s, View{})
	for _, want := range []string{"Unknown", "No probe has reported yet.", "db1:5432/shop", "Last hour: nothing was observed.",
		"None has reported yet."} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page, "NaN") || strings.Contains(page, "&lt;nil&gt;") || strings.Contains(page, "%!") {
		t.Errorf("the page shows what no human wants to see:\n%s", page)
	}
}

var addresses = regexp.MustCompile(`(?:src|href|url\()\s*=?\s*["']?(?:https?:)?//`)

func TestThePageLoadsNothingFromElsewhere(t *testing.T) {
	s := status.Status{State: status.State{Status: status.Up}}
	page := draw(t, s, View{})
	if found := addresses.FindString(page); found != "" {
		t.Errorf("the page refers to %q", found)
	}
	policy := ContentSecurityPolicy()
	for tag, directive := range map[string]string{"style": "style-src", "script": "script-src"} {
		_, rest, _ := strings.Cut(page, "<"+tag+">")
		content, _, _ := strings.Cut(rest, "</"+tag+">")
		if !strings.Contains(policy, directive+" 'sha256-"+hash(content)+"'") {
			t.Errorf("the policy does not allow the page's own %s: %s", tag, policy)
		}
	}
	if strings.Contains(page, " style=") || strings.Contains(policy, "unsafe") {
		t.Error("the page needs an unsafe policy")
	}
}

// A list of releases that is too old never says that a server has the newest.
func TestThePageSaysHowFarBehindTheServerIs(t *testing.T) {
	made := time.Date(2026, 8, 13, 0, 0, 0, 0, time.UTC)
	for n, want := range map[int64]string{
		2:  "17.6 (2 minor releases behind, by a list that is 107 d 12 h old)",
		0:  "17.6 (no newer minor release by a list that is 107 d 12 h old)",
		-1: "17.6 (whether there is a newer minor release is not known: the list is 107 d 12 h old)",
	} {
		is := status.Server{Version: "17.6", ReleasesKnownAt: &made, MinorReleasesBehind: &n}
		if n < 0 {
			is.MinorReleasesBehind = nil
		}
		if page := draw(t, status.Status{State: status.State{Status: status.Up}, Server: &is,
			GeneratedAt: made.Add(107*24*time.Hour + 12*time.Hour)},
			View{}); !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func TestTheWatchdogIsOnThePage(t *testing.T) {
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	s := status.Status{State: status.State{Status: status.Up}, GeneratedAt: now}
	at := now.Add(-10 * time.Minute)
	for want, is := range map[string]status.Watchdog{
		"Off: a server that hangs waits for a person": {},
		"On. After 30 s in which the server takes connections and answers nobody: restart of the container db.": {On: true, AfterSeconds: 30,
			Action: "restart of the container db"},
		"<strong>Does nothing just now:</strong> another exporter is the watchdog.": {On: true, Idle: "another exporter is the watchdog"},
		"Acted last 10 min ago, 2 of at most 3 times in the last hour. Left a silent server alone 10 min ago: its disk is full.": {On: true,
			LastRestartAt: &at, RestartsLastHour: 2, LeftAlone: "its disk is full", LeftAloneAt: &at},
	} {
		s.Watchdog = is
		if page := draw(t, s, View{}); !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func TestThePageCanBePaused(t *testing.T) {
	s := status.Status{State: status.State{Status: status.Up}}
	if page := draw(t, s, View{}); !strings.Contains(page, `http-equiv="refresh"`) || !strings.Contains(page, `data-refresh="10"`) ||
		!strings.Contains(page, `href="?pause=1"`) {
		t.Error("the page does not update itself, or can't be paused")
	}
	if page := draw(t, s, View{Paused: true}); strings.Contains(page, `http-equiv="refresh"`) || !strings.Contains(page, `data-refresh="0"`) {
		t.Error("a paused page goes on updating itself")
	}
}

func TestAShortOutageOfALongTimeIsSeen(t *testing.T) {
	b := newBar(status.Bucket{UpSeconds: 21596, DownSeconds: 4}, 0, 5, 21600)
	if b.Down < leastDown*stripHeight || b.Up <= 0 || b.Down+b.Unknown+b.Up > stripHeight+0.01 {
		t.Errorf("bar of 4 s down in 6 h = %+v", b)
	}
	if !strings.Contains(b.Title, "down 4 s") {
		t.Errorf("title = %q", b.Title)
	}
	if b = newBar(status.Bucket{UnknownSeconds: 60}, 0, 5, 60); b.Up != 0 || b.Down != 0 || b.Unknown != stripHeight {
		t.Errorf("bar of nothing observed = %+v", b)
	}
}

// What is not listed is counted.
func TestManySlots(t *testing.T) {
	all, clients := int64(70), int64(51)
	document := draw(t, status.Status{Replication: &status.Replication{
		SlotCount: &all, Slots: make([]status.Slot, 50), ClientCount: &clients, Clients: make([]status.ReplicationClient, 50),
	}}, View{})
	for _, want := range []string{"<summary>40 more</summary>", "20 more are not listed.", "1 more are not listed."} {
		if !strings.Contains(document, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

// Without pg_monitor nobody knows who receives WAL: that is not nobody.
func TestUnknownClients(t *testing.T) {
	const none = "No standby receives WAL from here."
	nobody := int64(0)
	if strings.Contains(draw(t, status.Status{Replication: &status.Replication{}}, View{}), none) {
		t.Error("the page says that no standby is there, which it can't know")
	}
	if !strings.Contains(draw(t, status.Status{Replication: &status.Replication{ClientCount: &nobody}}, View{}), none) {
		t.Error("the page does not say that no standby is there")
	}
}
