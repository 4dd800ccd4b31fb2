package monitor

import (
	"strings"

	tea "charm.land/bubbletea/v2"
)

func (s *Screen) key(msg tea.KeyPressMsg) tea.Cmd {
	if msg.String() == "ctrl+c" {
		return tea.Quit
	}
	if s.log.typing {
		s.log.search(msg)
		return nil
	}
	key := strings.ToLower(msg.String())
	if msg.String() == "N" { // in the log it is the search's other direction
		key = "N"
	}
	if s.asksRestart {
		return s.answerRestart(key)
	}
	switch key {
	case "s", "q": // S was shown before; beside Restart it read as "stop the database"
		return tea.Quit
	case "b":
		return s.orderBackup()
	case "r":
		s.askRestart()
		return nil
	case "l":
		s.toggle(logs)
		return nil
	case "t":
		s.toggle(tree)
		return nil
	case "i":
		s.toggle(incidents)
		return s.askIncidents()
	case "?", "h", "f1":
		s.toggle(help)
		return nil
	case "esc", "alt+esc": // twice, quickly
		if s.view == logs && s.log.query != "" {
			s.log.forget()
			return nil
		}
		s.view = overview
		return nil
	}
	if s.view == logs {
		s.log.key(key)
	}
	return nil
}

func (s *Screen) toggle(v view) {
	if s.view == v {
		v = overview
	}
	s.view = v
}

// answerRestart takes y alone for a yes.
func (s *Screen) answerRestart(key string) tea.Cmd {
	if key == "y" {
		return s.orderRestart()
	}
	s.asksRestart = false
	s.say(plain, "Nothing was restarted")
	return nil
}
