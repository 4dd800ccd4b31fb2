package probe

import (
	"maps"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// o is a probe that began and ended at these seconds.
func o(kind Kind, started, ended int, reason postgres.Reason) Outcome {
	out := Outcome{Kind: kind, Started: at(started), Ended: at(ended), Reason: reason}
	if reason == postgres.OK && kind == Read {
		out.Server = primary1()
	}
	return out
}

type downtime = map[postgres.Reason]float64

func TestOutagesAsTheyAreTold(t *testing.T) {
	const (
		ok      = postgres.OK
		refused = postgres.Refused
		timeout = postgres.Timeout
		full    = postgres.TooManyConnections
		booting = postgres.StartingUp
	)
	for name, tc := range map[string]struct {
		probes   []Outcome
		count    map[postgres.Reason]uint64
		downtime downtime
		reason   postgres.Reason
		open     bool
		lengths  float64 // of outages that have ended
	}{
		"always up": {
			probes: []Outcome{o(Read, 0, 0, ok), o(Login, 0, 0, ok), o(Read, 1, 1, ok)},
			reason: ok,
		},
		"refused for 4 seconds": {
			probes: []Outcome{o(Read, 0, 0, ok), o(Login, 0, 0, ok), o(Read, 1, 1, refused), o(Login, 1, 1, refused),
				o(Read, 2, 2, refused), o(Read, 5, 5, ok), o(Login, 5, 5, ok)},
			count: map[postgres.Reason]uint64{refused: 1}, downtime: downtime{refused: 4}, reason: ok, lengths: 4,
		},
		"a hung outage begins when the probe was sent": {
			probes: []Outcome{o(Read, 0, 0, ok), o(Login, 0, 0, ok), o(Read, 1, 3, timeout), o(Read, 3, 4, timeout), o(Read, 8, 8, ok)},
			count:  map[postgres.Reason]uint64{timeout: 1}, downtime: downtime{timeout: 7}, reason: ok, lengths: 7,
		},
		"each moment belongs to the reason that held": {
			probes: []Outcome{o(Read, 0, 0, ok), o(Read, 1, 1, refused), o(Read, 4, 4, booting), o(Read, 6, 6, ok)},
			count:  map[postgres.Reason]uint64{refused: 1}, downtime: downtime{refused: 3, booting: 2}, reason: ok, lengths: 5,
		},
		"logins fail while reads go on": {
			probes: []Outcome{o(Read, 0, 0, ok), o(Login, 0, 0, ok), o(Login, 10, 10, full), o(Read, 11, 11, ok), o(Read, 12, 12, ok)},
			count:  map[postgres.Reason]uint64{full: 1}, downtime: downtime{full: 2}, reason: full, open: true,
		},
		"the read's reason wins": {
			probes: []Outcome{o(Read, 0, 0, ok), o(Login, 0, 0, ok), o(Login, 1, 1, full), o(Read, 2, 4, timeout), o(Read, 5, 5, ok),
				o(Login, 6, 6, ok)},
			count: map[postgres.Reason]uint64{full: 1}, downtime: downtime{full: 4, timeout: 1}, reason: ok, lengths: 5,
		},
		"writes that fail are no outage": {
			probes: []Outcome{o(Read, 0, 0, ok), o(Login, 0, 0, ok), o(Write, 1, 1, postgres.ReadOnly)},
			reason: ok,
		},
		"down from the start is no outage: it was never reached": {
			probes: []Outcome{o(Read, 0, 2, timeout), o(Login, 0, 2, timeout)},
			reason: timeout,
		},
		"down from the start, then up, then down": {
			probes: []Outcome{o(Read, 0, 2, timeout), o(Login, 0, 2, timeout), o(Read, 4, 4, ok), o(Login, 4, 4, ok), o(Read, 5, 5, refused),
				o(Read, 6, 6, ok)},
			count: map[postgres.Reason]uint64{refused: 1}, downtime: downtime{refused: 1}, reason: ok, lengths: 1,
		},
		"a login that began to hang in the outage before": {
			probes: []Outcome{o(Read, 0, 0, ok), o(Login, 0, 0, ok), o(Read, 1, 1, refused), o(Read, 3, 3, ok), o(Login, 2, 4, timeout),
				o(Login, 5, 5, ok)},
			count: map[postgres.Reason]uint64{refused: 1, timeout: 1}, downtime: downtime{refused: 2, timeout: 2}, reason: ok, lengths: 4,
		},
		"a clock that steps back": {
			probes: []Outcome{o(Read, 0, 0, ok), o(Read, 1, 1, refused), o(Read, -50, -50, refused), o(Read, -48, -48, ok)},
			count:  map[postgres.Reason]uint64{refused: 1}, downtime: downtime{refused: 2}, reason: ok, lengths: 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newState()
			for _, p := range tc.probes {
				s.observe(p)
			}
			if !maps.Equal(s.Outages.Count, orEmpty(tc.count)) {
				t.Errorf("outages = %v, want %v", s.Outages.Count, tc.count)
			}
			if got := nonzero(s.Outages.Seconds); !maps.Equal(got, orEmpty(tc.downtime)) {
				t.Errorf("downtime = %v, want %v", got, tc.downtime)
			}
			snap := s.snapshot()
			if snap.Reason != tc.reason || snap.OutageStart.IsZero() == tc.open {
				t.Errorf("reason %s, outage start %v; want reason %s, in progress %v", snap.Reason, snap.OutageStart, tc.reason, tc.open)
			}
			if s.Outages.Recovery.Sum != tc.lengths {
				t.Errorf("lengths of ended outages = %v, want %v", s.Outages.Recovery.Sum, tc.lengths)
			}
			if tc.lengths > 0 && snap.LastOutageEnd.Before(snap.LastOutageStart) {
				t.Errorf("outage from %v to %v", snap.LastOutageStart, snap.LastOutageEnd)
			}
		})
	}
}

func TestAnOutageOpenAtShutdown(t *testing.T) {
	before := newState()
	before.observe(o(Read, 0, 0, postgres.OK))
	before.observe(o(Read, 10, 10, postgres.Refused))
	before.observe(o(Read, 15, 15, postgres.Refused))
	restore := func(t *testing.T) *state {
		data, err := encodeState(before, "db:5432/x", at(15))
		if err != nil {
			t.Fatal(err)
		}
		s, why, err := decodeState(data, "db:5432/x")
		if why != "" {
			t.Fatal(why, err)
		}
		return s
	}
	t.Run("goes on when the first probe fails", func(t *testing.T) {
		s := restore(t)
		s.observe(o(Read, 60, 60, postgres.StartingUp))
		s.observe(o(Read, 61, 61, postgres.OK))
		if got := s.Outages; got.total() != 1 || got.Recovery.Sum != 51 || got.Seconds[postgres.Refused] != 50 ||
			got.Seconds[postgres.StartingUp] != 1 {
			t.Errorf("books = %+v, want one outage of 51 s: 50 refused, 1 starting up", got)
		}
	})
	t.Run("ended when last seen when the first probe succeeds", func(t *testing.T) {
		s := restore(t)
		s.observe(o(Read, 60, 60, postgres.OK))
		s.observe(o(Login, 60, 60, postgres.OK))
		if got := s.snapshot(); got.Outages != 1 || got.Downtime != 5*time.Second || !got.LastOutageEnd.Equal(at(15)) ||
			!got.OutageStart.IsZero() {
			t.Errorf("snapshot = %+v, want one outage of 5 s that ended at %v", got, at(15))
		}
	})
	t.Run("with a clock set back while nobody looked", func(t *testing.T) {
		s := restore(t)
		s.observe(o(Read, -90, -90, postgres.Refused))
		s.observe(o(Read, -88, -88, postgres.OK))
		if got := s.Outages.Seconds[postgres.Refused]; got != 7 {
			t.Errorf("downtime = %v s, want 5 seen before and 2 after", got)
		}
	})
}

func TestReasonsHoldSince(t *testing.T) {
	s := newState()
	if snap := s.snapshot(); snap.Known || snap.Answers() || snap.Reason != postgres.Other {
		t.Errorf("before the first probe: %+v", snap)
	}
	s.observe(o(Read, 0, 1, postgres.OK))
	if s.snapshot().Known {
		t.Error("known before the first login")
	}
	s.observe(o(Login, 0, 1, postgres.OK))
	s.observe(o(Read, 5, 7, postgres.Timeout))
	s.observe(o(Read, 7, 8, postgres.Timeout))
	snap := s.snapshot()
	if !snap.Known || !snap.Since.Equal(at(5)) || !snap.Probes[Read].Since.Equal(at(5)) || !snap.Probes[Read].At.Equal(at(8)) {
		t.Errorf("snapshot = %+v, want timeout since the first probe that failed was sent", snap)
	}
	s.observe(Outcome{Kind: Write, Skipped: true})
	if _, ok := s.snapshot().Probes[Write]; ok {
		t.Error("a skipped write has a result")
	}
}

func TestRestartsAreDatedByTheServer(t *testing.T) {
	s := newState()
	s.observe(o(Read, 0, 0, postgres.OK))
	again := o(Read, 9, 9, postgres.OK)
	again.Server.StartTime = at(7)
	s.observe(again)
	if s.Restarts[Restart] != 1 || !s.LastRestart[Restart].Equal(at(7)) {
		t.Errorf("restarts = %v at %v, want one at the start the server tells", s.Restarts, s.LastRestart)
	}
}

func TestRecoveryHistogram(t *testing.T) {
	h := newHistogram()
	for _, v := range []float64{0.5, 4, 29, 31, 9000} {
		h.observe(v)
	}
	b := h.buckets()
	if b[1] != 1 || b[5] != 2 || b[30] != 3 || b[45] != 4 || b[3600] != 4 || h.Count != 5 || h.Sum != 9064.5 {
		t.Errorf("histogram = %+v, %v", h, b)
	}
	delete(h.Cumulative, "45") // as kept by a version with other bounds
	if b := h.buckets(); b[45] != 3 || b[60] != 4 {
		t.Errorf("buckets = %v, want them never to decrease", b)
	}
}

func orEmpty[M ~map[K]V, K comparable, V any](m M) M {
	if m == nil {
		return M{}
	}
	return m
}

func nonzero(m map[postgres.Reason]float64) downtime {
	maps.DeleteFunc(m, func(_ postgres.Reason, v float64) bool { return v == 0 })
	return m
}
