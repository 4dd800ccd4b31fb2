package web

import (
	"net/http"
	"time"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/internal/sessions"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status/gather"
)

// Sessions tells what the server's sessions do, and did; *sessions.Watcher is one. It answers from memory.
type Sessions interface {
	gather.Samples
	// Since lists samples from a moment on, oldest first: at most five minutes of them.
	Since(from time.Time) []sessions.Sample
}

// sessionsVersion is of the answer of /api/sessions: within one, fields are added alone.
const sessionsVersion = 1

// sessionsHandler is GET /api/sessions. It asks the server nothing: what it tells was seen by the prober and beside it.
func sessionsHandler(o People, logger log.Logger, now func() time.Time) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		at := now()
		writeJSON(w, logger, "The list of sessions", struct {
			SchemaVersion int       `json:"schema_version"`
			GeneratedAt   time.Time `json:"generated_at"`
			Target        string    `json:"target"`
			// Now is as sessions of /api/status.
			Now *status.Sessions `json:"now,omitempty"`
			// Samples are those of the last five minutes, at most 300.
			Samples []sessions.Sample `json:"samples"`
		}{sessionsVersion, at.UTC(), o.Incidents.Target(), gather.SessionsOf(o.Sessions, at), o.Sessions.Since(at.Add(-sessions.Kept))})
	}
}
