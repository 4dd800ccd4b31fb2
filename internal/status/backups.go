package status

import "time"

// Backups are what the catalogue of a backup repository says.
type Backups struct {
	// Readable is false while the repository can't be read: all below but CatalogError is left out then.
	Readable bool `json:"readable"`
	// CatalogError is why it can't be read, in a word: missing, permission and so on.
	CatalogError string `json:"catalog_error,omitempty"`
	// Newest is the newest good backup: intact, and not suspect. Left out without one.
	Newest *Backup `json:"newest,omitempty"`
	// NewestAgeSeconds is left out while its time is in the future.
	NewestAgeSeconds *float64 `json:"newest_age_seconds,omitempty"`
	// LastVerifiedAt is when a backup was last restored and found equal, RestoreSeconds what that restore took from an
	// empty directory to a server.
	LastVerifiedAt *time.Time `json:"last_verified_at,omitempty"`
	RestoreSeconds *float64   `json:"restore_seconds,omitempty"`
	// ReadBackAt is when all bytes of the newest good backup were last read and found equal to its manifest, by a verification of
	// whatever level; left out where they were not since they were written.
	ReadBackAt *time.Time `json:"read_back_at,omitempty"`
	// Unwatched says that nobody looks after the repository for now: the run that should have begun a minute ago has not, the daemon
	// is gone, or the newest good backup is older than its schedule explains. Damage since the last look would not be found then.
	Unwatched bool `json:"unwatched"`
	// RecoveryPointAgeSeconds is the age of the newest state that can be recovered, archived WAL included.
	RecoveryPointAgeSeconds *float64 `json:"recovery_point_age_seconds,omitempty"`
	// GoodCount is verified and unverified; BadCount is damaged and suspect.
	GoodCount *int64 `json:"good_count,omitempty"`
	BadCount  *int64 `json:"bad_count,omitempty"`
	// RepositoryBytes are all backups', FreeBytes what is left on their file system.
	RepositoryBytes *int64 `json:"repository_bytes,omitempty"`
	FreeBytes       *int64 `json:"free_bytes,omitempty"`
	// RunningSince is when the run in progress began.
	RunningSince *time.Time `json:"running_since,omitempty"`
	// NextRunAt and IntervalSeconds are of the daemon's schedule; left out without a daemon.
	NextRunAt       *time.Time `json:"next_run_at,omitempty"`
	IntervalSeconds *float64   `json:"interval_seconds,omitempty"`
	// DaemonAlive says whether that daemon lives; left out where that can't be told: without a daemon on this machine, and on file systems
	// without locks.
	DaemonAlive *bool `json:"daemon_alive,omitempty"`
	// AgeLimitSeconds is how old the newest good backup may be now, by that schedule.
	AgeLimitSeconds *float64 `json:"age_limit_seconds,omitempty"`
	// LastFailureAt and LastFailureReason are of the last failed run.
	LastFailureAt     *time.Time `json:"last_failure_at,omitempty"`
	LastFailureReason string     `json:"last_failure_reason,omitempty"`
	// OffsiteAgeSeconds is the age of the newest backup with a complete off-site copy.
	OffsiteAgeSeconds *float64 `json:"offsite_age_seconds,omitempty"`
	OffsiteFailing    *bool    `json:"offsite_failing,omitempty"`
	// Recovery says what a loss of the server's data would cost now: by the repository, and by its off-site copies.
	Recovery []Recovery `json:"recovery,omitempty"`
	// Recent are the newest 5 of whatever state, newest first.
	Recent []Backup `json:"recent"`
}

// Stores of a Recovery.
const (
	// Repository is the one of --backup.catalog.
	Repository = "repository"
	// Offsite are its complete copies elsewhere.
	Offsite = "off-site"
)

// Recovery is what a loss would cost, with what one store has.
type Recovery struct {
	// Store is repository or off-site.
	Store string `json:"store"`
	// LossSeconds is the age of the newest state that the store has; left out where it has none.
	LossSeconds *float64 `json:"loss_seconds,omitempty"`
	// ReturnSeconds is how long a restore of the newest good backup takes, by the rate that the last compared restore had; a download is
	// not in it. Left out where none was measured.
	ReturnSeconds *float64 `json:"return_seconds,omitempty"`
	// ProvedAt is when that restore was.
	ProvedAt *time.Time `json:"proved_at,omitempty"`
	// LossMissed: LossSeconds is more than --objective.rpo; ReturnMissed: ReturnSeconds is more than --objective.rto.
	LossMissed   bool `json:"loss_missed"`
	ReturnMissed bool `json:"return_missed"`
	// Sentence says it in words, which may change.
	Sentence string `json:"sentence"`
}

// Backup is one entry of the catalogue.
type Backup struct {
	ID string `json:"id"`
	// FinishedAt is when it was completed.
	FinishedAt time.Time `json:"finished_at"`
	// State is verified, unverified, suspect or damaged.
	State string `json:"state"`
	// Engine is pg_dump or pgbackrest.
	Engine    string `json:"engine,omitempty"`
	SizeBytes *int64 `json:"size_bytes,omitempty"`
	// DurationSeconds it took, without its verification.
	DurationSeconds *float64 `json:"duration_seconds,omitempty"`
	// VerifiedAt is when it was last restored and found equal, RestoreSeconds what that took.
	VerifiedAt     *time.Time `json:"verified_at,omitempty"`
	RestoreSeconds *float64   `json:"restore_seconds,omitempty"`
}
