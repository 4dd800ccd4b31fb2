package monitor

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

func TestUnitsAreReadInSystemdsWords(t *testing.T) {
	got := parseUnit("Result=success\nNRestarts=2\nLoadState=loaded\nActiveState=active\nSubState=running\nActiveEnterTimestamp=Mon " +
		"2026-11-23 07:53:08 UTC\n")
	if got.Load != "loaded" || got.Active != "active" || got.Sub != "running" || got.Result != "success" || got.Restarts == nil ||
		*got.Restarts != 2 ||
		!got.Since.Equal(time.Date(2026, 11, 23, 7, 53, 8, 0, time.UTC)) {
		t.Errorf("%+v", got)
	}
	// A unit that is stopped keeps the time at which it was active, and old versions of systemd count nothing.
	got = parseUnit("LoadState=loaded\nActiveState=inactive\nSubState=dead\nActiveEnterTimestamp=Mon 2026-11-23 07:53:08 UTC\n")
	if got.Restarts != nil || !got.Since.IsZero() || got.NeverRan {
		t.Errorf("%+v", got)
	}
	// Debian's template postgresql@.service makes a unit of any name, with a typing error, too.
	got = parseUnit("LoadState=loaded\nActiveState=inactive\nSubState=dead\nActiveEnterTimestamp=\nInactiveEnterTimestamp=\n")
	if !got.NeverRan {
		t.Errorf("%+v", got)
	}
	s := New(t.Context(), Options{Sources: Sources{Unit: &Unit{"postgresql@15-mian"}}})
	s.width = 200
	s.unitAnswered(unitMsg{state: got})
	if text := strings.Join(s.unitLines(), "\n"); !strings.Contains(text, "never ran") ||
		!strings.Contains(text, "HINT: systemctl list-units") {
		t.Errorf("%s", text)
	}
	// Whoever reads the exit code alone learns it, too.
	s.status = &status.Status{State: status.State{Status: status.Up}}
	for _, tc := range []struct {
		unit unitMsg
		want int
	}{
		{unitMsg{state: got}, ExitUnknown}, {unitMsg{state: UnitState{Load: "not-found"}}, ExitUnknown},
		{unitMsg{err: errors.New("no bus")}, ExitUnknown}, {unitMsg{state: UnitState{Load: "loaded", Active: "active"}}, ExitUp},
	} {
		if s.unitAnswered(tc.unit); s.exit() != tc.want {
			t.Errorf("%+v: exit code %d, want %d", tc.unit, s.exit(), tc.want)
		}
	}
}

func TestDebiansUnitsNameTheirLog(t *testing.T) {
	for unit, want := range map[string]string{
		"postgresql@15-main": "15 main", "postgresql@9.6-a-b.service": "9.6 a-b", "postgresql": "", "postgresql-15": "", "postgresql@x": "",
	} {
		got := ""
		if m := debianUnit.FindStringSubmatch(unit); m != nil {
			got = m[1] + " " + m[2]
		}
		if got != want {
			t.Errorf("%s: %q, want %q", unit, got, want)
		}
	}
}

// Whatever is to be said about the log and the unit, the screen has as many lines as the terminal.
func TestLongErrorsFitIntoSmallTerminals(t *testing.T) {
	long := errors.New(strings.Repeat("systemctl: exit status 1: System has not been booted. ", 10))
	exporter, err := NewExporterClient(HTTPOptions{URL: "http://localhost:1"})
	if err != nil {
		t.Fatal(err)
	}
	s := New(t.Context(), Options{Sources: Sources{Unit: &Unit{"x"}, Log: journal{&Unit{"x"}}, Status: exporter}})
	s.unitAnswered(unitMsg{err: long})
	s.log.add([]string{"one line", "another line"})
	s.log.ended(long)
	s.asksRestart = true
	s.sources.Server = Command(long.Error())
	for s.height = 1; s.height < 30; s.height++ {
		for _, v := range []view{overview, logs} {
			s.view = v
			if got := strings.Count(s.draw(), "\n") + 1; got != s.height && s.height >= minHeight {
				t.Errorf("%d lines on %d", got, s.height)
			}
		}
	}
}
