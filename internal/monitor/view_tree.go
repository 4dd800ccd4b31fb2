package monitor

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

// drawTree is who blocks whom.
func (s *Screen) drawTree() []string {
	lines := []string{s.style.strong("Who blocks whom"), ""}
	switch {
	case s.status == nil || s.status.Sessions == nil:
		return append(lines, "Not known: the server does not answer, the exporter's role lacks pg_monitor, or the exporter is older.")
	case len(s.status.Sessions.Blocking) == 0 && s.status.Sessions.Blocked > 0:
		return append(lines, fmt.Sprintf("%d wait for a lock; for whom is not known yet.", s.status.Sessions.Blocked))
	case len(s.status.Sessions.Blocking) == 0:
		return append(lines, "Nobody waits for a lock.")
	}
	for _, n := range s.status.Sessions.Blocking {
		indent := strings.Repeat("  ", min(n.Depth, 8))
		who := blockingName(n)
		line := fmt.Sprintf("%s%s, %s", indent, who, does(n))
		if n.TransactionSeconds > 0 {
			line += fmt.Sprintf(", transaction %s old", span(seconds(n.TransactionSeconds)))
		}
		if n.Blocks > 0 {
			line += fmt.Sprintf(", %d behind it", n.Blocks)
		}
		if n.Depth == 0 {
			line = s.style.paint(critical, line)
		}
		lines = append(lines, line)
		if n.Statement != "" {
			lines = append(lines, s.style.paint(faint, indent+"    "+n.Statement))
		}
		if n.Remedy != "" {
			lines = append(lines, indent+"    to end it: "+n.Remedy)
		}
	}
	return lines
}

func blockingName(n status.Blocking) string {
	if n.PID == 0 {
		return "a prepared transaction"
	}
	who := fmt.Sprintf("%d %s", n.PID, cmp.Or(n.User, n.Backend))
	if n.Application != "" {
		who += " (" + n.Application + ")"
	}
	return who
}

// does says what a session does, and what it waits for.
func does(n status.Blocking) string {
	switch {
	case n.Wait == "", n.Wait == "Client:ClientRead" && len(n.BlockedBy) == 0: // idle says so already
		return n.State
	case len(n.BlockedBy) > 0:
		return fmt.Sprintf("waits for %s for %s", n.Wait, span(seconds(n.StateSeconds)))
	}
	return strings.TrimPrefix(fmt.Sprintf("%s, waits for %s", n.State, n.Wait), ", ")
}

// blocked is the shortest word about it: how many wait, and behind whom. It is empty while nobody waits.
func (s *Screen) blocked() []string {
	now := s.status.Sessions
	if now == nil || now.Blocked == 0 {
		return nil
	}
	text := fmt.Sprintf("%d wait for a lock", now.Blocked)
	if len(now.Blocking) > 0 {
		root := now.Blocking[0]
		text += fmt.Sprintf(", %d behind %s, %s", root.Blocks, blockingName(root), root.State)
		if root.TransactionSeconds > 0 {
			text += ", transaction " + span(seconds(root.TransactionSeconds)) + " old"
		}
	}
	return []string{s.named("Locks", ", ", s.style.paint(warning, text))}
}
