package serverlog

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

const namespace = "pg_reliability_log_"

var (
	declared metric.List

	descMessages = declared.Counter(namespace+"messages_total",
		"Messages in the server's log by severity and by class of SQLSTATE, its first two characters: unknown "+
			"where the log does not say (log_line_prefix without %e), other where PostgreSQL has none such.", "severity", "sqlstate_class")
	descLogins = declared.Counter(namespace+"failed_logins_total",
		"Logins that the server turned down, by reason: password, rejected (pg_hba.conf, no such role), "+
			"no_database, denied, too_many_connections, starting_up, shutting_down, other.", "reason")
	descEvents = declared.Counter(namespace+"events_total",
		"Messages that tell of something: deadlocks, statements ended by a timeout, by a user or by a standby's "+
			"replay, crashed processes, checkpoints that come too often, cancelled autovacuums, full disks and others.", "event")
	descTempFiles = declared.Counter(namespace+"temporary_files_total",
		"Temporary files that the server has logged (log_temp_files).")
	descTempBytes = declared.Counter(namespace+"temporary_file_bytes_total",
		"Their size in bytes.")
	descBytes = declared.Counter(namespace+"read_bytes_total",
		"Bytes of the server's log that were read.")
	descLines = declared.Counter(namespace+"dropped_lines_total",
		"Lines or messages that were not, or not wholly, read, by why: unread (no message of PostgreSQL), too_long "+
			"(beyond 64 KiB), too_many (counted, and left out of incidents: over 200 in a second).", "reason")
	descSkips = declared.Counter(namespace+"skips_total",
		"How often the exporter could not keep up with the log, and went on at its end.")
	descSkippedBytes = declared.Counter(namespace+"skipped_bytes_total",
		"Bytes of log files that were left out then.")
	descNewest = declared.Gauge(namespace+"last_message_timestamp_seconds",
		"When the newest message was written that was looked at: of those that tell of something, and some of the "+
			"others.")
	descFiles = declared.Gauge(namespace+"files",
		"Log files that are followed.")
	descUp = declared.Gauge(namespace+"source_up",
		"Whether the source of the log can be read: 0 where no file matches, or one can't be opened, or the "+
			"container engine refuses.", "source")
)

// Declared are the metrics of a server's log.
func Declared() []*metric.Desc { return declared }

// Metrics are what the registry takes.
func (l *Log) Metrics() prometheus.Collector { return metric.NewCollector(declared, l.fill) }

func (l *Log) fill(out *metric.Sink) {
	c := &l.counts
	for severity := range severities {
		for class := range classCount {
			// A panic is there before the first: alerts look for its growth.
			if n := c.messages[severity][class].Load(); n > 0 || Severity(severity) == Panic && class == classOther {
				out.Add(descMessages, float64(n), Severity(severity).String(), className(class))
			}
		}
	}
	for i, reason := range loginReasons {
		out.Add(descLogins, float64(c.logins[i].Load()), reason)
	}
	for i, kind := range countedKinds {
		out.Add(descEvents, float64(c.events[i].Load()), string(kind))
	}
	out.Add(descTempFiles, float64(c.tempFiles.Load()))
	out.Add(descTempBytes, float64(c.tempBytes.Load()))
	out.Add(descBytes, float64(c.bytes.Load()))
	out.Add(descLines, float64(c.unread.Load()), "unread")
	out.Add(descLines, float64(c.tooLong.Load()), "too_long")
	out.Add(descLines, float64(c.lostEvents.Load()), "too_many")
	out.Add(descSkips, float64(c.skips.Load()))
	out.Add(descSkippedBytes, float64(c.skippedBytes.Load()))
	if newest := c.newest.Load(); newest != 0 {
		out.Time(descNewest, time.UnixMilli(newest))
	}
	out.Add(descFiles, float64(l.followed.Load()))
	for name, state := range map[string]*sourceState{"file": &l.fileState, "container": &l.containerState} {
		switch state.get() {
		case sourceUp:
			out.Add(descUp, 1, name)
		case sourceDown:
			out.Add(descUp, 0, name)
		}
	}
}
