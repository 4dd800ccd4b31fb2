package monitor

import (
	"fmt"
	"regexp"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
)

// logEnd is the newest lines of the log under a rule, in so many lines.
func (s *Screen) logEnd(room int) []string {
	if room < 2 {
		return nil
	}
	if s.sources.Log == nil {
		return []string{s.style.rule("log", s.width), s.style.paint(faint, "none: "+s.sources.NoLog)}
	}
	lines := []string{s.style.rule("log of "+s.sources.Log.Name(), s.width)}
	if s.log.err != nil {
		lines = append(lines, s.wrapped(warning, s.log.err.Error())...)
	}
	for _, line := range s.log.last(max(0, room-len(lines))) {
		lines = append(lines, s.style.paint(lineTone(line), brief(line)))
	}
	return lines
}

var (
	// date begins most lines.
	date = regexp.MustCompile(`^\d{4}-\d{2}-\d{2} `)
	// said is the time of day and what the server said, whatever its log_line_prefix has between them.
	said = regexp.MustCompile(
		`^(?:\d{4}-\d{2}-\d{2}[ T])?(\d{2}:\d{2}:\d{2})\S* .*?((?:DEBUG[1-5]|INFO|NOTICE|WARNING|ERROR|LOG|FATAL|PANIC|DETAIL|HINT|CONTEXT|STATEMENT):  .*)$`)
)

// brief is a line for the overview: when, how bad, what. Who it was is in the log's own view.
func brief(line string) string {
	if m := said.FindStringSubmatch(line); m != nil {
		return m[1] + " " + m[2]
	}
	return date.ReplaceAllString(line, "")
}

// lineTone is by the server's own words for severity.
func lineTone(line string) tone {
	switch {
	case strings.Contains(line, "PANIC:"), strings.Contains(line, "FATAL:"):
		return critical
	case strings.Contains(line, "ERROR:"), strings.Contains(line, "WARNING:"):
		return warning
	}
	return plain
}

// drawLog is the log on the whole screen.
func (s *Screen) drawLog(room int) []string {
	if s.sources.Log == nil {
		return []string{"There is no log here: " + s.sources.NoLog}
	}
	var failed []string
	if s.log.err != nil {
		failed = s.wrapped(warning, s.log.err.Error())
	}
	rows, last := s.log.window(max(0, room-1-len(failed)), s.logRows)
	where := "following"
	if s.log.up > 0 {
		where = fmt.Sprintf("line %d of %d, [F] follows", last+1, len(s.log.lines))
	}
	if s.log.query != "" && !s.log.typing {
		where += fmt.Sprintf(", %d lines match %q", s.log.count(), s.log.query)
	}
	if s.log.err != nil {
		where = "not followed"
	}
	lines := append([]string{s.style.rule(fmt.Sprintf("%s, log of %s", where, s.sources.Log.Name()), s.width)}, failed...)
	return append(lines, rows...)
}

// logRows is one line of the log in as many rows as it takes.
func (s *Screen) logRows(i int) []string {
	mark := ""
	if s.log.query != "" {
		mark = "  "
		if s.log.matches(i) {
			mark = "> "
		}
	}
	rows := strings.Split(ansi.Wrap(s.log.lines[i], max(1, s.width-len(mark)), ""), "\n")
	tone := lineTone(s.log.lines[i])
	for r := range rows {
		rows[r] = mark + s.highlight(rows[r], tone)
		mark = strings.Repeat(" ", len(mark))
	}
	return rows
}

// highlight shows what was searched for.
func (s *Screen) highlight(line string, t tone) string {
	q := strings.ToLower(s.log.query)
	low := strings.ToLower(line)
	if q == "" || len(low) != len(line) { // letters whose lower case is longer: no place to point at
		return s.style.paint(t, line)
	}
	var b strings.Builder
	for {
		i := strings.Index(low, q)
		if i < 0 {
			return b.String() + line
		}
		b.WriteString(line[:i])
		found := line[i : i+len(q)]
		if !s.style.plains {
			found = lipgloss.NewStyle().Reverse(true).Render(found)
		}
		b.WriteString(found)
		line, low = line[i+len(q):], low[i+len(q):]
	}
}
