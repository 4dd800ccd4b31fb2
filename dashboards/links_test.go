package dashboards_test

import (
	"encoding/json"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/alerts"
)

func output(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	return string(out), err
}

func rules(t testing.TB) []alerts.Rule {
	t.Helper()
	files, err := config(t).Rules(1)
	if err != nil {
		t.Fatal(err)
	}
	all, err := alerts.Parse(files)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func uids(t testing.TB) map[string]board {
	t.Helper()
	all := map[string]board{}
	for name, b := range shipped(t) {
		if _, twice := all[b.UID]; twice {
			t.Errorf("%s: its uid %q is another's", name, b.UID)
		}
		all[b.UID] = b
	}
	return all
}

var toBoard = regexp.MustCompile(`/d/([\w-]*)`)

func TestLinksLeadToBoards(t *testing.T) {
	all := uids(t)
	found := 0
	for name, b := range shipped(t) {
		text, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range toBoard.FindAllStringSubmatch(string(text), -1) {
			found++
			if _, ok := all[m[1]]; !ok {
				t.Errorf("%s leads to %q, which is no board", name, m[1])
			}
		}
		// All boards lead to each other, for the same time and servers.
		if !slices.ContainsFunc(b.Links, func(l link) bool {
			return l.Type == "dashboards" && slices.Equal(l.Tags, []string{"pg_reliability"}) && l.IncludeVars && l.KeepTime
		}) {
			t.Errorf("%s does not lead to the others", name)
		}
	}
	if found == 0 {
		t.Error("no panel leads to a board")
	}
}

// Who follows an alert's link finds a panel that is about it, and there the runbook.
func TestEachAlertHasAPanelOnItsBoard(t *testing.T) {
	all := uids(t)
	c := config(t)
	for _, r := range rules(t) {
		if r.Alert == "" {
			continue
		}
		uid, _, _ := strings.Cut(strings.TrimPrefix(r.Annotations["dashboard_url"], c.Links.Dashboard), "?")
		b, ok := all[uid]
		if !ok {
			t.Errorf("%s leads to %q, which is no board", r.Alert, uid)
			continue
		}
		runbook := c.Links.Runbook + r.Alert + ".md"
		if !slices.ContainsFunc(b.Panels, func(p panel) bool {
			return slices.ContainsFunc(p.Links, func(l link) bool { return l.URL == runbook })
		}) {
			t.Errorf("%s leads to %s, where no panel is about it", r.Alert, uid)
		}
	}
}
