package gather

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/metrics"
	"github.com/pg-reliability/pg_reliability_exporter/collector"
	"github.com/pg-reliability/pg_reliability_exporter/collector/pgbouncer"
	"github.com/pg-reliability/pg_reliability_exporter/collector/sqlmetric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

// checksumNews is for how long a wrong checksum is a problem, as the rule has it.
const checksumNews = 24 * time.Hour

// derived tells of what a rule computes of several values of one collection.
func (f *found) derived(p page, t Thresholds, now time.Time) {
	f.behind(p, t)
	f.heartbeats(p, t)
	f.slotsKeep(p, t)
	f.deadRows(p, t)
	f.passwords(p, t, now)
	archives := status.OrZero(p.number(sqlmetric.ArchiverEnabled)) == 1
	f.warning(archives && status.OrZero(p.number(sqlmetric.ArchiverFailing)) == 1, "PostgresArchiveFailing",
		"the last attempt to archive WAL failed")
	f.newestBackup(p, t, now)
	f.subscriptions(p)
	f.pgbouncer(p, t)
	f.denied(p)
	for _, at := range p.by(sqlmetric.DatabaseChecksumLastFailureTimestampSeconds, "datname") {
		if ago := now.Sub(moment(at)); ago < checksumNews {
			f.critical(true, "PostgresChecksumFailure", "a block of a database had a wrong checksum %s ago", status.Lasting(ago.Seconds()))
			break
		}
	}
}

func moment(seconds float64) time.Time { return time.UnixMilli(int64(seconds * 1000)) }

// denied tells of functions, where it is not pg_monitor that is lacking.
func (f *found) denied(p page) {
	functions := slices.Sorted(maps.Keys(p.by(collector.CollectorDenied, "function")))
	if len(functions) == 0 || slices.ContainsFunc(f.list, func(p status.Problem) bool { return p.Alert == "PostgresMonitoringIncomplete" }) {
		return
	}
	f.warning(true, "PostgresMonitoringIncomplete", "values are incomplete: the role may not call %s. HINT: GRANT EXECUTE ON FUNCTION",
		strings.Join(functions, ", "))
}

// behind leaves out a standby that is told to stay behind.
func (f *found) behind(p page, t Thresholds) {
	if status.OrZero(p.number(applyDelay())) > 0 {
		return
	}
	if left := p.number(sqlmetric.ReplicationBehindBytes); left != nil {
		f.warning(*left > t.ByName["replication_behind_bytes"], "PostgresReplicationBehind", "the standby has %s of WAL left to replay",
			status.Size(int64(*left)))
	}
}

// heartbeats that arrive are of several writers: as in the rule the nearest counts, and what a standby is told to wait does not.
func (f *found) heartbeats(p page, t Thresholds) {
	lags := slices.Collect(maps.Values(p.by(probe.HeartbeatLag, "writer")))
	if len(lags) == 0 {
		return
	}
	late := slices.Min(lags) - status.OrZero(p.number(applyDelay()))
	f.warning(late > t.ByName["heartbeat_lag_seconds"], "PostgresHeartbeatLate", "the newest heartbeat that arrived is %s old",
		status.Lasting(late))
}

// slotsKeep looks at the slot with the least room, and at the one without a limit that keeps most.
func (f *found) slotsKeep(p page, t Thresholds) {
	safe := p.by(sqlmetric.PgReplicationSlotsSafeWalSizeBytes, "slot_name")
	if keep := status.OrZero(p.number(sqlmetric.PgSettings("max_slot_wal_keep_size_bytes"))); keep > 0 && len(safe) > 0 {
		slot, left := worstOf(safe, func(a, b float64) int { return cmp.Compare(b, a) })
		part := max(left, 0) / keep
		f.graded(-part, -t.ByName["slot_safe_ticket_ratio"], -t.ByName["slot_safe_page_ratio"], "PostgresSlotRetention",
			"replication slot %s has %s of max_slot_wal_keep_size left", slot, ratio(part))
	}
	kept := p.by(sqlmetric.PgReplicationSlotsPgWalLsnDiff, "slot_name")
	maps.DeleteFunc(kept, func(slot string, _ float64) bool { _, limited := safe[slot]; return limited })
	if len(kept) > 0 {
		slot, bytes := worstOf(kept, cmp.Compare[float64])
		f.warning(bytes > t.ByName["slot_retained_bytes"], "PostgresSlotUnlimited", "replication slot %s keeps %s of WAL, and has no limit", slot,
			status.Size(int64(bytes)))
	}
}

// worstOf is the entry whose value is greatest by an order; of equal ones the first by its name.
func worstOf(of map[string]float64, order func(a, b float64) int) (name string, value float64) {
	for i, n := range slices.Sorted(maps.Keys(of)) {
		if i == 0 || order(of[n], value) > 0 {
			name, value = n, of[n]
		}
	}
	return name, value
}

// subscriptions that are to run have a worker.
func (f *found) subscriptions(p page) {
	workers := p.by(sqlmetric.SubscriptionApplyWorkers, "datname", "subname")
	broken := 0.0
	for name, is := range p.by(sqlmetric.SubscriptionEnabled, "datname", "subname") {
		if n, ok := workers[name]; ok && is == 1 && n == 0 {
			broken++
		}
	}
	f.critical(broken > 0, "PostgresSubscriptionBroken", "subscriptions whose worker does not run, or fails: %s", count(broken))
}

// pgbouncer is about the pooler before the server, where its console is watched.
func (f *found) pgbouncer(p page, t Thresholds) {
	up := p.number(pgbouncer.Up)
	f.critical(up != nil && *up == 0, "PgBouncerDown", "the PgBouncer before the server does not answer at its console")
	if waits := p.by(pgbouncer.ClientMaxWait, "database", "user"); len(waits) > 0 {
		_, longest := worstOf(waits, cmp.Compare[float64])
		f.graded(longest, t.ByName["pgbouncer_wait_ticket_seconds"], t.ByName["pgbouncer_wait_page_seconds"], "PgBouncerSaturated",
			"a client of PgBouncer has waited %s for a connection to the server", status.Lasting(longest))
	}
	if used, most := p.number(pgbouncer.UsedClients), p.number(pgbouncer.ConfigClients); used != nil && most != nil && *most > 0 {
		f.warning(*used / *most > t.ByName["pgbouncer_clients_ratio"], "PgBouncerFull", "%s of the clients that PgBouncer may have are connected",
			ratio(*used / *most))
	}
}

func (f *found) deadRows(p page, t Thresholds) {
	live := p.by(sqlmetric.PgStatUserTablesNLiveTup, tableLabels...)
	worst := 0.0
	for table, dead := range p.by(sqlmetric.PgStatUserTablesNDeadTup, tableLabels...) {
		if part := dead / (dead + live[table]); dead > t.ByName["dead_rows_count"] {
			worst = max(worst, part)
		}
	}
	f.warning(worst > t.ByName["dead_rows_ratio"], "PostgresAutovacuumBehind", "%s of a table's rows are dead", ratio(worst))
}

var tableLabels = []string{"datname", "schemaname", "relname"}

// passwords leaves out those whose end is long over: they were ended on purpose.
func (f *found) passwords(p page, t Thresholds, now time.Time) {
	soonest := math.Inf(1)
	for _, end := range p.by(sqlmetric.RolePasswordExpiryTimestampSeconds, "rolname") {
		if left := moment(end).Sub(now).Seconds(); left > -t.ByName["password_over_seconds"] {
			soonest = min(soonest, left)
		}
	}
	if soonest < t.ByName["password_ticket_seconds"] {
		f.warning(true, "PostgresPasswordExpires", "a role's password ends at %s",
			status.Moment(now.Add(time.Duration(soonest*float64(time.Second)))))
	}
}

// newestBackup tells of the repository what its list on the page does not.
func (f *found) newestBackup(p page, t Thresholds, now time.Time) {
	if size, before := p.number(metrics.LastSize), p.number(metrics.PreviousSize); size != nil && status.OrZero(before) > 0 {
		part := *size / *before
		f.warning(part < t.ByName["backup_size_ratio"], "PostgresBackupTooSmall", "the newest backup has %s of the size of the one before",
			ratio(part))
	}
	unreadable := status.OrZero(p.number(metrics.Count, "state", "unreadable"))
	f.warning(unreadable > 0, "PostgresBackupUnreadable", "backups that can't be read: %s", count(unreadable))
	suspect := status.OrZero(p.number(metrics.Count, "state", "suspect"))
	f.warning(suspect > 0, "PostgresBackupSuspect", "backups that are suspect, of which `pg_reliability_backup list` says why: %s",
		count(suspect))
	lacks := p.by(metrics.Omitted, "kind")
	maps.DeleteFunc(lacks, func(kind string, n float64) bool {
		return slices.Contains([]string{"excluded", "unlogged", "warning"}, kind) || n <= t.ByName["backup_omitted_count"]
	})
	f.warning(len(lacks) > 0, "PostgresBackupIncomplete", "the newest good backup lacks something, of these kinds: %s",
		strings.Join(slices.Sorted(maps.Keys(lacks)), ", "))
	open := p.by(metrics.Uncaged, "part")
	maps.DeleteFunc(open, func(part string, n float64) bool { return part != "files" && part != "network" || n == 0 })
	f.warning(len(open) > 0, "PostgresBackupUncaged", "backups are rehearsed without their cage, which lacks: %s",
		strings.Join(slices.Sorted(maps.Keys(open)), ", "))
	if at := p.number(metrics.AutoRestoreLast); at != nil {
		ago := now.Sub(moment(*at)).Seconds()
		f.critical(ago < t.ByName["backup_restored_seconds"], "PostgresAutoRestored",
			"the server was found empty and restored %s ago: what was written since that backup is gone", status.Lasting(ago))
	}
}

// slow tells of reads that took long in the last minutes.
func (f *found) slow(recent probe.HistoryBucket, t Thresholds) {
	limit := t.ByName["probe_p99_seconds"]
	f.warning(limit > 0 && recent.Probes > 0 && recent.P99.Seconds() > limit, "PostgresProbeSlow",
		"1 %% of the probes of the last %s took %s or more",
		status.Lasting(probe.RecentWindow.Seconds()), status.Lasting(recent.P99.Seconds()))
}
