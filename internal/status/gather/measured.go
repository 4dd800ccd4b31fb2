package gather

import (
	"fmt"
	"math"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/collector/sqlmetric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

// measured is a problem that one measured value tells of: what an alert's rule compares with a threshold, compared here with the
// same one, by its name in alerts/thresholds.yml. Of several series the worst counts.
type measured struct {
	alert  string
	metric *metric.Desc
	// ticket and page name thresholds; an empty ticket is 0, and an empty page is none.
	ticket, page string
	// message has one %s, for the value.
	message string
	words   func(float64) string
}

// ratio is cut and not rounded: what is nearly full is not full.
func ratio(v float64) string { return fmt.Sprintf("%.0f %%", math.Floor(100*v+1e-9)) }
func count(v float64) string { return fmt.Sprintf("%.0f", v) }
func times(v float64) string { return fmt.Sprintf("%.1f", v) }

func allMeasured() []measured {
	return []measured{
		{"PostgresLongTransaction", sqlmetric.OldestTransactionAgeSeconds, "long_transaction_seconds", "", "a transaction has been open for %s",
			status.Lasting},
		{"PostgresLongTransaction", sqlmetric.PreparedTransactionsOldestAgeSeconds, "long_transaction_seconds", "",
			"a transaction has been prepared for %s, and not ended", status.Lasting},
		{"PostgresIdleInTransaction", sqlmetric.OldestIdleInTransactionAgeSeconds, "idle_in_transaction_seconds", "",
			"a session has been idle in its transaction for %s", status.Lasting},
		{"PostgresBlockedSessions", sqlmetric.BlockedOldestWaitSeconds, "blocked_ticket_seconds", "blocked_page_seconds",
			"a session has waited for a lock for %s", status.Lasting},
		{"PostgresArchiveBehind", sqlmetric.ArchiverReadyFiles, "archive_ready_count", "", "%s WAL files wait to be archived", count},
		{"PostgresWraparoundXID", sqlmetric.WraparoundXidRatio, "wraparound_ticket_ratio", "wraparound_page_ratio",
			"%s of a database's transaction ids are used up", ratio},
		{"PostgresWraparoundMXID", sqlmetric.WraparoundMxidRatio, "wraparound_ticket_ratio", "wraparound_page_ratio",
			"%s of a database's multixact ids are used up", ratio},
		{"PostgresFreezeOverdue", sqlmetric.WraparoundXidAutovacuumRatio, "freeze_overdue_factor", "",
			"a database's oldest transaction id is %s times as old as autovacuum lets it become", times},
		{"PostgresFreezeOverdue", sqlmetric.WraparoundMxidAutovacuumRatio, "freeze_overdue_factor", "",
			"a database's oldest multixact id is %s times as old as autovacuum lets it become", times},
		{"PostgresSequenceNearEnd", sqlmetric.SequenceUsedRatio, "sequence_ticket_ratio", "sequence_page_ratio",
			"%s of a sequence's values are used up", ratio},
		{"PostgresVacuumHeldBack", sqlmetric.VacuumHorizonAutovacuumRatio, "horizon_ratio", "",
			"vacuum is held back by a transaction as old as %s of autovacuum_freeze_max_age", ratio},
		{"PostgresUnsafeSetting", sqlmetric.SettingUnsafe, "", "", "settings that risk the data: fsync, full_page_writes, autovacuum or " +
			"track_counts is off (%s)", count},
		{"PostgresMinorReleaseBehind", sqlmetric.MinorReleasesBehind, "", "", "minor releases that the server is behind, at least: %s", count},
		{"PostgresInvalidIndex", sqlmetric.InvalidIndexes, "", "", "indexes that are invalid: %s", count},
		{"PostgresPendingRestart", sqlmetric.SettingsPendingRestart, "", "", "settings that wait for a restart: %s", count},
	}
}

// measured tells of what the newest collection gave.
func (f *found) measured(p page, t Thresholds) {
	for _, m := range allMeasured() {
		worst := math.Inf(-1)
		p.each(m.metric, func(_ map[string]string, v float64) {
			if !math.IsNaN(v) {
				worst = max(worst, v)
			}
		})
		critical := math.Inf(1)
		if m.page != "" {
			critical = t.ByName[m.page]
		}
		f.graded(worst, t.ByName[m.ticket], critical, m.alert, m.message, m.words(worst))
	}
}

// seen tells of what the prober saw beside its probes.
func (f *found) seen(s probe.Snapshot, t Thresholds, now time.Time) {
	f.warning(s.Answers() && s.Server.Sight == probe.PartialSight, "PostgresMonitoringIncomplete",
		"values are incomplete: the role %s lacks pg_monitor. HINT: GRANT pg_monitor TO %[1]s", s.User)
	const lost = "counts of outages and restarts will be lost when the exporter stops"
	f.warning(s.Keeping.Loading, "PostgresMonitoringIncomplete",
		"the state directory does not answer: counts of outages and restarts are absent. HINT: Look for a disk or network file system that hangs")
	f.warning(s.Keeping.Locked, "PostgresMonitoringIncomplete",
		"another exporter keeps its state in the state directory: %s. HINT: Give each its own --state.dir", lost)
	f.warning(s.Keeping.Failing, "PostgresMonitoringIncomplete",
		"the state directory can't be used: %s. %s. HINT: Give the exporter's user a directory to write to, with room, by --state.dir",
		s.Keeping.Error, lost)
	if end := s.ChainEnd; !end.IsZero() {
		left := end.Sub(now).Seconds()
		f.graded(-left, -t.ByName["certificate_ticket_seconds"], -t.ByName["certificate_page_seconds"], "PostgresCertificateExpires",
			"a TLS certificate of the server ends at %s", status.Moment(end))
	}
	if s.Answers() {
		apart := s.Skew.Offset.Abs() - s.Skew.Uncertainty
		f.warning(apart.Seconds() > t.ByName["clock_skew_seconds"], "PostgresClockSkew", "the clocks of the server and of the exporter are "+
			"%s apart",
			status.Lasting(apart.Seconds()))
	}
}
