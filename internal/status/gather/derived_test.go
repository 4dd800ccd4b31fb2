package gather

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/pg-reliability/pg_reliability_exporter/alerts"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

type value struct {
	metric string
	value  float64
	labels []string
}

func pageOf(values ...value) page {
	p := page{}
	for _, v := range values {
		f := gaugeFamily(v.metric, v.value, v.labels...)
		if old := p[v.metric]; old != nil {
			f.Metric = append(old.Metric, f.Metric...)
		}
		p[v.metric] = f
	}
	return p
}

// limits are the alerts' thresholds.
func limits(t *testing.T) Thresholds {
	t.Helper()
	config, err := alerts.Load()
	if err != nil {
		t.Fatal(err)
	}
	out := Thresholds{ByName: map[string]float64{}, LagWarning: config.Thresholds["replication_lag_ticket_seconds"].Value,
		LagCritical: config.Thresholds["replication_lag_page_seconds"].Value}
	for name, is := range config.Thresholds {
		out.ByName[name] = is.Value
	}
	return out
}

func severity(list []status.Problem, alert string) string {
	if i := slices.IndexFunc(list, func(p status.Problem) bool { return p.Alert == alert }); i >= 0 {
		return list[i].Severity
	}
	return ""
}

// What a rule computes of several values is a problem on the page when the rule's own condition holds, and not before.
func TestDerivedProblemsAreThoseOfTheRules(t *testing.T) {
	is := limits(t).ByName
	at := func(d time.Duration) float64 { return float64(noon.Add(d).Unix()) }
	seconds := func(name string) time.Duration { return time.Duration(is[name] * float64(time.Second)) }
	slot := []string{"slot_name", "a", "slot_type", "physical"}
	keep, safe := value{"pg_settings_max_slot_wal_keep_size_bytes", 1000, nil}, "pg_replication_slots_safe_wal_size_bytes"
	kept := value{"pg_replication_slots_pg_wal_lsn_diff", is["slot_retained_bytes"] + 1, []string{"slot_name", "a"}}
	behind := value{"pg_reliability_replication_behind_bytes", is["replication_behind_bytes"] + 1, nil}
	replica, late := value{"pg_replication_is_replica", 1, nil}, value{"pg_replication_lag_seconds", is["replication_lag_page_seconds"] + 1,
		nil}
	told := value{applyDelay().Name, 3600, nil}
	beat := func(writer string, beyond float64) value {
		return value{probe.HeartbeatLag.Name, is["heartbeat_lag_seconds"] + beyond, []string{"writer", writer}}
	}
	enabled := value{"pg_reliability_archiver_enabled", 1, nil}
	dead, live := "pg_stat_user_tables_n_dead_tup", "pg_stat_user_tables_n_live_tup"
	table := []string{"datname", "d", "relname", "t", "schemaname", "s"}
	ends := "pg_reliability_role_password_expiry_timestamp_seconds"
	damaged := "pg_reliability_database_checksum_last_failure_timestamp_seconds"
	subscription := []string{"datname", "d", "subname", "s"}
	for _, tc := range []struct {
		name, alert, want string
		values            []value
	}{
		{"WAL to replay", "PostgresReplicationBehind", status.Warning, []value{behind}},
		{"as it is told to", "PostgresReplicationBehind", "", []value{behind, told}},
		{"late", "PostgresReplicationLag", status.Critical, []value{replica, late}},
		{"late as it is told to be", "PostgresReplicationLag", "", []value{replica, late, told}},
		{"heartbeats late", "PostgresHeartbeatLate", status.Warning, []value{beat("a", 1)}},
		{"one writer retired", "PostgresHeartbeatLate", "", []value{beat("a", 1000), beat("b", -1)}},
		{"heartbeats late as told", "PostgresHeartbeatLate", "", []value{beat("a", 1000), told}},
		{"half of its room", "PostgresSlotRetention", "", []value{keep, {safe, 500, slot}}},
		{"little room", "PostgresSlotRetention", status.Warning, []value{keep, {safe, 1000*is["slot_safe_ticket_ratio"] - 1, slot}}},
		{"no room", "PostgresSlotRetention", status.Critical,
			[]value{keep, {safe, -5, slot}, {safe, 900, []string{"slot_name", "b", "slot_type", "logical"}}}},
		{"no limit", "PostgresSlotUnlimited", status.Warning, []value{kept}},
		{"a limit", "PostgresSlotUnlimited", "", []value{kept, {safe, 500, slot}}},
		{"archiving fails", "PostgresArchiveFailing", status.Warning, []value{enabled, {"pg_reliability_archiver_failing", 1, nil}}},
		{"it failed before it was switched off", "PostgresArchiveFailing", "", []value{{"pg_reliability_archiver_failing", 1, nil}}},
		{"dead rows", "PostgresAutovacuumBehind", status.Warning,
			[]value{{dead, is["dead_rows_count"] + 1, table}, {live, is["dead_rows_count"], table}}},
		{"dead rows among many", "PostgresAutovacuumBehind", "",
			[]value{{dead, is["dead_rows_count"] + 1, table}, {live, 100 * is["dead_rows_count"], table}}},
		{"a small table", "PostgresAutovacuumBehind", "", []value{{dead, 100, table}, {live, 1, table}}},
		{"a password ends", "PostgresPasswordExpires", status.Warning,
			[]value{{ends, at(seconds("password_ticket_seconds") - time.Minute), []string{"rolname", "r"}}}},
		{"later", "PostgresPasswordExpires", "", []value{{ends, at(seconds("password_ticket_seconds") + time.Minute), []string{"rolname", "r"}}}},
		{"long ago", "PostgresPasswordExpires", "",
			[]value{{ends, at(-seconds("password_over_seconds") - time.Minute), []string{"rolname", "r"}}}},
		{"a wrong checksum", "PostgresChecksumFailure", status.Critical, []value{{damaged, at(-23 * time.Hour), []string{"datname", "d"}}}},
		{"a checksum of last week", "PostgresChecksumFailure", "", []value{{damaged, at(-25 * time.Hour), []string{"datname", "d"}}}},
		{"a denied function", "PostgresMonitoringIncomplete", status.Warning,
			[]value{{"pg_reliability_collector_denied", 1, []string{"function", "f()"}}}},
		{"a pooler that is down", "PgBouncerDown", status.Critical, []value{{"pgbouncer_up", 0, nil}}},
		{"a pooler that answers", "PgBouncerDown", "", []value{{"pgbouncer_up", 1, nil}}},
		{"a client waits for the pool", "PgBouncerSaturated", status.Warning, []value{{"pgbouncer_pools_client_maxwait_seconds",
			is["pgbouncer_wait_ticket_seconds"] + 1, []string{"database", "d", "user", "u"}}}},
		{"it waits long", "PgBouncerSaturated", status.Critical, []value{{"pgbouncer_pools_client_maxwait_seconds",
			is["pgbouncer_wait_page_seconds"] + 1, []string{"database", "d", "user", "u"}}}},
		{"it waits shortly", "PgBouncerSaturated", "", []value{{"pgbouncer_pools_client_maxwait_seconds", 1,
			[]string{"database", "d", "user", "u"}}}},
		{"a full pooler", "PgBouncerFull", status.Warning, []value{{"pgbouncer_used_clients", 95, nil},
			{"pgbouncer_config_max_client_connections", 100, nil}}},
		{"a pooler with room", "PgBouncerFull", "", []value{{"pgbouncer_used_clients", 5, nil},
			{"pgbouncer_config_max_client_connections", 100, nil}}},
		{"a subscription without its worker", "PostgresSubscriptionBroken", status.Critical,
			[]value{{"pg_reliability_subscription_enabled", 1, subscription}, {"pg_reliability_subscription_apply_workers", 0, subscription}}},
		{"one that is switched off", "PostgresSubscriptionBroken", "", []value{{"pg_reliability_subscription_enabled", 0, subscription},
			{"pg_reliability_subscription_apply_workers", 0, subscription}}},
		{"a small backup", "PostgresBackupTooSmall", status.Warning, []value{{"pg_reliability_backup_last_size_bytes", 49, nil},
			{"pg_reliability_backup_previous_size_bytes", 100, nil}}},
		{"the first backup", "PostgresBackupTooSmall", "", []value{{"pg_reliability_backup_last_size_bytes", 49, nil}}},
		{"an unreadable backup", "PostgresBackupUnreadable", status.Warning,
			[]value{{"pg_reliability_backup_count", 1, []string{"state", "unreadable"}}}},
		{"a damaged one", "PostgresBackupUnreadable", "", []value{{"pg_reliability_backup_count", 1, []string{"state", "damaged"}}}},
		{"a suspect one", "PostgresBackupSuspect", status.Warning,
			[]value{{"pg_reliability_backup_count", 1, []string{"state", "suspect"}}}},
		{"a backup that lacks a table", "PostgresBackupIncomplete", status.Warning,
			[]value{{"pg_reliability_backup_omitted", 1, []string{"kind", "table"}}}},
		{"a rehearsal with a network", "PostgresBackupUncaged", status.Warning,
			[]value{{"pg_reliability_backup_verify_uncaged", 1, []string{"part", "network"}}}},
		{"one on an old kernel", "PostgresBackupUncaged", "", []value{{"pg_reliability_backup_verify_uncaged", 1, []string{"part", "signals"}}}},
		{"what somebody chose", "PostgresBackupIncomplete", "", []value{{"pg_reliability_backup_omitted", 1, []string{"kind", "excluded"}}}},
		{"restored by itself", "PostgresAutoRestored", status.Critical,
			[]value{{"pg_reliability_backup_auto_restore_last_timestamp_seconds", at(-time.Hour), nil}}},
		{"long ago", "PostgresAutoRestored", "",
			[]value{{"pg_reliability_backup_auto_restore_last_timestamp_seconds", at(-48 * time.Hour), nil}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := pageOf(tc.values...)
			s := &status.Status{GeneratedAt: noon, Replication: p.replication()}
			found := problems(s, limits(t), probe.Snapshot{}, p, probe.HistoryBucket{}, &counters{})
			if got := severity(found, tc.alert); got != tc.want {
				t.Errorf("%s is %q, want %q: %+v", tc.alert, got, tc.want, found)
			}
		})
	}
	for p99, want := range map[time.Duration]string{seconds("probe_p99_seconds") + 1: status.Warning, seconds("probe_p99_seconds"): ""} {
		found := problems(&status.Status{GeneratedAt: noon}, limits(t), probe.Snapshot{}, nil, probe.HistoryBucket{Probes: 100, P99: p99},
			&counters{})
		if got := severity(found, "PostgresProbeSlow"); got != want {
			t.Errorf("probes of %s are %q, want %q", p99, got, want)
		}
	}
}

// What grows is a problem while somebody looks, as soon as the rule's amount was seen, also across a reset of the statistics.
func TestWhatGrowsIsAProblemWhileSomebodyLooks(t *testing.T) {
	is := limits(t).ByName
	const rounds = 31 // of 10 s
	enabled, ready := value{"pg_reliability_archiver_enabled", 1, nil}, value{"pg_reliability_archiver_ready_files", 3, nil}
	for _, tc := range []struct {
		name, alert, metric, want string
		at                        func(round int) float64
	}{
		{"deadlocks", "PostgresDeadlocks", "pg_stat_database_deadlocks", status.Warning,
			func(i int) float64 { return 1000 + float64(i)*(is["deadlocks_count"]+1)/29 }},
		{"few deadlocks", "PostgresDeadlocks", "pg_stat_database_deadlocks", "", func(i int) float64 { return 1000 + float64(i/10) }},
		{"deadlocks across a reset", "PostgresDeadlocks", "pg_stat_database_deadlocks", status.Warning, func(i int) float64 {
			return []float64{1000, is["deadlocks_count"] + 1}[min(i/15, 1)]
		}},
		{"temporary files", "PostgresTempFiles", "pg_stat_database_temp_bytes", status.Warning,
			func(i int) float64 { return float64(i) * 11 * is["temp_bytes_per_second"] }},
		{"few of them", "PostgresTempFiles", "pg_stat_database_temp_bytes", "",
			func(i int) float64 { return float64(i) * 9 * is["temp_bytes_per_second"] }},
		{"checkpoints", "PostgresCheckpointsFrequent", "pg_stat_bgwriter_checkpoints_req_total", status.Warning,
			func(i int) float64 { return float64(i) }},
		{"an archive that stands still", "PostgresArchiveFailing", "pg_stat_archiver_archived_count", status.Warning,
			func(int) float64 { return 5 }},
		{"one that goes on", "PostgresArchiveFailing", "pg_stat_archiver_archived_count", "", func(i int) float64 { return float64(i) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var c counters
			var p page
			for i := range rounds {
				p = pageOf(enabled, ready, value{tc.metric, tc.at(i), []string{"datname", "d"}})
				c.note(p, noon.Add(time.Duration(i)*10*time.Second))
			}
			found := problems(&status.Status{GeneratedAt: noon}, limits(t), probe.Snapshot{}, p, probe.HistoryBucket{}, &c)
			if got := severity(found, tc.alert); got != tc.want {
				t.Errorf("%s is %q, want %q: %+v", tc.alert, got, tc.want, found)
			}
		})
	}
	var c counters
	for i := range 10_000 { // somebody looks for a day
		c.note(pageOf(value{"pg_stat_database_deadlocks", 1, []string{"datname", fmt.Sprint(i)}}), noon.Add(time.Duration(i)*time.Second))
	}
	for key, points := range c.seen {
		if len(points) > pointsKept+2 || len(c.seen) > mostCounters {
			t.Fatalf("%d counters, of %v %d points", len(c.seen), key, len(points))
		}
	}
}

// Every alert that a person would get for a server is one that the page can name.
func TestEveryAlertOfAServerIsAProblem(t *testing.T) {
	// Of these the page tells elsewhere, or can't know.
	elsewhere := []string{
		"PostgresExporterDown", "PostgresTargetAbsent", "PostgresNoTargets", "PostgresRuleEvaluationFailing", "PostgresNotificationsFailing",
		"PostgresScrapeSlow", "Watchdog", // Prometheus' own
		"PostgresNoPrimary", "PostgresSplitBrain", // of several servers
		"PatroniNoLeader", "PatroniPaused", "PatroniPendingRestart", "PatroniFailsafe", "PatroniTimelineApart", "PatroniDCSLost", // Patroni's own
		// of a repository that had enough within the last 7 days
		"PostgresBackupTooFew",
		// the lists of restarts and outages
		"PostgresRestarted", "PostgresFailover", "PostgresCrashRecovery", "PostgresRestartLoop", "PostgresContainerRestarted",
		"PostgresHungRestarted",
		"PostgresRecoverySlow",
	}
	config, err := alerts.Load()
	if err != nil {
		t.Fatal(err)
	}
	rules, err := config.Rules(1)
	if err != nil {
		t.Fatal(err)
	}
	source := sourceOfProblems(t)
	for _, text := range rules {
		for line := range strings.Lines(text) {
			_, alert, ok := strings.Cut(strings.TrimSpace(line), "- alert: ")
			if ok && !slices.Contains(elsewhere, alert) && !strings.Contains(source, `"`+alert+`"`) {
				t.Errorf("%s is never a problem on the page", alert)
			}
		}
	}
}

// A server with many slots and clients costs the page little.
func TestManySlotsAndClientsAreReadAtOnce(t *testing.T) {
	families := map[string]*dto.MetricFamily{}
	add := func(name string, labels ...string) {
		if families[name] == nil {
			families[name] = &dto.MetricFamily{Name: &name}
		}
		families[name].Metric = append(families[name].Metric, gaugeFamily(name, 1, labels...).Metric...)
	}
	add("pg_replication_is_replica")
	const many = 5000
	for i := range many {
		slot := []string{"slot_name", fmt.Sprint("s", i), "slot_type", "physical"}
		client := []string{"application_name", fmt.Sprint("c", i), "client_addr", "::1", "state", "streaming", "slot_name", slot[1]}
		for _, name := range []string{"pg_replication_slots_slot_is_active", "pg_replication_slots_safe_wal_size_bytes",
			"pg_reliability_slot_invalidated"} {
			add(name, slot...)
		}
		add("pg_replication_slots_pg_wal_lsn_diff", slot[:2]...)
		add("pg_replication_slots_wal_status", append(slot, "wal_status", "reserved")...)
		add("pg_stat_replication_pg_current_wal_lsn_bytes", client...)
		add("pg_stat_replication_pg_wal_lsn_diff", client...)
		add("pg_reliability_replication_client_replay_lag_seconds", client...)
	}
	began := time.Now()
	r := page(families).replication()
	if took := time.Since(began); took > pgtest.Patience(2*time.Second) {
		t.Errorf("it took %s", took)
	}
	last := r.Slots[many-1]
	if len(r.Slots) != many || len(r.Clients) != listed || r.Clients[0].ReplayLagSeconds == nil || r.Clients[0].ReplayLagBytes == nil ||
		last.SafeBytes == nil || last.RetainedBytes == nil || last.Invalidated == nil || last.WALStatus != "reserved" {
		t.Errorf("%d slots, %+v; %+v", len(r.Slots), last, r.Clients[:1])
	}
}

// sourceOfProblems is the program's own text, where the names of alerts stand.
func sourceOfProblems(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, file := range []string{"problems.go", "measured.go", "derived.go", "counters.go", "recovery.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}
