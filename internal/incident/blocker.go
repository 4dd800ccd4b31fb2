package incident

import (
	"fmt"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/sessions"
)

// waitsForClient is what a session waits for that has nothing to do.
const waitsForClient = "Client:ClientRead"

// wordsOf a session that others wait for.
func wordsOf(b sessions.Blocker) string {
	text := fmt.Sprintf("%d sessions wait", b.Blocks)
	if b.Blocks == 1 {
		text = "one session waits"
	}
	if b.Logins > 0 {
		text += fmt.Sprintf(" (%d of them logging in)", b.Logins)
	}
	text += " behind "
	if b.PID == 0 {
		return text + "a prepared transaction, which nobody has ended"
	}
	text += fmt.Sprintf("process %d", b.PID)
	if b.User != "" {
		text += " of " + b.User
	}
	if b.Application != "" {
		text += fmt.Sprintf(" (%s)", b.Application)
	}
	text += fmt.Sprintf(", %s, its transaction %s old", b.State, lasting(time.Duration(b.Seconds*float64(time.Second))))
	switch b.Wait {
	case "":
	case waitsForClient:
		text += ", waiting for its client"
	default:
		text += ", waiting for " + b.Wait
	}
	if b.Statement != "" {
		text += ": " + b.Statement
	}
	return text
}
