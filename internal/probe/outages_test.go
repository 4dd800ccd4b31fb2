package probe

import (
	"slices"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

func TestAnOutageNamesTheRestartsInIt(t *testing.T) {
	back := func(s *state, second int, change func(*Server)) {
		up := o(Read, second, second, postgres.OK)
		up.Server = with(primary1(), change)
		s.observe(up)
	}
	same := func(*Server) {}
	restarted := func(s *Server) { s.StartTime, s.CheckpointerStart = at(11), at(12) }
	crashed := func(s *Server) { s.CheckpointerStart = at(12) }
	down := func(s *state) { s.observe(o(Read, 10, 10, postgres.Refused)) }
	for name, tc := range map[string]struct {
		story func(*state)
		want  []RestartKind
		last  time.Time // restart of the container
	}{
		"the network": {func(s *state) { down(s); back(s, 14, same) }, nil, time.Time{}},
		"a restart":   {func(s *state) { down(s); back(s, 14, restarted) }, []RestartKind{Restart}, time.Time{}},
		"a crash":     {func(s *state) { down(s); back(s, 14, crashed) }, []RestartKind{Crash}, time.Time{}},
		"a container's end": {func(s *state) {
			down(s)
			back(s, 14, restarted)
			s.observeContainer(container{"c", 1, at(10), false}, at(15))
		}, []RestartKind{Restart, Container}, at(10)},
		"the engine tells first": {func(s *state) {
			s.observeContainer(container{"c", 1, at(9), false}, at(9))
			down(s)
			back(s, 14, restarted)
		}, []RestartKind{Container, Restart}, at(9)},
		"counted before it was made": {func(s *state) {
			down(s)
			s.observeContainer(container{"c", 1, at(-500), true}, at(11))
			s.observeContainer(container{"c", 1, at(12), false}, at(13))
			back(s, 14, restarted)
		}, []RestartKind{Container, Restart}, at(12)},
		"a restart that nobody felt, later": {func(s *state) {
			down(s)
			back(s, 14, same)
			back(s, 60, restarted)
			s.observeContainer(container{"c", 1, at(58), false}, at(60))
		}, nil, at(58)},
	} {
		t.Run(name, func(t *testing.T) {
			s := newState()
			back(s, 0, same)
			s.observeContainer(container{"c", 0, at(-500), false}, at(1))
			tc.story(s)
			recent := s.Outages.recent(at(100))
			if len(recent) != 1 || !slices.Equal(recent[0].Restarts, tc.want) {
				t.Errorf("outages %+v, want one with %v", recent, tc.want)
			}
			if got := s.LastRestart[Container]; !got.Equal(tc.last) {
				t.Errorf("the container's last restart was %v, want %v", got, tc.last)
			}
		})
	}
}
