package metrics

import "github.com/pg-reliability/pg_reliability_exporter/internal/metric"

// The metrics of backups.
var (
	declared metric.List

	CatalogUp = declared.Gauge("pg_reliability_backup_catalog_up",
		"1 if the backup repository could be read, 0 if it is missing, unmounted or damaged.")
	descCatalogError = declared.Gauge("pg_reliability_backup_catalog_error_info",
		"Present with value 1 while the backup repository can't be read: why.", "reason")
	descCatalogAge = declared.Gauge("pg_reliability_backup_catalog_age_seconds",
		"Seconds since the backup repository was read. It grows while the repository does not answer, for a minute.")
	descInfo = declared.Gauge("pg_reliability_backup_info",
		"The backup repository and what its newest backup was made of and with.",
		"repository_id", "engine", "server_version", "system_identifier", "version")
	descLastSuccess = declared.Gauge("pg_reliability_backup_last_success_timestamp_seconds",
		"When the newest good backup was completed; of several servers in the repository, of the one that is the latest by its schedule.")
	descLastFailure = declared.Gauge("pg_reliability_backup_last_failure_timestamp_seconds",
		"When the last failed run failed; of one that was killed, when it began.")
	descLastAttempt  = declared.Gauge("pg_reliability_backup_last_attempt_timestamp_seconds", "When the last run began.")
	descLastVerified = declared.Gauge("pg_reliability_backup_last_verified_timestamp_seconds",
		"When a backup was last restored into a throwaway server and found equal to its manifest.")
	descAge = declared.Gauge("pg_reliability_backup_age_seconds",
		"Seconds since the newest good backup was completed; of several servers, of the one that is the latest by its schedule. "+
			"Absent while its time is in the future.")
	descVerifiedAge = declared.Gauge("pg_reliability_backup_verified_age_seconds", "Seconds since the last verification that passed.")
	descReadBackAge = declared.Gauge("pg_reliability_backup_read_back_age_seconds",
		"Seconds since all bytes of the newest good backup were read and found equal to its manifest, by a verification of whatever level; "+
			"absent where they were not since they were written.")
	LastSize     = declared.Gauge("pg_reliability_backup_last_size_bytes", "Size of the newest backup that is not damaged.")
	PreviousSize = declared.Gauge("pg_reliability_backup_previous_size_bytes",
		"Size of the backup before the newest, of the same engine and set.")
	descLastRows     = declared.Gauge("pg_reliability_backup_last_rows", "Rows of all tables in the newest backup that is not damaged.")
	descLastDuration = declared.Gauge("pg_reliability_backup_last_duration_seconds",
		"Seconds the newest good backup took, without its verification.")
	descRestoreDuration = declared.Gauge("pg_reliability_backup_restore_duration_seconds",
		"Seconds the last verification that passed took from an empty directory to a restored server.")
	Count               = declared.Gauge("pg_reliability_backup_count", "Backups in the repository, by state.", "state")
	descBytes           = declared.Gauge("pg_reliability_backup_bytes", "Bytes of the backups in the repository, by state.", "state")
	descRetentionTarget = declared.Gauge("pg_reliability_backup_retention_target", "Newest good backups the job keeps.")
	descRunningSince    = declared.Gauge("pg_reliability_backup_running_since_timestamp_seconds",
		"When the run that is in progress began; absent while there is none.")
	descNextRun  = declared.Gauge("pg_reliability_backup_next_run_timestamp_seconds", "When the daemon begins its next run.")
	descDaemonUp = declared.Gauge("pg_reliability_backup_daemon_up",
		"1 while the daemon that announced the next run lives, 0 when it is gone and nobody will begin it; of several servers, 0 where "+
			"one's is gone; absent where that can't be told: without a daemon on this machine, and on file "+
			"systems without locks.")
	descScheduleInterval = declared.Gauge("pg_reliability_backup_schedule_interval_seconds",
		"Seconds from the daemon's run that was due last to the next.")
	descAgeLimit = declared.Gauge("pg_reliability_backup_age_limit_seconds",
		"How old the newest good backup may be now: as old as the daemon's run that should have ended last.")
	descRuns = declared.Counter("pg_reliability_backup_runs_total",
		"Runs since the repository was made, by result and reason.", "result", "reason")
	descVerifications = declared.Counter("pg_reliability_backup_verifications_total",
		"Verifications by restore since the repository was made, by result and reason.", "result", "reason")
	Uncaged = declared.Gauge("pg_reliability_backup_verify_uncaged",
		"1 for each part of the rehearsal's cage that the machine could not give in the last verification by restore that passed, else 0: "+
			"`files`, `truncate`, `signals`, `network`. `verify --json` says why.", "part")
	descLastFailureInfo = declared.Gauge("pg_reliability_backup_last_failure_info", "Reason of the last failed run.", "reason")
	descRepositorySize  = declared.Gauge("pg_reliability_backup_repository_size_bytes", "Bytes of all backups in the repository.")
	descRepositoryFree  = declared.Gauge("pg_reliability_backup_repository_free_bytes", "Bytes free on the repository's file system.")
	descRpo             = declared.Gauge("pg_reliability_rpo_seconds",
		"Recovery point: age of the newest state that can be recovered, archived WAL included.")
	descRto = declared.Gauge("pg_reliability_rto_seconds",
		"Recovery time as last measured: seconds to restore the newest verified backup into an empty server.")
	descRecoveryEstimate = declared.Gauge("pg_reliability_recovery_estimate_seconds",
		"How long a restore of the newest good backup takes, by the rate that the last verified restore had; absent where none was measured.")
	descAutoRestores = declared.Counter("pg_reliability_backup_auto_restore_total",
		"Automatic restores of an empty server (bootstrap), by result.", "result")
	AutoRestoreLast = declared.Gauge("pg_reliability_backup_auto_restore_last_timestamp_seconds",
		"When an empty server was last restored automatically, or that was tried.")
	descAutoRestoreFellBack = declared.Gauge("pg_reliability_backup_auto_restore_fell_back",
		"1 if the last automatic restore had to pass over newer backups that were unusable.")
	descOffsiteLast = declared.Gauge("pg_reliability_backup_offsite_last_success_timestamp_seconds",
		"When the newest backup that has a complete off-site copy was copied.")
	descOffsiteAge = declared.Gauge("pg_reliability_backup_offsite_age_seconds",
		"Seconds since the newest backup with a complete off-site copy was made.")
	descOffsiteLastFailure = declared.Gauge("pg_reliability_backup_offsite_failing",
		"1 if the last attempt to copy the newest good backup off-site failed.")
	descOffsiteCopies = declared.Gauge("pg_reliability_backup_offsite_copies",
		"Backups in the repository that have a complete off-site copy.")
	Omitted = declared.Gauge("pg_reliability_backup_omitted",
		"What the newest good backup lacks of the server, by kind: `show` names each, with its remedy.", "kind")
	descWalTime = declared.Gauge("pg_reliability_backup_wal_archived_timestamp_seconds",
		"Up to when archived WAL can recover, as last seen by the job.")
)

// Declared lists the metrics of backups.
func Declared() []*metric.Desc { return declared }
