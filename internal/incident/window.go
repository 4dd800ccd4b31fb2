// Package incident keeps what is known of the seconds around each outage, and says why it came to it. The window is evidence: what
// the probes saw, what the server's log said, what sessions did, what the host knew. Explain is a pure function from a window to a
// story: it reads no clock and asks nobody, so that each story is one row of a test.
package incident

import (
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/serverlog"
	"github.com/pg-reliability/pg_reliability_exporter/internal/sessions"
)

// Kind is what made a window be kept.
type Kind string

const (
	// Outage: reads or logins failed.
	Outage Kind = "outage"
	// Stall: reads succeeded, and took so long together that users noticed.
	Stall Kind = "stall"
	// Crash: a server process crashed, and no probe happened to fail.
	Crash Kind = "crash"
)

// How far a window reaches beyond its incident.
const (
	Before = 60 * time.Second
	After  = 30 * time.Second
)

// Window is all that is known of an incident and of the time around it. It is bounded: what was left out is counted.
type Window struct {
	// Version of this form, of the file that keeps it.
	Version int    `json:"version"`
	ID      string `json:"id"`
	Kind    Kind   `json:"kind"`
	// Target names the server without a secret.
	Target string `json:"target"`
	// Reason is the probe's, with which it began; empty of a crash.
	Reason string    `json:"reason,omitempty"`
	Start  time.Time `json:"start"`
	// End is zero while it goes on.
	End time.Time `json:"end,omitzero"`
	// Restarts are the kinds that were seen in it, as in pg_reliability_restarts_total.
	Restarts []string `json:"restarts,omitempty"`
	// Was and Is are what the server said of itself before and afterwards; zero while unknown.
	Was Server `json:"was,omitzero"`
	Is  Server `json:"is,omitzero"`

	Probes []Probe           `json:"probes"`
	Log    []serverlog.Event `json:"log"`
	// Samples of sessions, and Facts of the host.
	Samples []Sample `json:"samples,omitempty"`
	Facts   []Fact   `json:"facts,omitempty"`

	// LogFollowed: the server's log was read. LogGrew is when it last grew while the incident went on; zero if it did not.
	LogFollowed bool      `json:"log_followed"`
	LogGrew     time.Time `json:"log_grew,omitzero"`
	// HostWatched: facts of the host would be here if there were any.
	HostWatched bool `json:"host_watched,omitempty"`
	// LeftOut is how much evidence there was no room for.
	LeftOut int `json:"left_out,omitempty"`
}

// Seconds it lasted; until now where it goes on.
func (w *Window) Seconds(now time.Time) float64 {
	if w.End.IsZero() {
		return max(0, now.Sub(w.Start).Seconds())
	}
	return w.End.Sub(w.Start).Seconds()
}

// Server is what tells one server, and one run of it, from another.
type Server struct {
	StartTime        time.Time `json:"start_time,omitzero"`
	Role             string    `json:"role,omitempty"`
	SystemIdentifier string    `json:"system_identifier,omitempty"`
	Address          string    `json:"address,omitempty"`
	Timeline         int64     `json:"timeline,omitempty"`
}

// Probe is the result of one.
type Probe struct {
	At time.Time `json:"at"`
	// Probe is read, login or write.
	Probe  string `json:"probe"`
	Reason string `json:"reason"`
	// Seconds it took.
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"`
	// Stalled: it was slow, and in time.
	Stalled bool `json:"stalled,omitempty"`
}

// Sample is what sessions did at a moment, and Blocker one that others wait for.
type (
	Sample  = sessions.Sample
	Blocker = sessions.Blocker
)

// FactKind is what a fact of the host is about.
type FactKind string

const (
	// OOMKill: the kernel killed a process of the server's control group or container for want of memory.
	OOMKill FactKind = "oom_kill"
	// HostOOMKill: it killed one somewhere on the server's machine.
	HostOOMKill FactKind = "host_oom_kill"
	// Exited: the server's container or unit ended; Value is the exit code, or a signal and 128.
	Exited FactKind = "exited"
	// VolumeFull and VolumeReadOnly: of the volume Name; Value is the used ratio.
	VolumeFull     FactKind = "volume_full"
	VolumeReadOnly FactKind = "volume_read_only"
	// MemoryPressure, IOPressure, CPUPressure: the share of ten seconds in which something waited for it, from 0 to 1.
	MemoryPressure FactKind = "memory_pressure"
	IOPressure     FactKind = "io_pressure"
	CPUPressure    FactKind = "cpu_pressure"
	// Load: Value is how many processes per CPU wanted to run, over a minute.
	Load FactKind = "load"
	// ProcessStopped: what Name says is stopped, by a signal or with its control group. ProcessWaits: it waits for a disk, in a state
	// that no signal ends.
	ProcessStopped FactKind = "process_stopped"
	ProcessWaits   FactKind = "process_waits"
	// WatchdogActed: after Value seconds without any answer, the watchdog did what Name says.
	WatchdogActed FactKind = "watchdog_acted"
)

// Fact is what the host, or the container engine, said.
type Fact struct {
	At    time.Time `json:"at"`
	Kind  FactKind  `json:"kind"`
	Name  string    `json:"name,omitempty"`
	Value float64   `json:"value,omitempty"`
}
