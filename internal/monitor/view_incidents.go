package monitor

import (
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
)

// incidentsMsg is the answer to a question for incidents.
type incidentsMsg struct {
	list []Incident
	err  error
}

// askIncidents asks while they are looked at.
func (s *Screen) askIncidents() tea.Cmd {
	if s.view != incidents || s.sources.Incidents == nil || s.askingIncidents {
		return nil
	}
	s.askingIncidents = true
	return func() tea.Msg {
		list, err := s.sources.Incidents.Incidents(s.ctx)
		return incidentsMsg{list: list, err: err}
	}
}

// drawIncidents lists what happened, newest first, and why.
func (s *Screen) drawIncidents() []string {
	lines := []string{s.style.strong("Incidents"), ""}
	switch is := s.incidents; {
	case s.sources.Incidents == nil:
		return append(lines, "Not known: the exporter is not asked for them.")
	case is == nil:
		return append(lines, "The exporter was asked and has not answered yet.")
	case is.err != nil:
		return append(lines, s.wrapped(warning, is.err.Error())...)
	case len(is.list) == 0:
		return append(lines, "None has been seen.")
	}
	for _, i := range s.incidents.list {
		length, t := "so far", critical
		if !i.End.IsZero() {
			length, t = span(i.End.Sub(i.Start)), plain
		}
		lines = append(lines, s.style.paint(t, fmt.Sprintf("%s  %s, %s: %s", i.Start.UTC().Format("2006-01-02 15:04:05Z"), i.Kind, length,
			strings.ReplaceAll(i.Cause, "_", " "))))
		for _, part := range strings.Split(ansi.Wrap(i.Sentence, max(20, s.width-4), " "), "\n") {
			lines = append(lines, s.style.paint(faint, "    "+part))
		}
	}
	return lines
}
