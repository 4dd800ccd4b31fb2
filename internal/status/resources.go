package status

import "time"

// Connections are the server's slots for clients.
type Connections struct {
	// Used counts the exporter's own, too.
	Used int64 `json:"used"`
	Max  int64 `json:"max"`
	// Free is what an ordinary role can still take.
	Free int64 `json:"free"`
	// SuperuserReserved are kept for superusers, Reserved for roles with pg_use_reserved_connections (PostgreSQL 16).
	SuperuserReserved int64  `json:"superuser_reserved"`
	Reserved          *int64 `json:"reserved,omitempty"`
	// ByState are sessions of clients by what they do: active, idle, idle in transaction and so on. Left out while unknown.
	ByState map[string]int64 `json:"by_state,omitempty"`
}

// Volume is a file system of the database or its backups.
type Volume struct {
	Name string `json:"name"`
	// Path as given with --volume.
	Path string `json:"path"`
	// OK is false when the file system could not be asked: all below is left out then.
	OK             bool   `json:"ok"`
	SizeBytes      *int64 `json:"size_bytes,omitempty"`
	UsedBytes      *int64 `json:"used_bytes,omitempty"`
	AvailableBytes *int64 `json:"available_bytes,omitempty"`
	// UsedRatio is 1 - available / size: what is kept for root counts as used, as in the alerts.
	UsedRatio *float64 `json:"used_ratio,omitempty"`
	ReadOnly  *bool    `json:"read_only,omitempty"`
	// InodesFreeRatio is left out where the number of files has no limit.
	InodesFreeRatio *float64 `json:"inodes_free_ratio,omitempty"`
	// GrowthBytesPerSecond is the trend of the space in use over TrendSeconds, negative when it shrinks. Left out until
	// the exporter has watched for ten minutes.
	GrowthBytesPerSecond *float64 `json:"growth_bytes_per_second,omitempty"`
	TrendSeconds         *float64 `json:"trend_seconds,omitempty"`
	// TimeToFullSeconds is when the trend meets the end. Left out while unknown, and when the volume does not fill.
	TimeToFullSeconds *float64 `json:"time_to_full_seconds,omitempty"`
}

// Container is the database's container, as its engine tells.
type Container struct {
	Name string `json:"name"`
	// State is created, running, paused, restarting, removing, exited or dead.
	State   string `json:"state"`
	Running bool   `json:"running"`
	// RestartCount is by the engine's restart policy; it starts anew when the container is made anew.
	RestartCount int64 `json:"restart_count"`
	// OOMKilled: its last end was for want of memory, or, with newer engines, a process of the present run was killed.
	OOMKilled bool `json:"oom_killed"`
	// Health is starting, healthy or unhealthy; left out without a health check.
	Health           string     `json:"health,omitempty"`
	StartedAt        *time.Time `json:"started_at,omitempty"`
	ExitCode         *int64     `json:"exit_code,omitempty"`
	MemoryLimitBytes *int64     `json:"memory_limit_bytes,omitempty"`
	Image            string     `json:"image,omitempty"`
}

// Replication of a standby from its primary, and of this server's own clients.
type Replication struct {
	// Streaming is whether a standby receives WAL from its primary; left out on a primary.
	Streaming *bool `json:"streaming,omitempty"`
	// ReplayPaused: an operator paused a standby's replay.
	ReplayPaused *bool `json:"replay_paused,omitempty"`
	// LagSeconds and BehindBytes are of a standby; left out on a primary.
	LagSeconds  *float64 `json:"lag_seconds,omitempty"`
	BehindBytes *int64   `json:"behind_bytes,omitempty"`
	// SyncRequired: commits wait for a standby; without any of SyncClients they hang.
	SyncRequired *bool  `json:"sync_required,omitempty"`
	SyncClients  *int64 `json:"sync_clients,omitempty"`
	// ClientCount is how many receive WAL from this server now, base backups among them. Clients are those 50 furthest behind.
	ClientCount *int64              `json:"client_count,omitempty"`
	Clients     []ReplicationClient `json:"clients"`
	// SlotCount is how many slots there are. Slots are the first 50: those that are lost, then those that nobody reads, then
	// those that keep the most.
	SlotCount *int64 `json:"slot_count,omitempty"`
	Slots     []Slot `json:"slots"`
}

// ReplicationClient is a standby or subscriber that this server feeds.
type ReplicationClient struct {
	ApplicationName string `json:"application_name"`
	// Address of the client; left out over a unix socket.
	Address string `json:"address,omitempty"`
	// State is startup, catchup, streaming, backup or stopping.
	State    string `json:"state"`
	SlotName string `json:"slot_name,omitempty"`
	// ReplayLagSeconds is the time until recent WAL was replayed, ReplayLagBytes the WAL not replayed yet.
	ReplayLagSeconds *float64 `json:"replay_lag_seconds,omitempty"`
	ReplayLagBytes   *int64   `json:"replay_lag_bytes,omitempty"`
}

// Slot keeps WAL for a client.
type Slot struct {
	Name string `json:"name"`
	// Type is physical or logical.
	Type   string `json:"type,omitempty"`
	Active bool   `json:"active"`
	// RetainedBytes of WAL; left out once the slot has lost its WAL.
	RetainedBytes *int64 `json:"retained_bytes,omitempty"`
	// SafeBytes can be written before the slot is in danger; left out without max_slot_wal_keep_size.
	SafeBytes *int64 `json:"safe_bytes,omitempty"`
	// WALStatus is reserved, extended, unreserved or lost.
	WALStatus string `json:"wal_status,omitempty"`
	// Invalidated: the slot is of no use any more.
	Invalidated *bool `json:"invalidated,omitempty"`
}

// Collectors measure the server for /metrics.
type Collectors struct {
	// Count of collectors that run.
	Count int `json:"count"`
	// Failing are those whose newest run failed.
	Failing []FailingCollector `json:"failing"`
}

// FailingCollector is one whose newest run failed, or had to leave samples out.
type FailingCollector struct {
	Name string `json:"name"`
	// Error is the reason's word, as in pg_reliability_collector_errors_total; the exporter's log has the text.
	Error string `json:"error"`
	// DataAgeSeconds is of its newest data; left out when there never was any.
	DataAgeSeconds *float64 `json:"data_age_seconds,omitempty"`
}
