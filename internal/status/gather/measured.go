package gather

import (
	"fmt"
	"math"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

// measured is a problem that one measured value tells of: what an alert's rule compares with a threshold, compared here with the
// same one, by its name in alerts/thresholds.yml. Of several series the worst counts.
type measured struct {
	alert, metric string
	// ticket and page name thresholds; an empty ticket is 0, and an empty page is none.
	ticket, page string
	// message has one %s, for the value.
	message string
	words   func(float64) string
}

func ratio(v float64) string { return fmt.Sprintf("%.0f %%", 100*v) }
func count(v float64) string { return fmt.Sprintf("%.0f", v) }
func times(v float64) string { return fmt.Sprintf("%.1f", v) }

func allMeasured() []measured {
	const own = "pg_reliability_"
	return []measured{
		{"PostgresLongTransaction", own + "oldest_transaction_age_seconds", "long_transaction_seconds", "", "a transaction has been open for %s", status.Lasting},
		{"PostgresLongTransaction", own + "prepared_transactions_oldest_age_seconds", "long_transaction_seconds", "",
			"a transaction has been prepared for %s, and not ended", status.Lasting},
		{"PostgresIdleInTransaction", own + "oldest_idle_in_transaction_age_seconds", "idle_in_transaction_seconds", "",
			"a session has been idle in its transaction for %s", status.Lasting},
		{"PostgresBlockedSessions", own + "blocked_oldest_wait_seconds", "blocked_ticket_seconds", "blocked_page_seconds",
			"a session has waited for a lock for %s", status.Lasting},
		{"PostgresArchiveBehind", own + "archiver_ready_files", "archive_ready_count", "", "%s WAL files wait to be archived", count},
		{"PostgresWraparoundXID", own + "wraparound_xid_ratio", "wraparound_ticket_ratio", "wraparound_page_ratio", "%s of a database's transaction ids are used up", ratio},
		{"PostgresWraparoundMXID", own + "wraparound_mxid_ratio", "wraparound_ticket_ratio", "wraparound_page_ratio", "%s of a database's multixact ids are used up", ratio},
		{"PostgresFreezeOverdue", own + "wraparound_xid_autovacuum_ratio", "freeze_overdue_factor", "",
			"a database's oldest transaction id is %s times as old as autovacuum lets it become", times},
		{"PostgresFreezeOverdue", own + "wraparound_mxid_autovacuum_ratio", "freeze_overdue_factor", "",
			"a database's oldest multixact id is %s times as old as autovacuum lets it become", times},
		{"PostgresSequenceNearEnd", own + "sequence_used_ratio", "sequence_ticket_ratio", "sequence_page_ratio", "%s of a sequence's values are used up", ratio},
		{"PostgresInvalidIndex", own + "invalid_indexes", "", "", "indexes that are invalid: %s", count},
		{"PostgresPendingRestart", own + "settings_pending_restart", "", "", "settings that wait for a restart: %s", count},
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
	if end := s.ChainEnd; !end.IsZero() {
		left := end.Sub(now).Seconds()
		f.graded(-left, -t.ByName["certificate_ticket_seconds"], -t.ByName["certificate_page_seconds"], "PostgresCertificateExpires",
			"a TLS certificate of the server ends at %s", status.Moment(end))
	}
	if s.Answers() {
		apart := s.Skew.Offset.Abs() - s.Skew.Uncertainty
		f.warning(apart.Seconds() > t.ByName["clock_skew_seconds"], "PostgresClockSkew", "the clocks of the server and of the exporter are %s apart",
			status.Lasting(apart.Seconds()))
	}
}
