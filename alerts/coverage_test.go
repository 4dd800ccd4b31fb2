package alerts_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/alerts"
)

// injected says which real fault proves which alerts: the promise that the chaos tests and the rules are held to, in
// both directions. "-" is a fault that must be heard by nobody.
var injected = map[string][]string{
	"server-killed":           {"PostgresDown"},
	"server-frozen":           {"PostgresDown"},
	"server-away":             {"-"},
	"server-restarted":        {"-"},
	"server-stutters":         {"-"},
	"restart-loop":            {"PostgresRestartLoop"},
	"backend-killed":          {"PostgresCrashRecovery"},
	"connections-exhausted":   {"PostgresConnectionsExhausted"},
	"network-cut":             {"PostgresDown"},
	"failed-over":             {"-"},
	"roles-locked":            {"PostgresLoginFailing"},
	"lock-with-waiters":       {"PostgresBlockedSessions"},
	"idle-in-transaction":     {"PostgresIdleInTransaction"},
	"volume-fills":            {"PostgresDiskFillsSoon", "PostgresDiskFull"},
	"volume-filled":           {"PostgresDiskFull"},
	"volume-read-only":        {"PostgresVolumeReadOnly"},
	"archive-broken":          {"PostgresArchiveFailing"},
	"archive-hangs":           {"PostgresArchiveFailing"},
	"transaction-prepared":    {"PostgresLongTransaction"},
	"slot-retains-wal":        {"PostgresSlotRetention"},
	"replica-cut-off":         {"PostgresReplicaNotStreaming"},
	"two-primaries":           {"PostgresSplitBrain"},
	"backup-job-killed":       {"PostgresBackupJobSilent"},
	"backup-job-stopped":      {"PostgresBackupJobSilent"},
	"backup-corrupted":        {"PostgresBackupDamaged", "PostgresBackupTooFew"},
	"table-dropped":           {"PostgresBackupSuspect"},
	"server-emptied":          {"PostgresAutoRestored"},
	"container-restarted":     {"PostgresContainerRestarted"},
	"container-out-of-memory": {"PostgresContainerOOMKilled", "PostgresDown"},
	"clock-skewed":            {"PostgresClockSkew"},
	"exporter-killed":         {"PostgresExporterDown"},
	"pooler-saturated":        {"PgBouncerSaturated"},
	"pooler-killed":           {"PgBouncerDown"},
	"vacuum-held-back":        {"PostgresVacuumHeldBack"},
	"subscription-broken":     {"PostgresSubscriptionBroken"},
	"setting-unsafe":          {"PostgresUnsafeSetting"},
	deadManFault:              {"Watchdog"},
}

// unitOnly are the alerts that no fault injects, by why. Their unit tests must do.
var unitOnly = map[string][]string{
	"it takes days of history, or of waiting": {
		"PostgresBackupTooOld", "PostgresBackupUnverified", "PostgresErrorBudgetBurn", "PostgresTargetAbsent",
		"PostgresFreezeOverdue", "PostgresWraparoundXID", "PostgresWraparoundMXID",
	},
	"it takes more load, data or disk than a test has": {
		"PostgresProbeSlow", "PostgresScrapeSlow", "PostgresTempFiles", "PostgresCheckpointsFrequent", "PostgresAutovacuumBehind",
		"PostgresReplicationBehind", "PostgresSlotUnlimited", "PostgresRestoreSlow", "PostgresArchiveBehind",
	},
	"a fault of the list leads to it and to a worse alert that mutes it, or it is info and is not sent": {
		"PostgresConnectionsHigh", "PostgresReplicationLag", "PostgresRecoverySlow", "PostgresRestarted", "PostgresFailover",
		"PostgresNoPrimary", "PostgresSlotLost",
	},
	"its way is that of an alert of the list: one metric, one threshold": {
		"PostgresDeadlocks", "PostgresInodesLow", "PostgresVolumeUnreadable", "PostgresHeartbeatLate",
		"PostgresChecksumFailure", "PostgresPendingRestart", "PostgresMinorReleaseBehind", "PostgresBackupRepositoryUnreadable",
		"PostgresBackupMissing",
		"PostgresBackupFailed", "PostgresBackupTooSmall", "PostgresBackupIncomplete", "PostgresBackupUnreadable", "PostgresCollectorFailing",
		"PostgresBackupUncaged",
		"PostgresInvalidIndex", "PostgresSequenceNearEnd", "PgBouncerFull",
		"PostgresRecoveryPointMissed", "PostgresRecoveryTimeMissed",
		"PostgresCertificateExpires", "PostgresPasswordExpires", "PostgresMonitoringIncomplete",
	},
	"it reads Patroni's own metrics, which are looked up on the pages of a real one; no test here breaks a Patroni": {
		"PatroniNoLeader", "PatroniDCSLost", "PatroniFailsafe", "PatroniPaused", "PatroniPendingRestart", "PatroniTimelineApart",
	},
	"package watchdog's tests and those of compose freeze a server, and see it restarted": {"PostgresHungRestarted"},
	"it is about the monitoring of all servers, which the other faults need": {
		"PostgresNoTargets", "PostgresRuleEvaluationFailing", "PostgresNotificationsFailing",
	},
}

func TestEachFaultProvesItsAlerts(t *testing.T) {
	_, _, rules := shipped(t)
	if err := coverage(injected, unitOnly, faults(), rules); err != nil {
		t.Error(err)
	}
}

// coverage compares what should be injected with what is, and both with the rules.
func coverage(injected, unitOnly map[string][]string, faults []fault, rules []alerts.Rule) error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	heard := map[string][]string{deadManFault: {"Watchdog"}} // the one that is no server's
	for _, f := range faults {
		names := []string{}
		for _, a := range f.want {
			names = append(names, a.name)
		}
		if len(names) == 0 {
			names = []string{"-"}
		}
		slices.Sort(names)
		heard[f.name] = slices.Compact(names)
	}
	proved := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(injected)) {
		want := slices.Sorted(slices.Values(injected[name]))
		if got, exists := heard[name]; !exists {
			fail("%s should be injected and has no chaos test", name)
		} else if !slices.Equal(got, want) {
			fail("%s should lead to %v; its chaos test waits for %v", name, want, got)
		}
		for _, alert := range want {
			proved[alert] = alert != "-"
		}
	}
	for _, name := range slices.Sorted(maps.Keys(heard)) {
		if injected[name] == nil {
			fail("the chaos test %s is not in the list of faults. HINT: Add it to `injected`", name)
		}
	}
	known := map[string]bool{"-": true}
	for _, r := range rules {
		known[r.Alert] = true
	}
	excused := map[string]string{}
	for why, names := range unitOnly {
		for _, alert := range names {
			switch {
			case !known[alert]:
				fail("%s is excused from chaos and is no alert", alert)
			case proved[alert]:
				fail("%s is excused from chaos and has a fault", alert)
			case excused[alert] != "":
				fail("%s is excused twice", alert)
			}
			excused[alert] = why
		}
	}
	for alert := range proved {
		if !known[alert] {
			fail("%s should be heard and is no alert", alert)
		}
	}
	for _, alert := range slices.Sorted(maps.Keys(known)) {
		if alert != "" && alert != "-" && !proved[alert] && excused[alert] == "" {
			fail("%s has no fault that proves it. HINT: Inject one, or say in `unitOnly` why unit tests must do", alert)
		}
	}
	return errors.Join(errs...)
}

// Whatever is taken away or added on one side alone is noticed.
func TestCoverageSeesWhatIsMissing(t *testing.T) {
	_, _, rules := shipped(t)
	// without returns a copy that lacks a key, or, with a value, has it changed.
	with := func(m map[string][]string, key string, value ...string) map[string][]string {
		m = maps.Clone(m)
		if delete(m, key); value != nil {
			m[key] = value
		}
		return m
	}
	all := faults()
	for want, err := range map[string]error{
		"server-killed should be injected and has no chaos test": coverage(injected, unitOnly, all[1:], rules),
		"the chaos test new is not in the list of faults":        coverage(injected, unitOnly, append(all, fault{name: "new"}), rules),
		"the chaos test server-killed is not in the list":        coverage(with(injected, "server-killed"), unitOnly, all, rules),
		"its chaos test waits for [PostgresDown]": coverage(with(injected, "server-killed", "PostgresNoPrimary"), unitOnly, all,
			rules),
		"New has no fault that proves it":                    coverage(injected, unitOnly, all, append(rules, alerts.Rule{Alert: "New"})),
		"PostgresGone should be heard and is no alert":       coverage(with(injected, "gone", "PostgresGone"), unitOnly, all, rules),
		"PostgresGone is excused from chaos and is no alert": coverage(injected, with(unitOnly, "why", "PostgresGone"), all, rules),
		"PostgresDown is excused from chaos and has a fault": coverage(injected, with(unitOnly, "why", "PostgresDown"), all, rules),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}
