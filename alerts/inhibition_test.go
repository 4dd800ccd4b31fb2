package alerts_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/stack"
)

// A cause mutes its symptoms and nothing else: asked of a real Alertmanager with our configuration. Each alert is
// named as cluster/instance/name, with its severity and area as its rule has them.
func TestInhibition(t *testing.T) {
	am := startAlertmanager(t, t.TempDir(), freeAddress(t), "http://127.0.0.1:1", func(config string) string { return config })
	const (
		loud  = "active"
		muted = "suppressed"
	)
	// Each story has clusters of its own.
	alarms := map[string]string{
		// Down mutes its own symptoms and its cluster's; backups, disks and the objective stay.
		"down/db1/PostgresDown critical primary":         loud,
		"down/db1/PostgresLongTransaction warning":       muted,
		"down/db1/PostgresConnectionsExhausted critical": muted,
		"down/db1/PostgresArchiveFailing critical":       muted,
		"down/db1/PostgresCollectorFailing warning":      muted,
		"down/db1/PostgresErrorBudgetBurn critical":      loud,
		"down/db1/PostgresDiskFull critical volume":      loud,
		"down/db1/PostgresBackupTooOld critical":         loud,
		"down/db2/PostgresReplicaNotStreaming critical":  muted,
		"down/db2/PostgresLongTransaction warning":       loud,
		"down//PostgresNoPrimary critical":               muted,
		"other/db3/PostgresReplicaNotStreaming critical": loud,
		// A standby that is down, or not seen, hides nothing of its cluster.
		"standby/db1/PostgresDown critical standby":        loud,
		"standby/db1/PostgresLongTransaction warning":      muted,
		"standby/db2/PostgresReplicaNotStreaming critical": loud,
		"standby//PostgresNoPrimary critical":              loud,
		"unseen/db1/PostgresExporterDown critical standby": loud,
		"unseen/db2/PostgresReplicaNotStreaming critical":  loud,
		"unseen//PostgresNoPrimary critical":               loud,
		// Without a cluster's name a server speaks for itself alone.
		"/db4/PostgresDown critical primary":        loud,
		"/db4/PostgresIdleInTransaction warning":    muted,
		"/db5/PostgresReplicaNotStreaming critical": loud,
		// The exporter's death says nothing about backups and disks.
		"blind/db6/PostgresExporterDown critical primary": loud,
		"blind/db6/PostgresCrashRecovery warning":         muted,
		"blind/db6/PostgresReplicationLag warning":        muted,
		"blind/db6/PostgresBackupFailed warning":          loud,
		"blind/db6/PostgresDiskFull warning":              loud,
		"blind//PostgresNoPrimary critical":               muted,
		"blind//PostgresSplitBrain critical":              loud,
		// One exporter of several servers.
		"fleet1/db11/PostgresExporterDown critical primary many:9187": loud,
		"fleet2/db12/PostgresExporterDown critical primary many:9187": loud,
		"fleet2/db12/PostgresBackupMissing critical":                  loud,
		// The same thing, worse.
		"worse/db7/PostgresDiskFull critical volume":          loud,
		"worse/db7/PostgresDiskFull warning volume":           muted,
		"worse/db7/PostgresDiskFillsSoon warning volume":      muted,
		"worse/db7/PostgresDiskFull warning another":          loud,
		"worse/db7/PostgresConnectionsExhausted critical":     loud,
		"worse/db7/PostgresConnectionsHigh warning":           muted,
		"worse/db8/PostgresConnectionsHigh warning":           loud,
		"worse/db8/PostgresReplicaNotStreaming critical":      loud,
		"worse/db8/PostgresReplicationLag critical":           muted,
		"worse/db8/PostgresReplicationBehind warning":         muted,
		"worse/db8/PostgresBackupUnverified critical":         loud,
		"worse/db8/PostgresBackupUnverified warning":          muted,
		"worse/db8/PostgresBackupMissing warning":             loud,
		"worse/db9/PostgresRestartLoop critical":              loud,
		"worse/db9/PostgresCrashRecovery critical":            muted,
		"worse/db9/PostgresErrorBudgetBurn critical":          loud,
		"worse/db9/PostgresSlotRetention critical slot_name":  loud,
		"worse/db9/PostgresSlotRetention warning slot_name":   muted,
		"worse/db10/PostgresSlotRetention warning other_slot": loud,
		"worse/db10/PostgresSequenceNearEnd critical orders":  loud,
		"worse/db10/PostgresSequenceNearEnd warning orders":   muted,
		"worse/db10/PostgresSequenceNearEnd warning items":    loud,
	}
	_, _, rules := shipped(t)
	// Everything at once on one server: of backups, disks and the objective nothing is muted, but a ticket by the page of
	// the same name, and "full soon" by "full".
	severities := map[string][]string{}
	for _, r := range rules {
		if s := r.Labels["severity"]; r.Alert != "" && s != "info" && !slices.Contains(severities[r.Alert], s) {
			severities[r.Alert] = append(severities[r.Alert], s)
		}
	}
	for _, r := range rules {
		s := r.Labels["severity"]
		if r.Alert == "" || s == "info" {
			continue
		}
		want := "" // as the stories say
		if slices.Contains([]string{"backup", "disk", "slo"}, r.Labels["area"]) {
			want = loud
			if s == "warning" && len(severities[r.Alert]) == 2 || r.Alert == "PostgresDiskFillsSoon" {
				want = muted
			}
		}
		alarms["every/db20/"+r.Alert+" "+s] = want
	}
	type alert struct {
		Labels map[string]string `json:"labels"`
	}
	var all []alert
	for spec := range alarms {
		path, rest, _ := strings.Cut(spec, " ")
		where := strings.SplitN(path, "/", 3)
		words := strings.Fields(rest)
		labels := map[string]string{"story": spec, "alertname": where[2], "severity": words[0]}
		if where[0] != "" {
			labels["cluster"] = where[0]
		}
		if where[1] != "" {
			labels["instance"] = where[1]
		}
		if len(words) > 1 {
			label := "volume"
			switch where[2] {
			case "PostgresSequenceNearEnd":
				label = "sequencename"
			case "PostgresDown", "PostgresExporterDown":
				label = "role"
			}
			labels[label] = words[1]
		}
		if len(words) > 2 {
			labels["exporter"] = words[2]
		}
		for _, r := range rules {
			if r.Alert == where[2] && r.Labels["severity"] == words[0] {
				labels["area"] = r.Labels["area"]
			}
		}
		if labels["area"] == "" {
			t.Fatalf("%s is no alert", spec)
		}
		all = append(all, alert{labels})
	}
	body, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, am.URL+"/api/v2/alerts", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	// The state is set when a group is notified, which takes its group_wait.
	var last map[string]string
	pgtest.Eventually(t, time.Minute, func() error {
		time.Sleep(100 * time.Millisecond)
		text, err := stack.Get(am.URL + "/api/v2/alerts")
		if err != nil {
			return err
		}
		var answer []struct {
			Labels map[string]string
			Status struct{ State string }
		}
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			return err
		}
		last = map[string]string{}
		for _, a := range answer {
			last[a.Labels["story"]] = a.Status.State
		}
		for spec := range alarms {
			if last[spec] == "unprocessed" || last[spec] == "" {
				return fmt.Errorf("%s is %q", spec, last[spec])
			}
		}
		return nil
	})
	for spec, want := range alarms {
		if want != "" && last[spec] != want {
			t.Errorf("%s is %s, want %s", spec, last[spec], want)
		}
	}
	grouping(t, am.URL)
}

// grouping checks what shares a notification: one server's alerts, its backups apart, and all servers of one exporter
// that is down.
func grouping(t *testing.T, url string) {
	t.Helper()
	text, err := stack.Get(url + "/api/v2/alerts/groups")
	if err != nil {
		t.Fatal(err)
	}
	var groups []struct {
		Labels map[string]string
		Alerts []struct{ Labels map[string]string }
	}
	if err := json.Unmarshal([]byte(text), &groups); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, g := range groups {
		for _, a := range g.Alerts {
			n++
			want := map[string]string{}
			for _, by := range []string{"cluster", "instance"} {
				if v := a.Labels[by]; v != "" {
					want[by] = v
				}
			}
			if a.Labels["area"] == "backup" {
				want["area"] = "backup"
			}
			if exporter := a.Labels["exporter"]; exporter != "" {
				want = map[string]string{"exporter": exporter}
			}
			if !maps.Equal(g.Labels, want) {
				t.Errorf("%s is in the group %v, want %v", a.Labels["story"], g.Labels, want)
			}
		}
	}
	if n == 0 {
		t.Error("there are no groups")
	}
}
