// Package status is the answer of GET /api/status: what the status page and the terminal screen show. docs/status-api.md
// and docs/status.schema.json describe it; a test holds the three together.
//
// A field whose value is unknown is left out, and never 0. Lists are always there, possibly empty. Times are RFC 3339 in
// UTC, lengths of time are seconds, sizes are bytes, ratios are from 0 to 1. Within one schema version fields are added,
// never removed and never given another meaning.
package status

import "time"

// SchemaVersion is of the fields below. Readers must refuse a version that they don't know.
const SchemaVersion = 1

// Words for the state of the database.
const (
	// Up: reads and logins succeed, and writes where they are probed.
	Up = "up"
	// Degraded: reads and logins succeed, the write probe fails.
	Degraded = "degraded"
	// Down: reads or logins fail. This is an outage.
	Down = "down"
	// Unknown: no probe has reported yet, or none for too long.
	Unknown = "unknown"
)

// Status is the whole answer.
type Status struct {
	SchemaVersion int       `json:"schema_version"`
	GeneratedAt   time.Time `json:"generated_at"`
	// MeasuredAt is when connections, replication, volumes, the container and collectors were asked last; the rest is as new
	// as GeneratedAt, but for backups. Left out before the first time.
	MeasuredAt *time.Time `json:"measured_at,omitempty"`
	Exporter   Exporter   `json:"exporter"`
	// Target names the server without a secret: host:port/database.
	Target   string    `json:"target"`
	State    State     `json:"state"`
	Problems []Problem `json:"problems"`
	// Server is what the server said of itself last; left out before it has answered once.
	Server *Server `json:"server,omitempty"`
	// Probes are those that are switched on and apply, in the order read, login, write.
	Probes       []Probe      `json:"probes"`
	Availability Availability `json:"availability"`
	History      History      `json:"history"`
	Outages      Outages      `json:"outages"`
	Restarts     []Restart    `json:"restarts"`
	// Connections are left out while the server does not answer, and without pg_monitor.
	Connections *Connections `json:"connections,omitempty"`
	Replication *Replication `json:"replication,omitempty"`
	// Sessions are left out while the server does not answer, before the first sample, and without pg_monitor.
	Sessions *Sessions `json:"sessions,omitempty"`
	// Volumes are those given with --volume.
	Volumes []Volume `json:"volumes"`
	// Container is left out without --container.name, and before the container engine's first answer.
	Container *Container `json:"container,omitempty"`
	// Watchdog is what has a server started again that hangs.
	Watchdog Watchdog `json:"watchdog"`
	// Backups are as the newest reading of the repository found them, one every 15 seconds. They are left out without
	// --backup.catalog, before the repository was first read, and when it has not answered for long.
	Backups    *Backups   `json:"backups,omitempty"`
	Collectors Collectors `json:"collectors"`
	Links      Links      `json:"links"`
}

// Exporter is the program that answers.
type Exporter struct {
	Version string `json:"version"`
	// StartedAt is when it was started: what was before is from its state directory.
	StartedAt time.Time `json:"started_at"`
}

// State is the state of the database in a word, and why.
type State struct {
	// Status is up, degraded, down or unknown.
	Status string `json:"status"`
	// Reason is ok, unknown, or why the status is what it is, as in pg_reliability_up_reason.
	Reason string `json:"reason"`
	// Message says it in words, which may change.
	Message string `json:"message"`
	// Since is when Status and Reason began to hold; while down, when the outage began, whatever its reasons were since.
	Since *time.Time `json:"since,omitempty"`
	// Cause is the newest failure's text without secrets; left out while nothing fails.
	Cause string `json:"cause,omitempty"`
}

// Severities of a Problem, as in the alerts.
const (
	// Critical: somebody should act now.
	Critical = "critical"
	// Warning: somebody should act in working hours.
	Warning = "warning"
)

// Problem is something that is wrong now. The page looks at this moment alone and knows less than the alerts, which
// look at a stretch of time; it names the alert that is nearest.
type Problem struct {
	// Alert is the alert's name, and that of its runbook.
	Alert string `json:"alert"`
	// Severity is critical or warning.
	Severity string `json:"severity"`
	// Message says it in words, which may change.
	Message string `json:"message"`
	// Runbook is the address of what to do.
	Runbook string `json:"runbook,omitempty"`
}

// Server is what the server said of itself when it last answered.
type Server struct {
	// Role is primary or standby.
	Role string `json:"role,omitempty"`
	// VersionNumber is server_version_num, such as 170006; Version is the same for people, such as 17.6.
	VersionNumber int    `json:"version_number,omitempty"`
	Version       string `json:"version,omitempty"`
	// MinorReleasesBehind is how many minor releases it lacks, at least, by the exporter's list, which was made at ReleasesKnownAt. It is
	// left out where the list is too old to say that there is no newer one; 0 is that it had the newest when the list was made.
	MinorReleasesBehind *int64     `json:"minor_releases_behind,omitempty"`
	ReleasesKnownAt     *time.Time `json:"releases_known_at,omitempty"`
	// StartedAt is when its postmaster was started.
	StartedAt        *time.Time `json:"started_at,omitempty"`
	SystemIdentifier string     `json:"system_identifier,omitempty"`
	Timeline         int64      `json:"timeline,omitempty"`
	// Address is the server's own, as host:port; left out over a unix socket.
	Address string `json:"address,omitempty"`
	// ReplayLagSeconds is how far a standby's replay is behind; left out on a primary.
	ReplayLagSeconds *float64 `json:"replay_lag_seconds,omitempty"`
}

// Probe is one of the prober's questions.
type Probe struct {
	// Name is read, login or write.
	Name string `json:"name"`
	// Status is up, down, or unknown before the first report and when the newest is too old.
	Status string `json:"status"`
	// Reason of the newest report, also when that is too old; unknown before the first.
	Reason string `json:"reason"`
	// Since is when Reason began to hold.
	Since *time.Time `json:"since,omitempty"`
	// CheckedAt is the end of the newest probe, LatencySeconds how long it took.
	CheckedAt      *time.Time `json:"checked_at,omitempty"`
	LatencySeconds *float64   `json:"latency_seconds,omitempty"`
	// Error is the newest failure's text without secrets; left out after a success.
	Error string `json:"error,omitempty"`
}

// Restart is how often the server became another one than before, by how.
type Restart struct {
	// Kind is restart, crash, failover, promotion, demotion or container.
	Kind string `json:"kind"`
	// Observable is whether this kind can be told with what the server tells; left out before it has answered.
	Observable *bool `json:"observable,omitempty"`
	// Count since the state was first kept; left out while it can't be told and never could.
	Count *uint64 `json:"count,omitempty"`
	// LastAt is when the newest of this kind was.
	LastAt *time.Time `json:"last_at,omitempty"`
}

// Links are addresses of other pages; one that is not configured is left out.
type Links struct {
	Grafana      string `json:"grafana,omitempty"`
	Alertmanager string `json:"alertmanager,omitempty"`
	// Runbooks is what an alert's name and .md are appended to.
	Runbooks string `json:"runbooks,omitempty"`
	// Metrics, Health and API are paths of this exporter, relative to the status page.
	Metrics string `json:"metrics"`
	Health  string `json:"health"`
	API     string `json:"api"`
}

// OrZero is what p points to, and zero for what is left out.
func OrZero[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
