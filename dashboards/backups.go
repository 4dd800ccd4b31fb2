package dashboards

import (
	"fmt"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
)

// backups: can I restore, to when, and how fast?
func backups(s *sources) board {
	return board{
		uid: "pgr-backups", title: "Backups", known: "pg_reliability_backup_catalog_up",
		about: "Can I restore, to when, and how fast? With several repositories chosen, each number of the first row is the worst of theirs.",
		rows: []row{
			section("Can I restore, to when, and how fast?",
				across(4, repositoryState(s), couldBeLost(s), newestGood(s), lastProved(s), lastReadBack(s), restoreTakes(s)),
				across(4, goodBackups(s), lastRun(s), lastVerification(s), nextRun(s), offsiteAge(), archiveState(s)),
				across(4, leftOut(s), uncaged(s), autoRestore(s), freeForBackups()),
			),
			section("How did it go?",
				across(8, backupAges(s), backupDurations(s)),
				across(8, backupSizes(s), backupCounts(s)),
			),
			section("What went wrong?",
				across(7, lastFailures(s), failures(s)),
			),
			section("Point-in-time recovery and off-site copies",
				across(8, archiveLag(s), archiveQueue(s), offsiteHistory()),
			),
		},
	}
}

const noCatalogue = "no catalogue known"

// unwatched are the repositories that nobody looks after for now: the run that should have begun has not, its daemon is gone, or the
// newest good backup is older than its schedule explains. What was proved there before says less by the day, and damage would not be found.
func unwatched() string {
	return fmt.Sprintf(`group by (job, cluster, instance) ((time() - pg_reliability_backup_next_run_timestamp_seconds{$here} > %g unless on (job, cluster, instance) pg_reliability_backup_running_since_timestamp_seconds{$here})
  or pg_reliability_backup_daemon_up{$here} == 0
  or pg_reliability_backup_age_seconds{$here} > on (job, cluster, instance) pgr:backup_age:limit_seconds{$here})`, lateRun)
}

// ofUnwatched are the values of an expression for the repositories that nobody looks after.
func ofUnwatched(expr string) string { return expr + " and on (job, cluster, instance) " + unwatched() }

func repositoryState(s *sources) *panel {
	return stat("Repository", "Whether the backups can be read at all, and whether each is what it was. UNREADABLE: missing or unmounted; "+
		"nothing else here is known then. DAMAGED: a file of a backup is missing or wrong, or its restore differed. UNCHECKED: the files "+
		"have their sizes, but the job is late, and nobody reads what is in them. The graph of backups says how many.").
		query(`min(0 * (pg_reliability_backup_catalog_up{$here} == 0)
  or on (job, cluster, instance) 0 * (pg_reliability_backup_count{$here, state="damaged"} > 0) + 1
  or on (job, cluster, instance) 0.5 + `+unwatched()+`
  or on (job, cluster, instance) 2 * pg_reliability_backup_catalog_up{$here})`, "").
		word(2, "SOUND", fine).word(1.5, "UNCHECKED", ticket).word(1, "DAMAGED", page).word(0, "UNREADABLE", page).
		none(noCatalogue).runbooks(s, "PostgresBackupRepositoryUnreadable", "PostgresBackupDamaged")
}

// oldest shows the greatest age of the metric: of those beyond their own limit if there are any, and then as a page.
func oldest(p *panel, metric string) *panel {
	beyond := metric + "{$here} > on (job, cluster, instance) pgr:backup_age:limit_seconds{$here}"
	return p.query(lacking(metric)+" or max("+metric+"{$here}) unless count("+beyond+")", "newest backup").
		query("max("+beyond+")", "newest backup").
		unit("s").decimals(1).thresholds(steps{{nil, fine}}).of("B", judged(steps{{nil, page}})).word(-1, "NONE", ticket)
}

// lacking is -1 when a repository has no value of the metric: none is worse than any age, whatever other repositories have.
func lacking(metric string) string {
	return "0 * max(pg_reliability_backup_catalog_up{$here} unless on (job, cluster, instance) " + metric + "{$here}) - 1"
}

func couldBeLost(s *sources) *panel {
	return oldest(stat("RPO: could be lost", "Age of the newest state that can be recovered, archived WAL included. Red: more than the "+
		"schedule explains. NONE: a repository holds no good backup."),
		"pg_reliability_rpo_seconds").
		none(noCatalogue).runbooks(s, "PostgresBackupMissing")
}

func newestGood(s *sources) *panel {
	return oldest(stat("Newest good backup", "How long ago it was completed. The alert waits for the schedule's interval and "+
		s.say("backup_slack_seconds")+
		", or, where no schedule is known, for "+s.say("backup_age_seconds")+". NONE: a repository holds none."),
		"pg_reliability_backup_age_seconds").
		none(noCatalogue).runbooks(s, "PostgresBackupTooOld", "PostgresBackupMissing")
}

func lastProved(s *sources) *panel {
	return lookedAt(stat("Last proved by a restore", "How long ago a backup was restored into a throwaway server and found equal to its "+
		"manifest. Orange: older than "+s.say("backup_verified_ticket_seconds")+", or the job is late and nobody proves anything. "+
		"An unproved backup is a hope: run verify."),
		s, "pg_reliability_backup_verified_age_seconds", ticket).
		none(noCatalogue).runbooks(s, "PostgresBackupUnverified")
}

func lastReadBack(s *sources) *panel {
	return lookedAt(stat("Newest one's files last read", "How long ago all bytes of the newest good backup were read and compared with its "+
		"manifest. Damage since then shows when a size changed, and else at the next verification. Orange: older than "+
		s.say("backup_verified_ticket_seconds")+", or the job is late and nobody reads them. NEVER: they were written, and not read since."),
		s, "pg_reliability_backup_read_back_age_seconds", unknown).
		none(noCatalogue).runbooks(s, "PostgresBackupUnverified")
}

// lookedAt shows how old the last look is that the metric tells of: of the repositories that nobody looks after if there are any, and then
// never as fine.
func lookedAt(p *panel, s *sources, metric, never string) *panel {
	late := ofUnwatched(metric + "{$here}")
	limits := s.above("backup_verified_ticket_seconds", "backup_verified_page_seconds")
	return p.query(lacking(metric)+" or max("+metric+"{$here}) unless count("+late+")", "last").
		query("max("+late+") unless "+lacking(metric), "last").
		unit("s").decimals(1).thresholds(limits).of("B", judged(steps{{nil, ticket}, {s.value("backup_verified_page_seconds"), page}})).
		word(-1, "NEVER", never)
}

func restoreTakes(s *sources) *panel {
	return stat("RTO: restore takes", "From an empty directory to a restored server, as the last verification measured it. The objective is "+
		s.say("restore_objective_seconds")+".").
		query(`max(pg_reliability_rto_seconds{$here})`, "").unit("s").decimals(1).thresholds(s.above("", "restore_objective_seconds")).
		none("no restore measured").runbooks(s, "PostgresRestoreSlow")
}

func goodBackups(s *sources) *panel {
	good := `pgr:backup_good:count{$here} / on (job, cluster, instance) pg_reliability_backup_retention_target{$here}`
	late := ofUnwatched(good)
	return stat("Good backups of those kept", "Good ones, as far as their sizes and the last verification tell, against what retention "+
		"keeps. Fewer in a repository that once had enough: runs fail, or somebody deletes. Orange with 100 %: the job is late, and nobody "+
		"looks whether they still are.").
		query(`clamp_max(min(`+good+`), 1) unless count(`+late+`)`, "").
		query(`clamp_max(min(`+late+`), 1)`, "").
		unit("percentunit").decimals(0).
		thresholds(steps{{nil, page}, {0.01, ticket}, {1, fine}}).of("B", judged(steps{{nil, page}, {0.01, ticket}})).
		none("no retention known").runbooks(s, "PostgresBackupTooFew")
}

func lastRun(s *sources) *panel {
	return stat("Last run", "RUNNING: one is under way. Otherwise whether the newest one was good; why it failed is in the table below.").
		query(`max(2 * (pg_reliability_backup_running_since_timestamp_seconds{$here} > bool 0)
  or on (job, cluster, instance) pg_reliability_backup_last_failure_timestamp_seconds{$here} > bool pg_reliability_backup_last_success_timestamp_seconds{$here}
  or on (job, cluster, instance) 0 * pg_reliability_backup_last_failure_timestamp_seconds{$here} + 1
  or on (job, cluster, instance) 0 * pg_reliability_backup_last_success_timestamp_seconds{$here})`, "").
		word(0, "GOOD", fine).word(1, "FAILED", ticket).word(2, "RUNNING", neutral).none("no run yet").runbooks(s, "PostgresBackupFailed")
}

// lateRun is for how many seconds a run may be overdue before the board calls it late.
const lateRun = float64(catalog.LateRun / time.Second)

// gone is what stands for a daemon that has ended, in the place of the seconds until its next run: a number that Go and Grafana write alike.
const gone = 999999

func nextRun(s *sources) *panel {
	return stat("Next run in", fmt.Sprintf("When the daemon begins its next run. LATE: it should have begun more than %g s ago and has "+
		"not; the job hangs or is gone. The alert waits for %s. GONE: the daemon has ended, and nobody will begin it. RUNNING: the run that was due is under way.", lateRun, s.say("backup_late_seconds"))).
		query(fmt.Sprintf(`min((pg_reliability_backup_daemon_up{$here} == 0) - %d
  or on (job, cluster, instance) (pg_reliability_backup_next_run_timestamp_seconds{$here} - time()) unless on (job, cluster, instance) pg_reliability_backup_running_since_timestamp_seconds{$here})
  or 0 * max(pg_reliability_backup_running_since_timestamp_seconds{$here} and on (job, cluster, instance) pg_reliability_backup_next_run_timestamp_seconds{$here})`, gone), "").
		unit("s").decimals(0).thresholds(steps{{nil, page}, {-lateRun, fine}}).word(-gone, "GONE", page).upTo(-lateRun, "LATE", page).word(0, "RUNNING", neutral).
		none("no schedule known").runbooks(s, "PostgresBackupJobSilent")
}

func lastVerification(s *sources) *panel {
	proved := "pg_reliability_backup_verified_age_seconds{$here}"
	return stat("Verification", "Whether each restore that was to prove a backup succeeded in the time shown. FAILED: one did not; the "+
		"bars below say why. OLD: the last one passed, but more than "+s.say("backup_verified_ticket_seconds")+" ago, or the job is late and "+
		"nobody verifies. NEVER: no backup was ever proved.").
		query(fmt.Sprintf(`max(2 * (sum by (job, cluster, instance) (increase(pg_reliability_backup_verifications_total{$here, result="failure"}[$__range])) > 0) ^ 0
  or on (job, cluster, instance) 0 * (%s > %.0f or %s) + 0.5
  or on (job, cluster, instance) 0 * %s or on (job, cluster, instance) pg_reliability_backup_catalog_up{$here} == 1)`,
			proved, s.value("backup_verified_ticket_seconds"), ofUnwatched(proved), proved), "").
		word(0, "PASSED", fine).word(0.5, "OLD", ticket).word(1, "NEVER", ticket).word(2, "FAILED", page).none(noCatalogue).
		runbooks(s, "PostgresBackupUnverified", "PostgresBackupDamaged")
}

func offsiteAge() *panel {
	return stat("Newest off-site copy", "How old the newest backup is that has a complete copy elsewhere; what is left when this place "+
		"burns. FAILING: the last attempt to copy failed.").
		query(`0 * max(pg_reliability_backup_offsite_failing{$here} == 1) - 1 or max(pg_reliability_backup_offsite_age_seconds{$here})`, "").
		unit("s").decimals(1).word(-1, "FAILING", ticket).thresholds(plain(fine)).none("no off-site copy")
}

func archiveState(s *sources) *panel {
	return stat("WAL archive", "Whether WAL leaves the server for point-in-time recovery. FAILING: recovery ends there, and the disk fills.").
		query(`max(2 + pg_reliability_archiver_failing{$here} and pg_reliability_archiver_enabled{$here} == 1 or pg_reliability_archiver_enabled{$here})`, "").
		word(0, "OFF", neutral).word(1, "UNTRIED", unknown).word(2, "ARCHIVING", fine).word(3, "FAILING", page).none("unknown").
		runbooks(s, "PostgresArchiveFailing", "PostgresArchiveBehind")
}

func freeForBackups() *panel {
	return stat("Room for more backups", "How many backups of the newest one's size still fit the repository's file system. Retention "+
		"makes room only after the next one is good.").
		query(`min(pg_reliability_backup_repository_free_bytes{$here} / pg_reliability_backup_last_size_bytes{$here})`, "").
		unit("short").decimals(0).thresholds(steps{{nil, page}, {1, ticket}, {3, fine}}).none("unknown")
}

func autoRestore(s *sources) *panel {
	return stat("Automatic restore", "How long ago an empty server was restored from a backup without anybody asking: what was written "+
		"after that backup is gone. Pages for "+
		s.say("backup_restored_seconds")+".").
		query(`min(time() - pg_reliability_backup_auto_restore_last_timestamp_seconds{$here})`, "").unit("s").decimals(0).
		thresholds(steps{{nil, page}, {s.value("backup_restored_seconds"), fine}}).none("never needed").runbooks(s, "PostgresAutoRestored")
}

func backupAges(s *sources) *panel {
	return series("Age of the newest backup", "Each backup is a drop to zero. The dotted line is what the alert waits for: the schedule's "+
		"interval and "+s.say("backup_slack_seconds")+
		", or "+s.say("backup_age_seconds")+".").
		query(`max by (job, cluster, instance) (pg_reliability_backup_age_seconds{$here})`, "good {{instance}}").
		query(`max by (job, cluster, instance) (pg_reliability_backup_verified_age_seconds{$here})`, "proved {{instance}}").
		of("B", lineStyle(4, 4)).
		query(`max by (job, cluster, instance) (pgr:backup_age:limit_seconds{$here})`, "limit {{instance}}").inOrder().
		of("C", lineStyle(1, 6), colored(page)).
		unit("s").none("no good backup").runbooks(s, "PostgresBackupTooOld")
}

func backupDurations(s *sources) *panel {
	return series("How long backup and restore take", "The line is the restore's objective, "+s.say("restore_objective_seconds")+
		". Growing towards it: a restore from files "+
		"(pgBackRest) or with more jobs is faster.").
		query(`max by (job, cluster, instance) (pg_reliability_backup_restore_duration_seconds{$here})`, "restore {{instance}}").
		query(`max by (job, cluster, instance) (pg_reliability_backup_last_duration_seconds{$here})`, "backup {{instance}}").
		unit("s").steppy().thresholds(s.above("", "restore_objective_seconds")).none("no backup measured").runbooks(s, "PostgresRestoreSlow", "PostgresRecoveryTimeMissed",
		"PostgresRecoveryPointMissed")
}

func backupSizes(s *sources) *panel {
	return series("Size of the newest backup", "A backup of less than "+s.say("backup_size_ratio")+
		" of the one before is a ticket: something may be missing. The other line is all backups together.").
		query(`max by (job, cluster, instance) (pg_reliability_backup_last_size_bytes{$here})`, "newest {{instance}}").
		query(`max by (job, cluster, instance) (pg_reliability_backup_repository_size_bytes{$here})`, "all {{instance}}").
		of("B", lineStyle(4, 4)).
		unit("bytes").steppy().none("no backup").runbooks(s, "PostgresBackupTooSmall")
}

func backupCounts(s *sources) *panel {
	return series("Backups in the repository", "By state, against what retention keeps. suspect: data vanished since the backup "+
		"before, `pg_reliability_backup list` names what, and nothing is deleted until `accept`. damaged: a file is missing or wrong. unreadable: it can't be read for now, and nothing is deleted.").
		query(`sum by (state) (max by (job, cluster, instance, state) (pg_reliability_backup_count{$here}))`, "{{state}}").
		query(`sum(max by (job, cluster, instance) (pg_reliability_backup_retention_target{$here}))`, "kept").
		unit("short").steppy().stacked().
		called("verified", colored(fine)).called("unverified", colored("yellow")).called("suspect", colored(ticket)).
		called("damaged", colored(page)).called("unreadable", colored("purple")).
		called("kept", colored("text"), lineStyle(4, 4), property{"custom.stacking", object{"mode": "none", "group": "B"}},
			property{"custom.fillOpacity", 0}).
		none(noCatalogue).runbooks(s, "PostgresBackupDamaged", "PostgresBackupSuspect", "PostgresBackupUnreadable",
		"PostgresBackupTooFew")
}

func leftOut(s *sources) *panel {
	return stat("Not in the newest backup", "What the newest good backup does not hold of its server, or could not prove, of what nobody "+
		"chose to leave out. "+
		"`pg_reliability_backup show latest` names each, with the remedy.").
		query(`sum(pg_reliability_backup_omitted{$here, kind!~"excluded|unlogged|warning"}) or 0 * max(pg_reliability_backup_catalog_up{$here})`,
			"").
		decimals(0).thresholds(from(s.value("backup_omitted_count")+1, ticket)).none(noCatalogue).runbooks(s, "PostgresBackupIncomplete")
}

func uncaged(s *sources) *panel {
	return stat("Cage of the rehearsals", "Whether what a backup holds could reach files, other processes or the network when it was last restored "+
		"as a trial. OPEN: it could. PARTLY: the kernel is too old for a part that matters less.").
		query(`max(2 * pg_reliability_backup_verify_uncaged{$here, part=~"files|network"} or pg_reliability_backup_verify_uncaged{$here})`, "").
		word(0, "SHUT", fine).word(1, "PARTLY", fine).word(2, "OPEN", ticket).none("no verification yet").runbooks(s, "PostgresBackupUncaged")
}

func lastFailures(s *sources) *panel {
	return table("Last failure", "When a run failed last, and why. Red is not news: the state above says whether one succeeded since.").
		label("instance", "Instance", width(90)).label("reason", "Reason").
		column("Failed", `1000 * (pg_reliability_backup_last_failure_info{$here} * on (job, cluster, instance) group_left () pg_reliability_backup_last_failure_timestamp_seconds{$here})`,
			unit("dateTimeAsIso"), width(165)).
		none("no run has failed; verifications are beside this").runbooks(s, "PostgresBackupFailed")
}

func failures(s *sources) *panel {
	// The exporter and the daemon may both tell of one repository: the higher count is taken.
	count := func(kind, metric string) string {
		return fmt.Sprintf(`label_replace(sum by (reason) (max by (job, cluster, instance, reason) (increase(%s{$here, result="failure"}[$__range]))), "kind", %q, "", "")`, metric, kind)
	}
	return bars("Failures by reason", "In the time shown. A verification fails when a backup can't be restored or differs from its "+
		"manifest: look at the older ones at once.").
		query("round("+count("run", "pg_reliability_backup_runs_total")+" or "+count("verification", "pg_reliability_backup_verifications_total")+
			") > 0", "{{kind}}: {{reason}}").
		unit("short").thresholds(plain(ticket)).none("nothing failed").
		runbooks(s, "PostgresBackupFailed", "PostgresBackupUnverified", "PostgresBackupDamaged")
}

func archiveLag(s *sources) *panel {
	return series("Time since WAL was archived", "An idle server archives nothing, or each archive_timeout. Growing under load: the "+
		"archive fails or hangs.").
		query(`pg_stat_archiver_last_archive_age{$here}`, "{{instance}}").
		query(`time() - pg_reliability_backup_wal_archived_timestamp_seconds{$here}`, "recoverable up to {{instance}}").
		unit("s").none("WAL is not archived").runbooks(s, "PostgresArchiveFailing")
}

func archiveQueue(s *sources) *panel {
	return series("WAL files that wait to be archived", "The line is the alert's, "+s.say("archive_ready_count")+
		" files. They stay on the server's disk until they are archived.").
		query(`pg_reliability_archiver_ready_files{$here}`, "{{instance}}").
		unit("short").thresholds(s.above("archive_ready_count", "")).none("WAL is not archived").runbooks(s, "PostgresArchiveBehind")
}

func offsiteHistory() *panel {
	return series("Off-site copies", "How many backups have a complete copy elsewhere.").
		query(`max by (job, cluster, instance) (pg_reliability_backup_offsite_copies{$here})`, "{{instance}}").
		unit("short").steppy().none("no off-site copies")
}
