package status

import "time"

// Watchdog is what has a server started again that hangs.
type Watchdog struct {
	// On is whether --watchdog is set. Without, all below is left out.
	On bool `json:"on"`
	// Action is what it does, in words, which may change.
	Action string `json:"action,omitempty"`
	// AfterSeconds is how long the server must take connections and answer nobody.
	AfterSeconds float64 `json:"after_seconds,omitempty"`
	// Idle is why it would do nothing just now, in words; left out where it would act.
	Idle string `json:"idle,omitempty"`
	// RestartsLastHour is how often it acted within the last hour; left out where it did not.
	RestartsLastHour int `json:"restarts_last_hour,omitempty"`
	// LastRestartAt is when it acted last; left out before the first time.
	LastRestartAt *time.Time `json:"last_restart_at,omitempty"`
	// LeftAlone is why it did nothing in the newest silence that lasted, and LeftAloneAt when; left out where it acted, or there was none.
	LeftAlone   string     `json:"left_alone,omitempty"`
	LeftAloneAt *time.Time `json:"left_alone_at,omitempty"`
}
