package monitor

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

// Exit codes of a look at the database, as monitoring plugins have them.
const (
	ExitUp       = 0
	ExitDegraded = 1
	ExitDown     = 2
	ExitUnknown  = 3
)

// Once writes what the screen shows, without log and keys, and returns the exit code.
func Once(ctx context.Context, w io.Writer, o Options, width int) (int, error) {
	s := New(ctx, o)
	s.width, s.whole = width, true
	s.answered(s.askStatus().(statusMsg))
	if ask := s.askUnit(); ask != nil {
		s.unitAnswered(ask().(unitMsg))
	}
	lines := append(s.head(), s.unitLines()...)
	if s.status != nil {
		lines = append(lines, s.problems()...)
		lines = append(lines, s.service()...)
		lines = append(lines, s.resources()...)
		lines = append(lines, s.backups()...)
	}
	for _, line := range lines {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " ")); err != nil {
			return ExitUnknown, fmt.Errorf("write: %w", err)
		}
	}
	return s.exit(), nil
}

// JSON writes the exporter's answer as it came, and returns the exit code.
func JSON(ctx context.Context, w io.Writer, source StatusSource) (int, error) {
	st, body, err := source.Status(ctx)
	if err != nil {
		return ExitUnknown, err
	}
	if _, err := w.Write(body); err != nil {
		return ExitUnknown, fmt.Errorf("write: %w", err)
	}
	return (&Screen{status: st}).exit(), nil
}

func (s *Screen) exit() int {
	if s.status == nil || s.err != nil {
		return ExitUnknown
	}
	switch s.status.State.Status {
	case status.Up:
		return ExitUp
	case status.Degraded:
		return ExitDegraded
	case status.Down:
		return ExitDown
	}
	return ExitUnknown
}
