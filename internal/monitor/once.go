package monitor

import (
	"context"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

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
		if now := s.status.Sessions; now != nil && len(now.Blocking) > 0 {
			lines = append(append(lines, ""), s.drawTree()...)
		}
	}
	for _, line := range lines {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " ")); err != nil {
			return ExitUnknown, fmt.Errorf("write: %w", err)
		}
	}
	return s.exit(), nil
}

// JSON writes the exporter's answer, and returns the exit code. What a terminal would obey is escaped as JSON has it, which says the same.
func JSON(ctx context.Context, w io.Writer, source StatusSource) (int, error) {
	st, body, err := source.Status(ctx)
	if err != nil {
		return ExitUnknown, err
	}
	if _, err := w.Write(inert(body)); err != nil {
		return ExitUnknown, fmt.Errorf("write: %w", err)
	}
	return (&Screen{status: st}).exit(), nil
}

// inert escapes what is not printable in a JSON text: a parser reads the same of it, and a terminal nothing else.
func inert(body []byte) []byte {
	out := make([]byte, 0, len(body))
	for len(body) > 0 {
		r, size := utf8.DecodeRune(body)
		switch {
		case unicode.IsPrint(r) && (r != utf8.RuneError || size > 1), r == '\n', r == '\r', r == '\t':
			out = append(out, body[:size]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		body = body[size:]
	}
	return out
}

func (s *Screen) exit() int {
	if s.status == nil || s.err != nil {
		return ExitUnknown
	}
	if s.status.State.Status != status.Down && s.unitIsUnknown() {
		return ExitUnknown // whoever named it reads only the code, maybe
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
