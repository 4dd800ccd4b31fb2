package monitor

import (
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"
)

// unitMsg is what the supervisor answered.
type unitMsg struct {
	state UnitState
	err   error
}

// askUnit asks the supervisor, if there is one that was not asked just now.
func (s *Screen) askUnit() tea.Cmd {
	if s.sources.Unit == nil || s.askingUnit {
		return nil
	}
	s.askingUnit = true
	return func() tea.Msg {
		st, err := s.sources.Unit.State(s.ctx)
		return unitMsg{state: st, err: err}
	}
}

func (s *Screen) unitAnswered(msg unitMsg) {
	s.askingUnit = false
	s.unit = &msg
}

// unitIsUnknown says whether systemd knows no unit of that name, or that it can't be asked.
func (s *Screen) unitIsUnknown() bool {
	return s.unit != nil && (s.unit.err != nil || s.unit.state.Load == "not-found" || s.unit.state.mayBeMisspelt())
}

// mayBeMisspelt says whether nothing tells that there is such a unit: a template makes one of any name.
func (st UnitState) mayBeMisspelt() bool { return st.Active == "inactive" && st.NeverRan }

// unitLines are the unit's state; what is not as it should be is written out.
func (s *Screen) unitLines() []string {
	if s.sources.Unit == nil || s.unit == nil {
		return nil
	}
	st, name := s.unit.state, s.sources.Unit.Name()
	if s.unit.err != nil {
		return s.wrapped(warning, fmt.Sprintf("%s: %v", name, s.unit.err))
	}
	parts := []string{fmt.Sprintf("%s (%s)", st.Active, st.Sub)}
	if st.Restarts != nil {
		parts = append(parts, fmt.Sprintf("restart count %d", *st.Restarts))
	}
	if !st.Since.IsZero() {
		parts = append(parts, "for "+span(s.now().Sub(st.Since)))
	}
	text := strings.Join(parts, ", ")
	const look = ". HINT: systemctl list-units --all 'postgresql*' lists what there is"
	switch {
	case st.Load == "not-found":
		return s.wrapped(critical, name+": there is no such unit"+look)
	case st.Load != "loaded":
		return s.wrapped(critical, fmt.Sprintf("%s: %s, %s", name, st.Load, text))
	case st.Sub == "exited":
		return s.wrapped(warning, name+": "+text+", it has no process. HINT: On Debian a server's own unit is postgresql@VERSION-CLUSTER")
	case st.Active == "failed":
		return s.wrapped(critical, fmt.Sprintf("%s: %s: %s", name, text, st.Result))
	case st.mayBeMisspelt():
		return s.wrapped(critical, name+": "+text+", and it never ran on this machine since it started. Is that its name?"+look)
	case st.Active != "active":
		return s.wrapped(critical, name+": "+text)
	}
	parts[0] = strings.TrimPrefix(name, "unit ") + ": " + parts[0]
	return []string{s.named("Unit", ", ", parts...)}
}
