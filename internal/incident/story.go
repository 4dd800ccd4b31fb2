package incident

import "time"

// Cause is why, in a word.
type Cause string

const (
	DiskFull             Cause = "disk_full"
	OutOfMemory          Cause = "out_of_memory"
	KilledBySignal       Cause = "killed_by_signal"
	Panic                Cause = "panic"
	DiskFailed           Cause = "disk_failed"
	Stopped              Cause = "stopped"
	Restarted            Cause = "restarted"
	ImmediateShutdown    Cause = "immediate_shutdown"
	DataDirectoryLost    Cause = "data_directory_lost"
	ServerKilled         Cause = "server_killed"
	ServerCrash          Cause = "crash"
	ConnectionsExhausted Cause = "connections_exhausted"
	LockQueue            Cause = "lock_queue"
	AccessChanged        Cause = "pg_hba"
	LoginRefused         Cause = "login_refused"
	DatabaseGone         Cause = "database_gone"
	Frozen               Cause = "frozen"
	Hung                 Cause = "hung"
	CheckpointStall      Cause = "checkpoint_stall"
	DiskStall            Cause = "disk_stall"
	FailedOver           Cause = "failover"
	Promoted             Cause = "promotion"
	NameLookup           Cause = "dns"
	Certificate          Cause = "tls"
	Network              Cause = "network"
	Unknown              Cause = "unknown"
)

// Causes lists all.
func Causes() []Cause {
	return []Cause{
		DiskFull, OutOfMemory, KilledBySignal, Panic, DiskFailed, Stopped, Restarted, ImmediateShutdown, DataDirectoryLost, ServerKilled,
		ServerCrash,
		ConnectionsExhausted, LockQueue, AccessChanged, LoginRefused, DatabaseGone, Frozen, Hung, CheckpointStall, DiskStall, FailedOver,
		Promoted,
		NameLookup, Certificate, Network, Unknown,
	}
}

// Sureness is how good the evidence is.
type Sureness string

const (
	// Certain: the server or the kernel said so itself.
	Certain Sureness = "certain"
	// Likely: the evidence fits, and nothing that is known contradicts it.
	Likely Sureness = "likely"
	// NotSure: nothing tells.
	NotSure Sureness = "unknown"
)

// Story is why an incident came, as far as its window tells.
type Story struct {
	Cause Cause    `json:"cause"`
	Sure  Sureness `json:"sure"`
	// Sentence says it for people; its words may change.
	Sentence string `json:"sentence"`
	// Evidence are the lines that it rests on, oldest first.
	Evidence []Evidence `json:"evidence"`
	// Also is what else was seen: a recovery and its share, a failover.
	Also []string `json:"also"`
	// Missing is what would have told more.
	Missing []string `json:"missing"`
}

// Evidence is a line of a window.
type Evidence struct {
	At time.Time `json:"at"`
	// Source is log, probe, session or host.
	Source string `json:"source"`
	Text   string `json:"text"`
}
