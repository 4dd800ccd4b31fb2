// Package monitor is the terminal screen: what the exporter's status API says, live, and the keys that back up, read
// logs and restart. It measures nothing itself.
package monitor

import (
	"context"
	"io"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

// Sources are what the screen talks to. Each but Status may be nil: the screen says then what it can't do, and why.
type Sources struct {
	Status StatusSource
	Backup BackupService
	Server Server
	Log    Log
	// Incidents is nil where the exporter is not asked for them.
	Incidents IncidentSource
	// Unit is nil where systemd doesn't run the server.
	Unit Supervisor
	// NoBackup, NoServer and NoLog say what to configure where the source is nil.
	NoBackup, NoServer, NoLog string
}

// StatusSource tells the state of the database.
type StatusSource interface {
	// Status is the answer of GET /api/status without history, and the same as it came.
	Status(ctx context.Context) (*status.Status, []byte, error)
	// Where the answer comes from, for people.
	Where() string
}

// IncidentSource tells what happened, and why.
type IncidentSource interface {
	// Incidents are those that are kept, newest first.
	Incidents(ctx context.Context) ([]Incident, error)
}

// Incident is one of GET /api/incidents.
type Incident struct {
	ID       string    `json:"id"`
	Kind     string    `json:"kind"`
	Start    time.Time `json:"start"`
	End      time.Time `json:"end"` // zero while it goes on
	Reason   string    `json:"reason"`
	Cause    string    `json:"cause"`
	Sure     string    `json:"sure"`
	Sentence string    `json:"sentence"`
}

// BackupService makes backups.
type BackupService interface {
	// Start asks for a backup now; began is false when one is under way already.
	Start(ctx context.Context) (began bool, err error)
	// Progress tells how far it is.
	Progress(ctx context.Context) (BackupProgress, error)
}

// BackupProgress is what the backup job says of itself.
type BackupProgress struct {
	// Waiting: a backup was asked for and has not begun. Running: one is being made.
	Waiting, Running bool
	// Since is when the one that runs began.
	Since time.Time
	// Phase is what it does now; Bytes of Total, which is 0 while unknown.
	Phase        string
	Bytes, Total int64
	// Last is the newest that ended since the job's start; nil before.
	Last *BackupEnd
}

// BackupEnd is how a backup ended.
type BackupEnd struct {
	Ended time.Time
	OK    bool
	// ID and State of the backup, such as verified; empty without one.
	ID, State string
	// Message is the failure's text.
	Message string
}

// Server is what runs the database: a container engine, systemd, or a command.
type Server interface {
	// Name says what would be restarted, such as "container db".
	Name() string
	// Restart returns when the order was carried out, which does not mean that the server answers.
	Restart(ctx context.Context) error
}

// Log is the server's log.
type Log interface {
	// Name says whose it is.
	Name() string
	// Follow is its end, of about so many lines, and what is added from then on, until the context ends.
	Follow(ctx context.Context, lines int) (io.ReadCloser, error)
}
