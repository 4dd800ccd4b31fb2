package serverlog

// Kind is what a message tells of the server, whatever its language; NoKind of most.
type Kind string

// Kinds that translations.txt has texts for, and those that a SQLSTATE tells.
const (
	NoKind Kind = ""
	// ProcessKilled: a process was ended by a signal, which the event's Number is; its PID is Process.
	ProcessKilled Kind = "process_killed"
	// ProcessExited: a process ended with an exit code, which the event's Number is.
	ProcessExited   Kind = "process_exited"
	FailedStatement Kind = "failed_statement"
	// TerminatingOthers: the postmaster throws out all sessions after a crash.
	TerminatingOthers   Kind = "terminating_others"
	Reinitializing      Kind = "reinitializing"
	SmartShutdown       Kind = "smart_shutdown"
	FastShutdown        Kind = "fast_shutdown"
	ImmediateShutdown   Kind = "immediate_shutdown"
	LostLockFile        Kind = "lost_lock_file"
	Ready               Kind = "ready"
	ReadyReadOnly       Kind = "ready_read_only"
	ShutDown            Kind = "shut_down"
	WasShutDown         Kind = "was_shut_down"
	WasInterrupted      Kind = "was_interrupted"
	Recovering          Kind = "recovering"
	RedoStarts          Kind = "redo_starts"
	RedoDone            Kind = "redo_done"
	RedoNotRequired     Kind = "redo_not_required"
	CheckpointsTooOften Kind = "checkpoints_too_frequent"
	CheckpointComplete  Kind = "checkpoint_complete"
	PromoteRequested    Kind = "promote_requested"
	NewTimeline         Kind = "new_timeline"
	Reloaded            Kind = "reloaded"
	SettingChanged      Kind = "setting_changed"
	NotReloaded         Kind = "not_reloaded"
	StatementTimeout    Kind = "statement_timeout"
	LockTimeout         Kind = "lock_timeout"
	UserCancel          Kind = "user_cancel"
	AutovacuumCancelled Kind = "autovacuum_cancelled"
	RecoveryConflict    Kind = "recovery_conflict"
	IdleInTransaction   Kind = "idle_in_transaction_timeout"
	TerminatedByAdmin   Kind = "terminated_by_administrator"
	CutByCrash          Kind = "cut_by_crash"
	TemporaryFile       Kind = "temporary_file"
	LockWait            Kind = "lock_wait"
	Deadlock            Kind = "deadlock"
	ForkFailed          Kind = "fork_failed"
	PasswordFailed      Kind = "password_failed"
	HBARejected         Kind = "hba_rejected"
	NoRole              Kind = "no_role"
	NoDatabase          Kind = "no_database"
	TooManyConnections  Kind = "too_many_connections"
	StartingUp          Kind = "starting_up"
	ShuttingDown        Kind = "shutting_down"
	LoginFailed         Kind = "login_failed"
	DiskFull            Kind = "disk_full"
	OutOfMemory         Kind = "out_of_memory"
	IOError             Kind = "io_error"
	DataCorrupted       Kind = "data_corrupted"
)

// sqlStates are those that are read from a text where the format stderr says none, because log_line_prefix lacks %e.
var sqlStates = map[Kind]string{
	StatementTimeout: "57014", UserCancel: "57014", AutovacuumCancelled: "57014", LockTimeout: "55P03", RecoveryConflict: "40001",
	IdleInTransaction: "25P03", TerminatedByAdmin: "57P01", CutByCrash: "57P02", Deadlock: "40P01", PasswordFailed: "28P01",
	HBARejected: "28000", NoRole: "28000", NoDatabase: "3D000", TooManyConnections: "53300", StartingUp: "57P03", ShuttingDown: "57P03",
	DiskFull: "53100", OutOfMemory: "53200", IOError: "58030",
}

// classify says what a message is. The SQLSTATE and the severity decide where they can; words only where they can't, and those are
// looked for in all languages.
func (w *words) classify(r *Record) (Kind, arguments) {
	state := string(r.SQLState)
	switch state {
	case "40P01":
		return Deadlock, arguments{}
	case "57P01":
		return TerminatedByAdmin, arguments{}
	case "57P02":
		return CutByCrash, arguments{}
	case "25P03":
		return IdleInTransaction, arguments{}
	case "53100":
		return DiskFull, arguments{}
	case "53200":
		return OutOfMemory, arguments{}
	case "53300":
		return TooManyConnections, arguments{}
	case "58030":
		return IOError, arguments{}
	case "XX001", "XX002":
		return DataCorrupted, arguments{}
	case "28P01":
		return PasswordFailed, arguments{}
	case "00000", "":
		kind, found := w.find(r.Message())
		if kind == NoKind && r.Severity >= LogLine {
			kind = kindOfErrno(r.Message())
		}
		return kind, found
	case "57014", "55P03", "40001", "57P03", "28000", "3D000":
		kind, found := w.find(r.Message())
		if kind == NoKind && r.Severity == Fatal && (state == "28000" || state == "3D000") {
			kind = LoginFailed
		}
		return kind, found
	}
	if class := state[:min(2, len(state))]; r.Severity >= Error && (class == "58" || class == "XX" || state == "42501") {
		return kindOfErrno(r.Message()), arguments{} // of the system's making, and no user's text
	}
	return NoKind, arguments{}
}
