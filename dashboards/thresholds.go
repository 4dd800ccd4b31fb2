package dashboards

import (
	"errors"
	"fmt"

	"github.com/pg-reliability/pg_reliability_exporter/alerts"
)

// Colours say how bad it is: the same everywhere. Words and icons say it as well, for who can't tell them apart.
const (
	fine    = "green"
	ticket  = "orange"
	page    = "red"
	unknown = "#808080"
	neutral = "blue"
)

// sources are what boards are made from: the alerts' thresholds and links. What is asked for and not there is
// remembered, and the board is not written.
type sources struct {
	config alerts.Config
	alerts map[string]bool // by name
	errs   []error
}

func newSources(config alerts.Config) (*sources, error) {
	files, err := config.Rules(1)
	if err != nil {
		return nil, err
	}
	rules, err := alerts.Parse(files)
	if err != nil {
		return nil, err
	}
	s := &sources{config: config, alerts: map[string]bool{}}
	for _, r := range rules {
		s.alerts[r.Alert] = true
	}
	return s, nil
}

func (s *sources) threshold(name string) alerts.Threshold {
	t, ok := s.config.Thresholds[name]
	if !ok {
		s.errs = append(s.errs, fmt.Errorf("the threshold %q is not in alerts/thresholds.yml", name))
	}
	return t
}

// value of a threshold; seconds, bytes, a ratio or a count.
func (s *sources) value(name string) float64 { return s.threshold(name).Value }

// say is a threshold in a sentence.
func (s *sources) say(name string) string { return s.threshold(name).Human() }

// step is a colour from a value on; the first one has none.
type step struct {
	from  any
	color string
}

// steps are a panel's thresholds.
type steps []step

// above colours what is bad when it is high, with the thresholds of a ticket and of a page; either may be "".
func (s *sources) above(forTicket, forPage string) steps {
	all := steps{{nil, fine}}
	if forTicket != "" {
		all = append(all, step{s.value(forTicket), ticket})
	}
	if forPage != "" {
		all = append(all, step{s.value(forPage), page})
	}
	return all
}

// below colours what is bad when it is low.
func (s *sources) below(forTicket, forPage string) steps {
	var all steps
	if forPage != "" {
		all = append(all, step{nil, page})
	}
	if forTicket != "" {
		all = append(all, step{nil, ticket})
		if forPage != "" {
			all[1].from = s.value(forPage)
		}
		return append(all, step{s.value(forTicket), fine})
	}
	return append(all, step{s.value(forPage), fine})
}

// from colours what is bad from a value on that no alert knows: anything but none, or below none.
func from(value float64, color string) steps { return steps{{nil, fine}, {value, color}} }

// plain has one colour: there is no good and bad.
func plain(color string) steps { return steps{{nil, color}} }

func (all steps) object() object {
	list := []object{}
	for _, s := range all {
		list = append(list, object{"value": s.from, "color": s.color})
	}
	return object{"mode": "absolute", "steps": list}
}

// runbook of an alert.
func (s *sources) runbook(alert string) object {
	if !s.alerts[alert] {
		s.errs = append(s.errs, fmt.Errorf("%s is no alert", alert))
	}
	return object{"title": "Runbook: " + alert, "url": s.config.Links.Runbook + alert + ".md", "targetBlank": true}
}

func (s *sources) err() error { return errors.Join(s.errs...) }
