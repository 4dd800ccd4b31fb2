package probe

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// noon is the start of a bucket of every width.
var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// watch feeds a probe every second, as the prober does; down says when it fails.
func watch(h *history, from, to time.Time, down func(time.Time) bool) {
	var outage time.Time
	for at := from; !at.After(to); at = at.Add(time.Second) {
		o := Outcome{Kind: Read, Started: at.Add(-2 * time.Millisecond), Ended: at, Reason: postgres.OK}
		before := outage
		if down(at) {
			if o.Reason = postgres.Refused; outage.IsZero() {
				outage = o.Started
			}
		} else {
			outage = time.Time{}
		}
		h.record(o, before, outage)
	}
}

func never(time.Time) bool { return false }

func between(from, to time.Time) func(time.Time) bool {
	return func(at time.Time) bool { return !at.Before(from) && at.Before(to) }
}

// windows are the totals at a moment.
func windows(h *history, now time.Time) (hour, day, month HistoryBucket) {
	return (&Prober{history: h}).HistoryTotals(now)
}

func expect(t *testing.T, what string, got HistoryBucket, up, down, unknown time.Duration) {
	t.Helper()
	near := func(a, b time.Duration) bool { return (a - b).Abs() <= 10*time.Millisecond }
	if !near(got.Up, up) || !near(got.Down, down) || !near(got.Unknown, unknown) {
		t.Errorf("%s: up %s, down %s, unknown %s; want %s, %s, %s", what, got.Up, got.Down, got.Unknown, up, down, unknown)
	}
}

func TestHistoryCountsEverySecondOnce(t *testing.T) {
	h := newHistory(10 * time.Second)
	end := noon.Add(30*time.Minute + 20*time.Second)
	watch(h, noon, end, between(noon.Add(10*time.Minute+30*time.Second), noon.Add(11*time.Minute+15*time.Second)))
	hour, day, month := windows(h, end)
	const passed = 30*time.Minute + 20*time.Second
	expect(t, "hour", hour, passed-45*time.Second, 45*time.Second, 59*time.Minute+20*time.Second-passed)
	expect(t, "day", day, passed-45*time.Second, 45*time.Second, 24*time.Hour-15*time.Minute+20*time.Second-30*time.Minute+
		30*time.Minute-passed)
	expect(t, "30 days", month, passed-45*time.Second, 45*time.Second, 30*24*time.Hour-6*time.Hour)

	var minutes []HistoryBucket
	for _, b := range (&Prober{history: h}).History(end).Hour {
		if b.Down > 0 {
			minutes = append(minutes, b)
		}
	}
	if len(minutes) != 2 || !minutes[0].Start.Equal(noon.Add(10*time.Minute)) {
		t.Fatalf("buckets with downtime: %+v, want those of 12:10 and 12:11", minutes)
	}
	expect(t, "12:10", minutes[0], 30*time.Second, 30*time.Second, 0)
	expect(t, "12:11", minutes[1], 45*time.Second, 15*time.Second, 0)
}

func TestHistoryForgetsWhatIsTooOld(t *testing.T) {
	h := newHistory(10 * time.Second)
	watch(h, noon, noon.Add(2*time.Hour), between(noon, noon.Add(time.Minute)))
	hour, day, _ := windows(h, noon.Add(2*time.Hour))
	if hour.Down != 0 || day.Down == 0 {
		t.Errorf("down in the hour: %s, in the day: %s; want none and some", hour.Down, day.Down)
	}
	_, day, month := windows(h, noon.Add(30*time.Hour))
	if day.Up+day.Down != 0 || month.Down == 0 {
		t.Errorf("28 h later the day has %+v, want nothing; 30 days %+v, want the outage", day, month)
	}
	if _, _, month = windows(h, noon.Add(31*24*time.Hour)); month.Up+month.Down != 0 {
		t.Errorf("a month later: %+v, want nothing", month)
	}
}

func TestTimeNobodyObservedIsUnknown(t *testing.T) {
	h := newHistory(10 * time.Second)
	watch(h, noon, noon.Add(10*time.Minute), never)
	watch(h, noon.Add(20*time.Minute), noon.Add(30*time.Minute), never) // stopped for 10 minutes in between
	hour, _, _ := windows(h, noon.Add(30*time.Minute))
	expect(t, "hour", hour, 20*time.Minute, 0, 39*time.Minute)
}

func TestAnOutageThatBeganWithALoginIsNotCountedAsUp(t *testing.T) {
	h := newHistory(10 * time.Second)
	watch(h, noon, noon.Add(30*time.Second), never)
	// A login that was sent 2 s ago has timed out; reads went on succeeding meanwhile.
	h.record(Outcome{Kind: Login, Started: noon.Add(28 * time.Second), Ended: noon.Add(30 * time.Second), Reason: postgres.Timeout},
		time.Time{}, noon.Add(28*time.Second))
	hour, _, _ := windows(h, noon.Add(30*time.Second))
	expect(t, "hour", hour, 28*time.Second, 2*time.Second, 59*time.Minute)
}

func TestAClockThatIsSetBackLosesNoBooks(t *testing.T) {
	h := newHistory(10 * time.Second)
	watch(h, noon, noon.Add(40*time.Minute), never)
	watch(h, noon.Add(20*time.Minute), noon.Add(30*time.Minute), between(noon.Add(25*time.Minute), noon.Add(26*time.Minute)))
	hour, day, month := windows(h, noon.Add(30*time.Minute))
	for name, w := range map[string]HistoryBucket{"hour": hour, "day": day, "30 days": month} {
		if w.Up+w.Down > 30*time.Minute || w.Up < 20*time.Minute {
			t.Errorf("%s after the clock was set back: %+v", name, w)
		}
	}
	if hour.Down < 59*time.Second {
		t.Errorf("the hour has %s of downtime, want the minute that was seen after the clock was set back", hour.Down)
	}
	for _, b := range (&Prober{history: h}).History(noon.Add(30 * time.Minute)).Hour {
		if b.Up+b.Down+b.Unknown > time.Minute {
			t.Errorf("%s is longer than a minute: %+v", b.Start, b)
		}
	}
	// A clock far ahead for a moment costs what it overwrote, not the rest.
	watch(h, noon.Add(400*24*time.Hour), noon.Add(400*24*time.Hour+time.Second), never)
	watch(h, noon.Add(31*time.Minute), noon.Add(32*time.Minute), never)
	if hour, _, _ = windows(h, noon.Add(32*time.Minute)); hour.Up < 25*time.Minute {
		t.Errorf("hour after a clock that was ahead for a second: %+v", hour)
	}
}

func TestQuantilesAreNear(t *testing.T) {
	h := newHistory(10 * time.Second)
	random := rand.New(rand.NewPCG(1, 2))
	var all []time.Duration
	for range 5000 {
		latency := time.Duration(float64(time.Millisecond) * math.Exp(random.NormFloat64()))
		all = append(all, latency)
		h.answered(noon, latency)
	}
	slices.Sort(all)
	hour, _, _ := windows(h, noon)
	near := func(name string, got, want time.Duration) {
		if ratio := float64(got) / float64(want); ratio < 0.85 || ratio > 1.15 {
			t.Errorf("%s = %s, want about %s", name, got, want)
		}
	}
	near("p50", hour.P50, all[2500])
	near("p95", hour.P95, all[4750])
	if hour.Max != all[4999].Truncate(time.Microsecond) || hour.Probes != 5000 {
		t.Errorf("max = %s of %d, want %s of 5000", hour.Max, hour.Probes, all[4999])
	}

	one := newHistory(time.Second)
	one.answered(noon, 20*time.Second)
	if hour, _, _ = windows(one, noon); hour.P50 > 20*time.Second || hour.P95 > hour.Max {
		t.Errorf("of a single answer after 20 s: %+v", hour)
	}
}

// openedStore reads into a history, as of a moment.
func openedStore(dir string, h *history, now time.Time) *store {
	st := newStore(dir, target, log.NewNopLogger())
	st.open(h, now)
	go st.write()
	return st
}

func TestTheHistoryOutlivesTheExporter(t *testing.T) {
	dir := t.TempDir()
	h := newHistory(10 * time.Second)
	st := openedStore(dir, h, noon)
	watch(h, noon, noon.Add(10*time.Minute), between(noon.Add(time.Minute), noon.Add(2*time.Minute)))
	st.saveHistory(h)
	st.stop(true, 5*time.Second)

	again := newHistory(10 * time.Second)
	st = openedStore(dir, again, noon.Add(10*time.Minute))
	defer st.stop(true, 5*time.Second)
	p, q := &Prober{history: h}, &Prober{history: again}
	now := noon.Add(10 * time.Minute)
	if got, want := q.History(now), p.History(now); !slices.Equal(got.Hour, want.Hour) || !slices.Equal(got.Day, want.Day) ||
		!slices.Equal(got.Month, want.Month) {
		t.Error("what is read back is not what was saved")
	}
	watch(again, noon.Add(11*time.Minute), noon.Add(12*time.Minute), never)
	hour, _, _ := windows(again, noon.Add(12*time.Minute))
	expect(t, "hour", hour, 10*time.Minute, time.Minute, 48*time.Minute)
}

// An exporter whose clock was ahead, and that was stopped before it was set right, leaves a history of days that come again:
// an outage in them would find no room.
func TestAHistoryFromAFastClockIsForgotten(t *testing.T) {
	dir := t.TempDir()
	ahead := newHistory(10 * time.Second)
	watch(ahead, noon.Add(48*time.Hour), noon.Add(49*time.Hour), never)
	if err := os.WriteFile(filepath.Join(dir, historyFile), ahead.encode(target), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHistory(10 * time.Second)
	st := openedStore(dir, h, noon)
	defer st.stop(true, time.Second)
	from, to := noon.Add(48*time.Hour), noon.Add(49*time.Hour)
	watch(h, from, to, between(from.Add(time.Minute), to))
	hour, _, _ := windows(h, to)
	expect(t, "the hour that came again", hour, 0, 59*time.Minute, 0)
}

func TestTheHistoryIsSmallAndBounded(t *testing.T) {
	h := newHistory(time.Hour)
	for _, r := range h.rings {
		for i := range r.buckets {
			b := bucket{start: math.MaxUint32, up: math.MaxUint32, down: math.MaxUint32, max: math.MaxUint32}
			for j := range b.bins {
				b.bins[j] = math.MaxUint32
			}
			r.buckets[i] = b
		}
	}
	if n := len(h.encode(target)); n > 45<<10 {
		t.Errorf("the file takes %d bytes, want at most 45 KB whatever happens", n)
	}
}

func TestAHistoryThatCantBeUsedIsSetAside(t *testing.T) {
	h := newHistory(10 * time.Second)
	watch(h, noon, noon.Add(time.Minute), never)
	good := string(h.encode(target))
	flipped := []byte(good)
	flipped[len(flipped)/2] ^= 1
	for name, tc := range map[string]struct {
		content string
		why     setAside
		log     string
	}{
		"empty":             {"", asideCorrupt, "not a history file"},
		"JSON":              {`{"version": 1}`, asideCorrupt, "not a history file"},
		"cut":               {good[:len(good)-7], asideCorrupt, "checksum"},
		"mark alone":        {historyMark, asideCorrupt, "checksum"},
		"a flipped bit":     {string(flipped), asideCorrupt, "checksum"},
		"of the future":     {strings.Replace(good, historyMark+"\x01", historyMark+"\x02", 1), asideFutureVersion, "newer than"},
		"of another server": {string(h.encode("db2:5432/shop")), asideOtherTarget, "belongs to"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, historyFile), []byte(tc.content), 0o600); err != nil {
				t.Fatal(err)
			}
			st, _, out := keep(t, dir, target)
			defer st.stop(true, time.Second)
			if stats := st.read(); stats.aside[tc.why] != 1 || stats.persistence != persistenceOK {
				t.Errorf("store = %+v, want one file set aside as %s, and ok", stats, tc.why)
			}
			if l := out.String(); strings.Count(l, "\n") != 1 || !strings.Contains(l, tc.log) {
				t.Errorf("log = %q, want one line with %q", l, tc.log)
			}
			aside, _ := filepath.Glob(filepath.Join(dir, historyFile+".*"))
			if len(aside) != 1 {
				t.Errorf("set aside: %v, want one file", aside)
			}
		})
	}
}

// FuzzHistoryFile: whatever is in the file, reading it ends, and what it gives makes sense.
func FuzzHistoryFile(f *testing.F) {
	h := newHistory(10 * time.Second)
	watch(h, noon, noon.Add(time.Minute), never)
	f.Add(h.encode(target))
	f.Fuzz(func(t *testing.T, data []byte) {
		h := newHistory(10 * time.Second)
		if why, _ := h.decode(data, target); why != "" {
			return
		}
		for _, b := range (&Prober{history: h}).History(noon.Add(time.Minute)).Hour {
			if b.Up < 0 || b.Down < 0 || b.Unknown < 0 || b.Up+b.Down > time.Minute {
				t.Errorf("a bucket makes no sense: %+v", b)
			}
		}
	})
}

func TestRecentOutagesAreBounded(t *testing.T) {
	s := newState()
	for i := range 2 * recentOutages {
		s.observe(o(Read, 10*i, 10*i, postgres.Refused))
		s.observe(o(Read, 10*i+3, 10*i+3, postgres.StartingUp))
		s.observe(o(Read, 10*i+4, 10*i+4, postgres.OK))
	}
	s.observe(o(Read, 10000, 10000, postgres.Timeout))
	got := s.Outages.recent(at(10002))
	if len(got) != recentOutages {
		t.Fatalf("%d outages are remembered, want %d", len(got), recentOutages)
	}
	if now := got[0]; !now.End.IsZero() || now.Seconds != 2 || now.Reason != postgres.Timeout {
		t.Errorf("the outage in progress is %+v, want 2 s of timeout without an end", now)
	}
	if last := got[1]; !last.Start.Equal(at(1990)) || !last.End.Equal(at(1994)) || last.Seconds != 4 || last.Reason != postgres.Refused {
		t.Errorf("the newest that has ended is %+v, want 4 s of refused at 1990", last)
	}
	again, _, err := decodeState([]byte(encoded(t, s)), target)
	if err != nil {
		t.Fatal(err)
	}
	if kept := again.Outages.recent(at(10002)); !reflect.DeepEqual(kept, got) {
		t.Errorf("read back: %+v, want %+v", kept[:2], got[:2])
	}
}
