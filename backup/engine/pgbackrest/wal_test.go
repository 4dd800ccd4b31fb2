package pgbackrest

import (
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
)

const mb16 = 16 << 20

func TestContiguous(t *testing.T) {
	const d = "00000000000000" // between a timeline's last digits and a segment's
	name := func(short string) string { return "0000000" + short[:1] + d + short[1:] }
	for story, tc := range map[string]struct{ from, names, want string }{
		"nothing after":                    {"101", "101", "101"},
		"to the end":                       {"101", "101 102 103", "103"},
		"a gap":                            {"101", "101 102 104 105", "102"},
		"the start itself is missing":      {"101", "102", "102"},
		"a new timeline, same segment":     {"101", "101 102 202 203", "203"},
		"a new timeline at a segment end":  {"101", "101 102 203", "203"},
		"the old timeline goes no further": {"101", "101 202 103", "202"},
	} {
		names := map[string]bool{}
		for _, n := range strings.Fields(tc.names) {
			names[name(n)] = true
		}
		if got := contiguous(name(tc.from), names); got != name(tc.want) {
			t.Errorf("%s: %s, want %s", story, got, name(tc.want))
		}
	}
	over := map[string]bool{"0000000100000000000000FF": true, "000000010000000100000000": true, "000000010000000100000001": true}
	if got := contiguous("0000000100000000000000FF", over); got != "000000010000000100000001" {
		t.Errorf("over the end of 4 GB: %s", got)
	}
	odd := map[string]bool{"0000000100000000000000FD": true, "000000010000000100000000": true}
	if got := contiguous("0000000100000000000000FD", odd); got != "0000000100000000000000FD" {
		t.Errorf("a gap before the end of 4 GB: %s", got)
	}
}

func TestSegmentNumbers(t *testing.T) {
	for lsn, want := range map[string]uint64{"0/15000028": 0x14, "0/15000000": 0x14, "0/15000029": 0x15, "1/0": 0xFF, "1/100": 0x100,
		"0/0": 0} {
		if got, ok := segmentOf(lsn, mb16); !ok || got != want {
			t.Errorf("segmentOf(%s) = %x, want %x", lsn, got, want)
		}
	}
	if got, ok := segmentNumber("000000030000000100000002", mb16); !ok || got != 0x102 {
		t.Errorf("segmentNumber = %x", got)
	}
	for _, bad := range []string{"", "0/", "x/1", "00000001000000000000001"} {
		if _, ok := segmentOf(bad, mb16); ok {
			t.Errorf("segmentOf(%q) is a number", bad)
		}
		if _, ok := segmentNumber(bad, mb16); ok {
			t.Errorf("segmentNumber(%q) is a number", bad)
		}
	}
}

// Each step is one observation: the last archived segment, the position, the snapshot.
func TestAdvance(t *testing.T) {
	start := time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC)
	type step struct {
		reached, lsn, snapshot string
		want                   int // minutes since start that can be recovered; -1: unknown
	}
	seg := func(n string) string { return "0000000100000000000000" + n }
	for story, steps := range map[string][]step{
		"no backup yet": {{"", "0/1000100", "9:9:", -1}},
		"busy, archived each time": {{seg("01"), "0/2000100", "9:9:", -1}, {seg("02"), "0/3000100", "10:10:", 0},
			{seg("03"), "0/4000100", "11:11:", 1}},
		"idle": {{seg("01"), "0/2000028", "9:9:", 0}, {seg("01"), "0/2000060", "9:9:", 1},
			{seg("01"), "0/20000D8", "9:9:", 2}},
		"idle, then one commit": {{seg("01"), "0/2000028", "9:9:", 0}, {seg("01"), "0/2000200", "9:10:", 0},
			{seg("01"), "0/2000200", "9:10:", 0}, {seg("02"), "0/3000028", "9:10:", 3}},
		"archive stuck, then heals": {{seg("01"), "0/2000028", "9:9:", 0}, {seg("01"), "0/3000100", "10:10:", 0},
			{seg("01"), "0/4000100", "11:11:", 0}, {seg("03"), "0/5000100", "12:12:", 1}, {seg("04"), "0/5000100", "12:12:", 2},
			{seg("05"), "0/6000100", "13:13:", 4}},
		"snapshot unknown": {{seg("01"), "0/2000028", "", 0}, {seg("01"), "0/2000060", "", 0}, {seg("02"), "0/3000028", "", 2}},
	} {
		var w catalog.WAL
		for i, s := range steps {
			w = Advance(w, s.reached, catalog.WALMark{At: start.Add(time.Duration(i) * time.Minute), LSN: s.lsn, Snapshot: s.snapshot}, mb16)
			want := time.Time{}
			if s.want >= 0 {
				want = start.Add(time.Duration(s.want) * time.Minute)
			}
			if !w.ArchivedTo.Equal(want) {
				t.Errorf("%s, step %d: archived to %s, want %s (marks %+v)", story, i, w.ArchivedTo, want, w.Marks)
			}
		}
	}
}

func TestAdvanceForgetsNothingItNeeds(t *testing.T) {
	start := time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC)
	var w catalog.WAL
	for i := range 10_000 { // a week without an archive
		w = Advance(w, "000000010000000000000001", catalog.WALMark{At: start.Add(time.Duration(i) * time.Minute), LSN: "0/5000100"}, mb16)
	}
	if len(w.Marks) > maxMarks || !w.Marks[0].At.Equal(start) {
		t.Errorf("%d marks from %s, want at most %d from %s", len(w.Marks), w.Marks[0].At, maxMarks, start)
	}
	w = Advance(w, "000000010000000000000009", catalog.WALMark{}, mb16)
	if got := start.Add(9999 * time.Minute); !w.ArchivedTo.Equal(got) {
		t.Errorf("archived to %s, want %s", w.ArchivedTo, got)
	}
	back := Advance(w, "000000010000000000000001", catalog.WALMark{At: start, LSN: "0/1000100"}, mb16) // the clock was set back
	if !back.ArchivedTo.Equal(w.ArchivedTo) {
		t.Errorf("archived to %s after a look at an older state, want %s still", back.ArchivedTo, w.ArchivedTo)
	}
}

// A server that was restored to a moment, and goes on, archives on a timeline of its own, which the next restore would follow.
func TestANewerTimelineIsSaid(t *testing.T) {
	segment := func(timeline string) string { return timeline + "0000000000000017" }
	for _, test := range []struct{ own, newest, want string }{
		{"00000001", "00000001", ""}, {"00000001", "00000002", "00000002"}, {"00000002", "00000002", ""}, {"00000009", "0000000A", "0000000A"},
		{"", "00000002", ""},
	} {
		s := Set{DB: Ref{ID: 2}}
		s.Archive.Stop = segment(test.own)
		i := Info{Archive: []Archive{{DB: Ref{ID: 1}, Max: segment("0000000F")}, {DB: Ref{ID: 2}, Max: segment(test.newest)}}}
		if got := newerTimeline(i, s); got != test.want {
			t.Errorf("%s in an archive to %s: %q, want %q", test.own, test.newest, got, test.want)
		}
	}
}
