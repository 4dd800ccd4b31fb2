package probe

import (
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// Kind names a probe.
type Kind string

const (
	// Read runs a query on a connection that is kept open.
	Read Kind = "read"
	// Login opens a new session, as a client of the database would.
	Login Kind = "login"
	// Write commits a row; off unless asked for.
	Write Kind = "write"
)

// Role is what the server says of itself.
type Role string

const (
	// UnknownRole until the server has answered once.
	UnknownRole Role = ""
	Primary     Role = "primary"
	Standby     Role = "standby"
)

// Result is the state of one probe.
type Result struct {
	// At is the end of the newest probe; zero before the first.
	At time.Time
	// Reason of the newest probe, OK when it succeeded.
	Reason postgres.Reason
	// Since is when Reason began to hold.
	Since time.Time
	// Latency of the newest probe.
	Latency time.Duration
	// Error is the newest failure's text without secrets; empty when OK.
	Error string
}

// UnknownLag is a Server's ReplayLag while nothing is known of it, and on a primary.
const UnknownLag time.Duration = -1

// Sight is whether the role sees all there is to see.
type Sight string

const (
	// UnknownSight: the server has not said.
	UnknownSight Sight = ""
	// FullSight: the role has pg_monitor.
	FullSight Sight = "full"
	// PartialSight: it does not, so that values are incomplete.
	PartialSight Sight = "partial"
)

// Server is what the server told about itself at the last successful read probe.
type Server struct {
	Role Role
	// Version is server_version_num, such as 150018; 0 while unknown.
	Version int
	// StartTime is pg_postmaster_start_time().
	StartTime time.Time
	// CheckpointerStart moves when the server reinitialises after a crash; zero without pg_monitor.
	CheckpointerStart time.Time
	SystemIdentifier  string
	Timeline          int64
	// Address is inet_server_addr():inet_server_port(), empty over a unix socket.
	Address string
	// ReplayLag is how far a standby's replay is behind; negative while unknown or on a primary.
	ReplayLag time.Duration
	// Sight is whether the role has pg_monitor.
	Sight Sight
	// Clock is what the server's clock said when it answered; zero while unknown.
	Clock time.Time
}

// Keeping is how the directory fares in which counts outlive the exporter.
type Keeping struct {
	// Loading: the counts of an earlier run were not read in a time that a disk takes; they are absent until then.
	Loading bool
	// Locked: another exporter keeps its state there.
	Locked bool
	// Failing: the directory can't be read or written, or does not answer; Error says why.
	Failing bool
	Error   string
}

// Snapshot is the prober's state at one moment: a value, safe to keep. Its maps are never written to again.
type Snapshot struct {
	// Probes holds the state of each probe that has something to say: no login before the first, no
	// write on a standby.
	Probes map[Kind]Result
	// MaxAge is how old each probe's newest report may be before the state is unknown.
	MaxAge map[Kind]time.Duration
	// Reason is why the database is not fit for use: the read probe's, else the login probe's; OK when
	// both succeed. Before the first probe it is Other, and Known is false. Judge says what it means.
	Reason postgres.Reason
	// Known is false until the read and login probes have both reported once, or one of them a failure.
	Known bool
	// Reached: the database was fit for use once, in this run or in an earlier one. Before that no outage is counted.
	Reached bool
	// Since is when Reason began to hold.
	Since time.Time
	// OutageStart is zero while there is none.
	OutageStart time.Time
	Server      Server
	// User is the role the prober logs in as.
	User string
	// Skew of the clocks, zero before the first; ChainEnd is when the first of the server's certificates ends, zero without TLS.
	Skew     Skew
	ChainEnd time.Time

	// Keeping is how the state directory fares.
	Keeping Keeping
	// Loaded: the counts below go on from those of an earlier run. While the state directory has yet to answer, they are this run's.
	Loaded bool
	// Outages ended or in progress, since the state was first kept.
	Outages uint64
	// Downtime of all of them.
	Downtime time.Duration
	// LongestOutage that has ended.
	LongestOutage time.Duration
	// Stalled is the time of reads that took longer than they may, and less than their timeout: no outage.
	Stalled time.Duration
	// LastOutageStart and LastOutageEnd are zero before the first.
	LastOutageStart, LastOutageEnd time.Time
	// Restarts that were seen, and when the newest of each kind was.
	Restarts    map[RestartKind]uint64
	LastRestart map[RestartKind]time.Time
}

// Answers says whether the read probe succeeds: the server answers on the connection that is kept open. Whether it is up is
// Judge's to say.
func (s Snapshot) Answers() bool {
	r, ok := s.Probes[Read]
	return ok && r.Reason == postgres.OK && !r.At.IsZero()
}
