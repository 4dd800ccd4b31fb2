package monitor

import (
	"testing"
	"time"
)

func TestUnitsAreReadInSystemdsWords(t *testing.T) {
	got := parseUnit("Result=success\nNRestarts=2\nLoadState=loaded\nActiveState=active\nSubState=running\nActiveEnterTimestamp=Mon 2026-11-23 07:53:08 UTC\n")
	if got.Load != "loaded" || got.Active != "active" || got.Sub != "running" || got.Result != "success" || got.Restarts == nil || *got.Restarts != 2 ||
		!got.Since.Equal(time.Date(2026, 11, 23, 7, 53, 8, 0, time.UTC)) {
		t.Errorf("%+v", got)
	}
	// A unit that is stopped keeps the time at which it was active, and old versions of systemd count nothing.
	got = parseUnit("LoadState=loaded\nActiveState=inactive\nSubState=dead\nActiveEnterTimestamp=Mon 2026-11-23 07:53:08 UTC\n")
	if got.Restarts != nil || !got.Since.IsZero() {
		t.Errorf("%+v", got)
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
