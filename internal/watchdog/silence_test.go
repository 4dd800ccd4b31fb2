package watchdog

import (
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/incident"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
	"github.com/pg-reliability/pg_reliability_exporter/internal/serverlog"
)

// TestWhichSilencesAreActedOn tells stories of 60 seconds of servers that were well before: of all that can make one silent, a hang alone.
func TestWhichSilencesAreActedOn(t *testing.T) {
	start := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	type second = func(s *silence, n int, at time.Time)
	probes := func(read, login postgres.Reason) second {
		return func(s *silence, n int, at time.Time) {
			s.probed(probe.Outcome{Kind: probe.Read, Started: at, Ended: at, Reason: read})
			if n%5 == 4 {
				s.probed(probe.Outcome{Kind: probe.Login, Started: at, Ended: at, Reason: login})
			}
		}
	}
	knocks := func(told postgres.Knock) second {
		return func(s *silence, n int, _ time.Time) {
			if n%10 == 1 && !s.since.IsZero() {
				s.knocked(told)
			}
		}
	}
	logs := func(when int, kind serverlog.Kind) second {
		return func(s *silence, n int, at time.Time) {
			if n == when {
				s.logged(serverlog.Event{At: at, Kind: kind})
			}
		}
	}
	facts := func(kind incident.FactKind, value float64) second {
		return func(s *silence, n int, at time.Time) {
			if n%10 == 0 {
				s.took(incident.Fact{At: at, Kind: kind, Name: "data", Value: value})
			}
		}
	}
	first := func(took time.Duration) second {
		return func(s *silence, n int, at time.Time) {
			if n == 0 {
				s.probed(probe.Outcome{Kind: probe.Read, Started: at.Add(-took), Ended: at, Reason: postgres.Timeout})
			}
		}
	}
	hangs, takes := probes(postgres.Timeout, postgres.Timeout), knocks(postgres.Silent)
	from := func(n int, then second) second {
		return func(s *silence, i int, at time.Time) {
			if i >= n {
				then(s, i, at)
			}
		}
	}
	for _, tc := range []struct {
		name  string
		story []second
		// at is the second in which it is acted; 0 is never. why has the words of why not.
		at  int
		why string
	}{
		{"it hangs", []second{hangs, takes}, 30, ""},
		{"it hangs, and its queue is full in the end", []second{hangs, takes, from(15, knocks(postgres.Unreachable))}, 30, ""},
		{"it hangs, and writes hang, too", []second{hangs, takes, func(s *silence, _ int, at time.Time) {
			s.probed(probe.Outcome{Kind: probe.Write, Ended: at, Reason: postgres.Timeout})
		}}, 30, ""},
		{"it hangs after an answer that was late", []second{hangs, takes, func(s *silence, n int, at time.Time) {
			if n == 20 {
				s.knocked(postgres.Answered)
			}
		}}, 51, ""},
		{"it hangs since before the first timeout", []second{first(2 * time.Second), hangs, takes}, 28, ""},
		{"it hangs, and this process slept before it noticed", []second{first(time.Minute), hangs, takes}, 30, ""},
		{"its machine is busy, too", []second{hangs, takes, facts(incident.CPUPressure, 1), facts(incident.IOPressure, 0.7)}, 30, ""},
		{"it is ready again, and hangs", []second{logs(0, serverlog.FastShutdown), logs(1, serverlog.Ready), from(2, hangs), takes}, 32, ""},

		{"it is well", []second{probes(postgres.OK, postgres.OK), takes}, 0, ""},
		{"it is slow: the smallest question is answered, late", []second{hangs, from(15, knocks(postgres.Answered))}, 0, ""},
		{"its logins alone are silent", []second{probes(postgres.OK, postgres.Timeout), takes}, 0, ""},
		{"its reads alone are silent", []second{probes(postgres.Timeout, postgres.OK), takes}, 0, ""},
		{"the network is cut", []second{hangs, knocks(postgres.Unreachable)}, 0, "network"},
		{"it refuses", []second{probes(postgres.Refused, postgres.Refused), takes}, 0, ""},
		{"it starts up", []second{probes(postgres.StartingUp, postgres.StartingUp), takes}, 0, ""},
		{"it started up, and is silent now", []second{func(s *silence, n int, at time.Time) {
			if n == 0 {
				s.probed(probe.Outcome{Kind: probe.Read, Ended: at, Reason: postgres.StartingUp})
			}
		}, from(1, hangs), takes}, 0, "starting up"},
		{"it shuts down, says its log", []second{logs(0, serverlog.SmartShutdown), hangs, takes}, 0, "shutting down"},
		{"it recovers, says its log", []second{logs(10, serverlog.RedoStarts), hangs, takes}, 0, "recovering"},
		{"its disk is full", []second{facts(incident.VolumeFull, 1), hangs, takes}, 0, "full"},
		{"its disk fails",
			[]second{logs(10, serverlog.IOError), logs(30, serverlog.IOError), logs(50, serverlog.IOError), hangs, takes}, 0, "fails"},
		{"its disk is read-only", []second{facts(incident.VolumeReadOnly, 0), hangs, takes}, 0, "read-only"},
		{"it waits for a disk", []second{facts(incident.ProcessWaits, 0), hangs, takes}, 0, "waits for a disk"},
		{"its disk is at its limit", []second{facts(incident.IOPressure, 0.95), hangs, takes}, 0, "too slow"},
		{"its machine has no memory", []second{facts(incident.MemoryPressure, 0.95), hangs, takes}, 0, "memory"},
		{"pg_hba.conf locks us out", []second{probes(postgres.PgHBA, postgres.PgHBA), takes}, 0, ""},
		{"our password is wrong", []second{probes(postgres.Auth, postgres.Auth), takes}, 0, ""},
		{"it is full of sessions", []second{probes(postgres.TooManyConnections, postgres.TooManyConnections), takes}, 0, ""},
		{"its name is unknown", []second{probes(postgres.DNS, postgres.DNS), takes}, 0, ""},
		{"our probes are locked out", []second{probes(postgres.LockTimeout, postgres.OK), takes}, 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := &silence{}
			for _, kind := range []probe.Kind{probe.Read, probe.Login} {
				s.probed(probe.Outcome{Kind: kind, Ended: start.Add(-time.Second), Reason: postgres.OK})
			}
			at, why := 0, ""
			for n := range 61 {
				now := start.Add(time.Duration(n) * time.Second)
				for _, happens := range tc.story {
					happens(s, n, now)
				}
				switch v, because := s.judge(now, 30*time.Second); v {
				case act:
					if at != 0 {
						t.Fatalf("acted on again after %d s", n)
					}
					at = n
					s.acted()
				case withhold:
					why = because
				}
			}
			if at != tc.at || !strings.Contains(why, tc.why) || (why == "") != (tc.why == "") {
				t.Errorf("acted on after %d s (%q), want %d s (%q)", at, why, tc.at, tc.why)
			}
		})
	}
	never := &silence{}
	for n := range 100 {
		hangs(never, n, start.Add(time.Duration(n)*time.Second))
		never.knocked(postgres.Silent)
		if v, _ := never.judge(start.Add(time.Duration(n)*time.Second), 30*time.Second); v != none {
			t.Fatal("a server that has never answered is given attention")
		}
	}
}
