package gather

import (
	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
	"github.com/pg-reliability/pg_reliability_exporter/internal/watchdog"
)

// watchdogOf says what it is about; view is nil where there is none.
func watchdogOf(view func() watchdog.View) status.Watchdog {
	if view == nil {
		return status.Watchdog{}
	}
	v := view()
	return status.Watchdog{
		On: true, Action: v.Action, AfterSeconds: v.After.Seconds(), Idle: v.Idle, RestartsLastHour: v.Recent, LastRestartAt: timeOf(v.Last),
		LeftAlone: v.Waiting, LeftAloneAt: timeOf(v.WaitingAt),
	}
}
