package incident

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
)

// probed adds results of the read probe; each is the seconds after noon, and the reason.
func probed(w *Window, results ...any) *Window {
	for i := 0; i < len(results); i += 2 {
		w.Probes = append(w.Probes, Probe{At: noon.Add(time.Duration(results[i].(float64) * float64(time.Second))), Probe: string(probe.Read),
			Reason: string(results[i+1].(postgres.Reason))})
	}
	slices.SortStableFunc(w.Probes, func(a, b Probe) int { return a.At.Compare(b.At) })
	return w
}

// crashLines are those of a backend that is killed, and of the recovery.
func crashLines(at time.Duration, pid string) []string {
	s := func(d time.Duration) string { return (at + d).String() + " " }
	return []string{
		s(0) + "[1] LOG:  server process (PID " + pid + ") was terminated by signal 9: Killed",
		s(0) + "[1] LOG:  terminating any other active server processes",
		s(60*time.Millisecond) + "[1] LOG:  all server processes terminated; reinitializing",
		s(100*time.Millisecond) + "[2] LOG:  database system was interrupted; last known up at 2026-11-28 11:59:00 UTC",
		s(400*time.Millisecond) + "[1] LOG:  database system is ready to accept connections",
	}
}

// TestEachIncidentOfAMinuteTellsItsOwn has two behind each other. A story that names the other's process is worse than none.
func TestEachIncidentOfAMinuteTellsItsOwn(t *testing.T) {
	two := append(crashLines(-8*time.Second, "4711"), crashLines(-20*time.Millisecond, "4712")...)
	ahead := append(crashLines(-20*time.Millisecond, "4711"), crashLines(4*time.Second, "4712")...)
	late := append(crashLines(-10*time.Second, "4711"), crashLines(-2*time.Second, "4712")...)
	restart := []string{"3.5s [1] LOG:  received fast shutdown request", "3.6s [1] LOG:  database system is shut down",
		"4.5s [1] LOG:  database system is ready to accept connections"}
	for _, tc := range []struct {
		name     string
		w        *Window
		want     Cause
		says     string
		also     string
		evidence int
	}{
		{"the second crash, which probes met, as they met the first", probed(outage(postgres.StartingUp, 0.5, two...),
			-7.9, postgres.StartingUp, -7.5, postgres.OK, -1.0, postgres.OK, 0.5, postgres.OK),
			KilledBySignal, "Process 4712 ", "crash recovery took 300 ms of the 500 ms", 3},
		{"the second crash, and no probe met the first", probed(outage(postgres.StartingUp, 0.5, two...), -1.0, postgres.OK),
			KilledBySignal, "Process 4712 ", "crash recovery took 300 ms of the 500 ms", 3},
		{"the second crash, by a clock that is two seconds behind", probed(outage(postgres.StartingUp, 0.5, late...), -1.0, postgres.OK),
			KilledBySignal, "Process 4712 ", "crash recovery took 300 ms of the 500 ms", 3},
		{"the first crash, with the second one behind it", probed(outage(postgres.StartingUp, 0.5, ahead...),
			-1.0, postgres.OK, 0.5, postgres.OK, 3.5, postgres.OK, 4.1, postgres.StartingUp),
			KilledBySignal, "Process 4711 ", "crash recovery took 300 ms of the 500 ms", 3},
		{"the network, some seconds behind a crash that no probe met", probed(outage(postgres.Timeout, 9,
			crashLines(-8*time.Second, "4711")...), -4.0, postgres.OK, -1.0, postgres.OK),
			Unknown, "", "", 0},
		{"the network, and a restart behind it", probed(outage(postgres.Timeout, 0.5, restart...),
			0.5, postgres.OK, 3.0, postgres.OK, 3.55, postgres.ShuttingDown), Unknown, "", "", 0},
	} {
		s := Explain(tc.w)
		if s.Cause != tc.want || !strings.Contains(s.Sentence, tc.says) || tc.also != "" && !slices.Contains(s.Also, tc.also) {
			t.Errorf("%s: %s: %s %q", tc.name, s.Cause, s.Sentence, s.Also)
		}
		if tc.evidence > 0 && len(s.Evidence) != tc.evidence {
			t.Errorf("%s: it rests on %+v", tc.name, s.Evidence)
		}
	}
}
