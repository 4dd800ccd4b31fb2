package incident

import (
	"strings"

	"github.com/pg-reliability/pg_reliability_exporter/internal/serverlog"
	"github.com/pg-reliability/pg_reliability_exporter/internal/sqltext"
)

const (
	// failedStatement begins the detail of a message about a process that ended, as serverlog makes it.
	failedStatement = "Failed process was running: "
	maxStatement    = 500
)

// hide leaves of a window's statements what may be shown now: an earlier run may have kept more.
func hide(w *Window, show sqltext.Show) {
	for i := range w.Log {
		hideEvent(&w.Log[i], show)
	}
	for i := range w.Samples {
		for j := range w.Samples[i].Blockers {
			b := &w.Samples[i].Blockers[j]
			b.Statement = show.Statement(b.Statement, maxStatement)
		}
	}
}

func hideEvent(e *serverlog.Event, show sqltext.Show) {
	e.Statement = show.Statement(e.Statement, maxStatement)
	if sql, ok := strings.CutPrefix(e.Detail, failedStatement); ok {
		if e.Detail = ""; show != sqltext.None {
			e.Detail = failedStatement + show.Statement(sql, maxStatement)
		}
	}
}
