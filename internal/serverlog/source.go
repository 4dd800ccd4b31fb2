package serverlog

import (
	"sync"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
)

// sourceState is whether a source can be read. A change is one line in our log.
type sourceState struct {
	name string
	mu   sync.Mutex
	is   state
}

type state uint8

const (
	sourceUnknown state = iota
	sourceUp
	sourceDown
)

func (s *sourceState) get() state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.is
}

// set takes the newest attempt's error; nil is a success.
func (s *sourceState) set(logger log.Logger, err error) {
	is := sourceUp
	if err != nil {
		is = sourceDown
	}
	s.mu.Lock()
	was := s.is
	s.is = is
	s.mu.Unlock()
	switch {
	case is == was:
	case err != nil:
		level.Error(logger).Log("msg", "the server's log can't be read: incidents lack what it says", "source", s.name, "err", err)
	default:
		level.Info(logger).Log("msg", "the server's log is followed", "source", s.name)
	}
}
