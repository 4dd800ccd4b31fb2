package probe

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// document is the state file.
type document struct {
	Version int `json:"version"`
	// Target the state belongs to: another server's counts must not go on as this one's.
	Target  string          `json:"target"`
	SavedAt time.Time       `json:"saved_at"`
	State   json.RawMessage `json:"state"`
}

// decodeState reads a document. why is empty when it can be used.
func decodeState(data []byte, target string) (s *state, why setAside, err error) {
	var d document
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, asideCorrupt, fmt.Errorf("not a state file: %w", err)
	}
	switch {
	case d.Version > stateVersion:
		return nil, asideFutureVersion, fmt.Errorf("version %d is newer than this exporter's %d", d.Version, stateVersion)
	case d.Version < 1:
		return nil, asideCorrupt, errors.New("no version in it")
	case d.Target != target:
		return nil, asideOtherTarget, fmt.Errorf("it belongs to %q, not to %q", d.Target, target)
	}
	s = newState()
	if err := json.Unmarshal(d.State, s); err != nil {
		return nil, asideCorrupt, fmt.Errorf("not a state file: %w", err)
	}
	if err := s.resume(); err != nil {
		return nil, asideCorrupt, err
	}
	return s, "", nil
}

func encodeState(s *state, target string, now time.Time) ([]byte, error) {
	inner, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode the state: %w", err)
	}
	data, err := json.MarshalIndent(document{Version: stateVersion, Target: target, SavedAt: now.UTC(), State: inner}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the state: %w", err)
	}
	return append(data, '\n'), nil
}

const (
	// longest is more than anything can have lasted: a century, in seconds.
	longest = 100 * 365.25 * 24 * 60 * 60
	// most is more than anything can have happened: above it a float can't count any more.
	most = 1 << 53
)

// plausible refuses numbers that cannot have been counted: a page would show them as they are.
func (s *state) plausible() error {
	o := s.Outages
	seconds := map[string]float64{"stalled time": s.Stalled, "recovery time": o.Recovery.Sum, "longest outage": o.Longest}
	for reason, v := range o.Seconds {
		seconds["downtime "+strconv.Quote(string(reason))] = v
	}
	if o.Open != nil {
		seconds["outage in progress"] = o.Open.Seconds
	}
	for _, r := range o.Recent {
		if r.Seconds < 0 || r.Seconds > longest {
			seconds["outage of "+r.Start.Format(time.RFC3339)] = r.Seconds
		}
	}
	for what, v := range seconds {
		if v < 0 || v > longest {
			return fmt.Errorf("%s is impossible: %g s", what, v)
		}
	}
	counts := map[string]uint64{"recoveries": o.Recovery.Count}
	for reason, n := range o.Count {
		counts["outages "+strconv.Quote(string(reason))] = n
	}
	for kind, n := range s.Restarts {
		counts["restarts "+strconv.Quote(string(kind))] = n
	}
	for what, n := range counts {
		if n > most {
			return fmt.Errorf("the number of %s is impossible: %d", what, n)
		}
	}
	return nil
}

// resume makes a state that was read ready for use, and refuses one that makes no sense.
func (s *state) resume() error {
	if s.Restarts == nil || s.LastRestart == nil || s.Outages.Count == nil || s.Outages.Seconds == nil ||
		s.Outages.Recovery.Cumulative == nil {
		return errors.New("a part is missing")
	}
	if err := s.plausible(); err != nil {
		return err
	}
	// Earlier versions did not say so.
	s.Outages.Reached = s.Outages.Reached || s.Outages.total() > 0 || s.Identity != (identity{})
	if o := s.Outages.Open; o != nil {
		if o.Start.IsZero() || o.Accounted.IsZero() || o.Reason == "" || o.Seconds < 0 {
			return errors.New("the outage in progress is incomplete")
		}
		s.Outages.resumed = true
	}
	return nil
}
