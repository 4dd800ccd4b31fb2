package sessions

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

func row(values ...string) []*string {
	out := make([]*string, len(values))
	for i, v := range values {
		if v != "NULL" {
			out[i] = &v
		}
	}
	return out
}

func TestASampleIsReadWhateverAServerSays(t *testing.T) {
	at := time.Unix(1, 0).UTC()
	s, groups, err := parse(at, [][]*string{
		row("active", "NULL", "NULL", "3", "2", "0.5", "100"),
		row("active", "Lock", "transactionid", "4", "4", "12.5", "100"),
		row("idle in transaction", "Client", "ClientRead", "2", "2", "99", "100"),
		row("idle", "Client", "ClientRead", "50", "50", "NULL", "100"),
		row("NULL", "Lock", "relation", "1", "1", "NULL", "100"),
		row("evil\n", "Evil", "x{}", "1", "1", "-5", "100"),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Waits = waits(groups)
	if got, want := fmt.Sprintf("%+v", s), fmt.Sprintf("%+v", Sample{
		At: at, Used: 61, Max: 100, Active: 7, IdleInTransaction: 2, Blocked: 5, OldestSeconds: 99,
		Waits: []Wait{{"Lock:transactionid", 4}, {"none", 3}},
	}); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	for i, want := range map[int]key{
		0: {"active", "none", "none"}, 4: {"starting", "Lock", "relation"}, 5: {"other", "other", "other"},
	} {
		if groups[i].key != want {
			t.Errorf("row %d is counted as %+v, not %+v", i, groups[i].key, want)
		}
	}
	for _, bad := range [][][]*string{
		{row("active")}, {row("active", "NULL", "NULL", "many", "1", "1", "1")}, make([][]*string, MaxRows+1),
	} {
		if _, _, err := parse(at, bad); err == nil {
			t.Errorf("%d rows of nonsense are taken", len(bad))
		}
	}
	if s, _, err := parse(at, [][]*string{row("active", "NULL", "NULL", "1e300", "NaN", "Infinity", "-1")}); err != nil ||
		s.Active > maxCount {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestNoServerMakesMoreLabelsThanItMay(t *testing.T) {
	s := NewSampler()
	at := time.Now()
	for i := range 20 {
		var rows [][]*string
		for j := range MaxRows {
			rows = append(rows, row(states()[j%7], kinds()[j%11], fmt.Sprintf("Event%d", i*MaxRows+j), "1", "1", "1", "100"))
		}
		s.Take(at, 0, rows, nil)
	}
	if most := maxSeries + 7*11; len(s.counts) > most {
		t.Errorf("%d label sets, want at most %d", len(s.counts), most)
	}
	var sum uint64
	for _, n := range s.counts {
		sum += n
	}
	if sum != 20*MaxRows {
		t.Errorf("%d sessions are counted of %d", sum, 20*MaxRows)
	}
	if n := len(s.history.names); n > 2*maxSeries+1 {
		t.Errorf("%d names are remembered", n)
	}
}

func TestFiveMinutesTakeTheMemoryTheyMay(t *testing.T) {
	measure := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := measure()
	s := NewSampler()
	at := time.Unix(1e9, 0)
	for i := range 3 * maxKept {
		var rows [][]*string
		for j := range 40 {
			rows = append(rows, row("active", "LWLock", fmt.Sprintf("Event%d", (i+j)%100), "3", "3", "1", "100"))
		}
		s.Take(at.Add(time.Duration(i)*time.Second), time.Millisecond, rows, nil)
	}
	if grown := int64(measure()) - int64(before); grown > 100<<10 {
		t.Errorf("it takes %d bytes, more than 100 kB", grown)
	}
	all := s.Since(time.Time{})
	if first, last := all[0].At, all[len(all)-1].At; len(all) != maxKept ||
		last.Sub(first) != Kept-time.Second || len(all[7].Waits) != keptWaits {
		t.Errorf("%d samples from %s to %s: %+v", len(all), first, last, all[7])
	}
	if newest, ok := s.Newest(); !ok || !newest.At.Equal(all[len(all)-1].At) {
		t.Errorf("the newest is %+v", newest)
	}
	runtime.KeepAlive(s)
}

func TestAServerThatIsSlowIsNotAsked(t *testing.T) {
	at := time.Unix(1e9, 0)
	s := NewSampler()
	steps := []struct {
		what string
		do   func()
		in   time.Duration
		read time.Duration
		sees bool
		due  bool
	}{
		{"nothing is known", func() {}, 0, 0, true, true},
		{"a sample of 1 ms", func() { s.Take(at, time.Millisecond, nil, nil) }, time.Second, 0, true, true},
		{"a slow read", func() {}, time.Second, slow + 1, true, false},
		{"no rights", func() {}, time.Second, 0, false, false},
		{"a sample of 200 ms", func() { s.Take(at, 200*time.Millisecond, nil, nil) }, 3 * time.Second, 0, true, false},
		{"the same, 4 s on", func() {}, 4 * time.Second, 0, true, true},
		{"a sample cut after 1 s", func() { s.Take(at, time.Second, nil, errors.New("cut")) }, 19 * time.Second, 0, true, false},
		{"the same, 21 s on", func() {}, 21 * time.Second, 0, true, true},
		{"a refusal", func() { s.Take(at, 0, nil, &pgconn.PgError{Code: "42501"}) }, 59 * time.Second, 0, true, false},
		{"the same, a minute on", func() {}, time.Minute, 0, true, true},
	}
	for _, step := range steps {
		step.do()
		if got := s.Due(at.Add(step.in), step.read, step.sees); got != step.due {
			t.Errorf("%s: due is %t", step.what, got)
		}
	}
	if got := fmt.Sprint(s.results); !strings.Contains(got, "denied:3 failed:1 ok:2 skipped:3") {
		t.Errorf("counted are %s", got)
	}
}
