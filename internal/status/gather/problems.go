package gather

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/metrics"
	"github.com/pg-reliability/pg_reliability_exporter/collector/sqlmetric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

// Thresholds are what is a problem, as in alerts/thresholds.yml. Lengths of time are seconds.
type Thresholds struct {
	Objective                                     float64
	ConnectionsHigh                               float64
	DiskUsedWarning, DiskUsedCritical             float64
	DiskFillsWarning, DiskFillsCritical           float64
	DiskFillsBelow                                float64
	InodesFree                                    float64
	LagWarning, LagCritical                       float64
	BackupSlack, BackupAge, BackupLate            float64
	BackupVerifiedWarning, BackupVerifiedCritical float64
	RestoreObjective                              float64
	// ByName are all of them, by their names in that file.
	ByName map[string]float64
}

// found collects problems.
type found struct{ list []status.Problem }

func (f *found) critical(when bool, alert, message string, args ...any) {
	f.add(when, status.Critical, alert, message, args...)
}

func (f *found) warning(when bool, alert, message string, args ...any) {
	f.add(when, status.Warning, alert, message, args...)
}

func (f *found) add(when bool, severity, alert, message string, args ...any) {
	if when {
		f.list = append(f.list, status.Problem{Alert: alert, Severity: severity, Message: fmt.Sprintf(message, args...)})
	}
}

// graded reports one problem at most: the more severe of the two whose threshold is reached.
func (f *found) graded(value, warning, critical float64, alert, message string, args ...any) {
	f.critical(value > critical, alert, message, args...)
	f.warning(value > warning && value <= critical, alert, message, args...)
}

// problems looks at this moment alone, so each is named after the alert that would follow if it lasted. The worst
// come first.
func problems(s *status.Status, t Thresholds, seen probe.Snapshot, p page, recent probe.HistoryBucket, c *counters) []status.Problem {
	f := &found{list: []status.Problem{}}
	f.seen(seen, t, s.GeneratedAt)
	f.measured(p, t)
	f.derived(p, t, s.GeneratedAt)
	f.counted(c, p, t)
	f.slow(recent, t)
	f.state(s)
	f.connections(s.Connections, t)
	for _, v := range s.Volumes {
		f.volume(v, t, s.MeasuredAt != nil)
	}
	f.replication(s.Replication, t, status.OrZero(p.number(applyDelay())))
	inState := func(state string) int64 { return int64(status.OrZero(p.number(metrics.Count, "state", state))) }
	f.backups(s.Backups, t, s.GeneratedAt, inState("unreadable")+inState("suspect"))
	f.recovery(s.Backups)
	if c := s.Container; c != nil {
		f.warning(c.OOMKilled, "PostgresContainerOOMKilled", "out of memory: the kernel killed a process of container %s", c.Name)
	}
	f.warning(s.Availability.Budget.LeftSeconds < 0, "PostgresErrorBudgetBurn", "the error budget of 30 days is spent")
	f.collectors(s.Collectors)
	for i := range f.list {
		if s.Links.Runbooks != "" {
			f.list[i].Runbook = s.Links.Runbooks + f.list[i].Alert + ".md"
		}
	}
	slices.SortStableFunc(f.list, func(a, b status.Problem) int { return cmp.Compare(a.Severity, b.Severity) })
	return f.list
}

// collectors are one problem when many fail: a server that is too slow for one is so for most, and what is worse must not
// drown in them.
func (f *found) collectors(c status.Collectors) {
	const each = 3
	if n := len(c.Failing); n > each {
		f.warning(true, "PostgresCollectorFailing", "%d of %d collectors fail, %s among them: %s", n, c.Count, c.Failing[0].Name,
			c.Failing[0].Error)
		return
	}
	for _, failing := range c.Failing {
		f.warning(true, "PostgresCollectorFailing", "collector %s fails: %s", failing.Name, failing.Error)
	}
}

func (f *found) state(s *status.Status) {
	full := s.State.Reason == string(postgres.TooManyConnections)
	reads := !slices.ContainsFunc(s.Probes, func(p status.Probe) bool { return p.Name == "read" && p.Status != status.Up })
	switch s.State.Status {
	case status.Down:
		f.critical(full, "PostgresConnectionsExhausted", "logins fail: no connection slot is left")
		f.critical(!full && reads, "PostgresLoginFailing", "logins fail: %s; sessions that are open go on working", s.State.Reason)
		f.critical(!full && !reads, "PostgresDown", "the database is down: %s%s", s.State.Reason, stopped(s.Container))
	case status.Degraded:
		f.critical(true, "PostgresDown", "writes fail: %s; reads and logins succeed", s.State.Reason)
	}
}

// stopped says that the database's container does not run, where that is known.
func stopped(c *status.Container) string {
	switch {
	case c == nil || c.Running:
		return ""
	case c.ExitCode != nil:
		return fmt.Sprintf("; container %s is %s, exit code %d", c.Name, c.State, *c.ExitCode)
	}
	return fmt.Sprintf("; container %s is %s", c.Name, c.State)
}

func (f *found) connections(c *status.Connections, t Thresholds) {
	if c == nil {
		return
	}
	slots := c.Used + c.Free
	f.critical(c.Free == 0, "PostgresConnectionsExhausted", "no connection slot is left for ordinary roles")
	f.warning(c.Free > 0 && float64(c.Used) > t.ConnectionsHigh*float64(slots), "PostgresConnectionsHigh",
		"%d of %d connection slots are taken", c.Used, slots)
}

func (f *found) volume(v status.Volume, t Thresholds, measured bool) {
	f.warning(measured && !v.OK, "PostgresVolumeUnreadable", "volume %s at %s does not answer", v.Name, v.Path)
	if !v.OK {
		return
	}
	f.critical(v.ReadOnly != nil && *v.ReadOnly, "PostgresVolumeReadOnly", "volume %s can't be written", v.Name)
	if v.UsedRatio == nil {
		return
	}
	f.graded(*v.UsedRatio, t.DiskUsedWarning, t.DiskUsedCritical, "PostgresDiskFull", "volume %s is %s full", v.Name, ratio(*v.UsedRatio))
	if left := v.TimeToFullSeconds; left != nil && *v.UsedRatio > 1-t.DiskFillsBelow && status.OrZero(v.TrendSeconds) >= trendWarns.Seconds() {
		f.graded(-*left, -t.DiskFillsWarning, -t.DiskFillsCritical, "PostgresDiskFillsSoon", "volume %s is full in %s if it goes on so", v.Name,
			status.Lasting(*left))
	}
	if left := v.InodesFreeRatio; left != nil {
		f.warning(*left < t.InodesFree, "PostgresInodesLow", "volume %s has %.0f %% of its inodes left", v.Name, 100**left)
	}
}

// applyDelay is the setting that tells a standby to stay behind.
func applyDelay() *metric.Desc { return sqlmetric.PgSettings("recovery_min_apply_delay_seconds") }

// replication takes a standby for late when it lags more than it is told to.
func (f *found) replication(r *status.Replication, t Thresholds, delay float64) {
	if r == nil {
		return
	}
	f.critical(r.Streaming != nil && !*r.Streaming, "PostgresReplicaNotStreaming", "the standby receives nothing from its primary")
	if r.LagSeconds != nil {
		f.graded(*r.LagSeconds-delay, t.LagWarning, t.LagCritical, "PostgresReplicationLag", "the standby is %.0f s behind its primary",
			*r.LagSeconds)
	}
	for _, s := range r.Slots {
		f.critical(s.Invalidated != nil && *s.Invalidated, "PostgresSlotLost", "replication slot %s is of no use any more: its WAL or rows "+
			"are gone", s.Name)
	}
}

// backups leaves those that can't be read or are suspect to newestBackup, which tells of them by their own names.
func (f *found) backups(b *status.Backups, t Thresholds, now time.Time, elsewhere int64) {
	if b == nil {
		return
	}
	if !b.Readable {
		f.critical(true, "PostgresBackupRepositoryUnreadable", "the backup repository can't be read: %s", cmp.Or(b.CatalogError, "unknown"))
		return
	}
	if b.Newest == nil {
		f.critical(true, "PostgresBackupMissing", "there is no good backup")
	} else {
		oldest := t.BackupAge
		if b.IntervalSeconds != nil {
			oldest = *b.IntervalSeconds + t.BackupSlack
		}
		if b.AgeLimitSeconds != nil {
			oldest = *b.AgeLimitSeconds
		}
		f.critical(b.NewestAgeSeconds != nil && *b.NewestAgeSeconds > oldest, "PostgresBackupTooOld", "the newest good backup is of %s",
			b.Newest.FinishedAt.Format(time.DateTime))
		f.warning(b.LastVerifiedAt == nil, "PostgresBackupUnverified", "no backup was ever restored and compared")
	}
	if b.LastVerifiedAt != nil {
		f.graded(now.Sub(*b.LastVerifiedAt).Seconds(), t.BackupVerifiedWarning, t.BackupVerifiedCritical, "PostgresBackupUnverified",
			"no backup was restored and compared since %s", b.LastVerifiedAt.Format(time.DateTime))
	}
	failed := b.LastFailureAt != nil && (b.Newest == nil || b.LastFailureAt.After(b.Newest.FinishedAt))
	f.warning(failed, "PostgresBackupFailed", "the last backup failed: %s", b.LastFailureReason)
	damaged := status.OrZero(b.BadCount) - elsewhere
	f.warning(damaged > 0, "PostgresBackupDamaged", "backups that are damaged: %d", damaged)
	f.silentJob(b, t, now)
	f.warning(b.RestoreSeconds != nil && *b.RestoreSeconds > t.RestoreObjective, "PostgresRestoreSlow",
		"the last measured restore took %.0f s", status.OrZero(b.RestoreSeconds))
}

// silentJob is about a daemon that does not what it announced: a ticket when its run is late, and a page when it is late by more than the
// alert waits for, or gone.
func (f *found) silentJob(b *status.Backups, t Thresholds, now time.Time) {
	const alert = "PostgresBackupJobSilent"
	if b.NextRunAt == nil {
		return
	}
	late := now.Sub(*b.NextRunAt)
	switch {
	case b.DaemonAlive != nil && !*b.DaemonAlive:
		f.critical(true, alert, "the backup job is gone: nobody will begin the run of %s", b.NextRunAt.Format(time.DateTime))
	case b.RunningSince != nil: // what is due is under way
	case late.Seconds() > t.BackupLate:
		f.critical(true, alert, "the backup job did not begin the run it announced")
	default:
		f.warning(late > catalog.LateRun, alert, "the backup job is late: the run of %s has not begun", b.NextRunAt.Format(time.DateTime))
	}
}
