package schedule

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// fields is a cron expression that a test can read by itself: for each field, which values it has.
type fields struct {
	text                          string
	minute, hour, dom, month, dow map[int]bool
}

// randomField makes a field of a cron expression.
func randomField(r *rand.Rand, from, to int, star int) (string, map[int]bool) {
	all := map[int]bool{}
	if r.IntN(10) < star {
		for i := from; i <= to; i++ {
			all[i] = true
		}
		return "*", all
	}
	switch r.IntN(3) {
	case 0:
		step := 2 + r.IntN(to/2)
		for i := from; i <= to; i += step {
			all[i] = true
		}
		return fmt.Sprintf("*/%d", step), all
	case 1:
		a := from + r.IntN(to-from)
		b := a + r.IntN(to-a) + 1
		for i := a; i <= b; i++ {
			all[i] = true
		}
		return fmt.Sprintf("%d-%d", a, b), all
	}
	var names []string
	for range 1 + r.IntN(3) {
		i := from + r.IntN(to-from+1)
		if !all[i] {
			names = append(names, strconv.Itoa(i))
		}
		all[i] = true
	}
	return strings.Join(names, ","), all
}

func randomExpression(r *rand.Rand) fields {
	var f fields
	var text [5]string
	text[0], f.minute = randomField(r, 0, 59, 1)
	text[1], f.hour = randomField(r, 0, 23, 3)
	text[2], f.dom = randomField(r, 1, 28, 8)
	if text[2] == "*" {
		f.dom[29], f.dom[30], f.dom[31] = true, true, true
	} else if strings.HasPrefix(text[2], "*/") { // steps go on to the month's end
		text[2], f.dom = "1", map[int]bool{1: true}
	}
	text[3], f.month = "*", nil
	text[4], f.dow = "*", nil
	if r.IntN(2) == 0 {
		text[4], f.dow = randomField(r, 0, 6, 1)
	}
	f.text = strings.Join(text[:], " ")
	return f
}

// day says whether a day is one of the expression's: by crontab(5) one of the two is enough where neither begins with a star.
func (f fields) day(w time.Time) bool {
	text := strings.Fields(f.text)
	dom, dow := f.dom[w.Day()], f.dow == nil || f.dow[int(w.Weekday())]
	if text[2][0] == '*' || text[4][0] == '*' {
		return dom && dow
	}
	return dom || dow
}

// due lists all due times between two moments, minute by minute of the wall's clock, the slow way.
func (f fields) due(zone *time.Location, from, to time.Time) []time.Time {
	allHours := len(f.hour) == 24
	matches := func(w time.Time) bool {
		return f.minute[w.Minute()] && f.hour[w.Hour()] && f.day(w)
	}
	wall := func(t time.Time) time.Time { // what the clock shows, as if it were UTC
		_, offset := t.In(zone).Zone()
		return t.UTC().Add(time.Duration(offset) * time.Second)
	}
	var all []time.Time
	shown := map[int64]bool{}
	for t := from.Add(-6 * time.Hour); !t.After(to); t = t.Add(time.Minute) {
		w := wall(t)
		before := wall(t.Add(-time.Minute))
		for skipped := before.Add(time.Minute); skipped.Before(w); skipped = skipped.Add(time.Minute) {
			if matches(skipped) { // served when it would have been
				all = append(all, t.Add(skipped.Sub(before)-time.Minute))
			}
		}
		again := shown[w.Unix()]
		shown[w.Unix()] = true
		if matches(w) && (allHours || !again) {
			all = append(all, t)
		}
	}
	slices.SortFunc(all, time.Time.Compare)
	all = slices.CompactFunc(all, time.Time.Equal)
	return slices.DeleteFunc(all, func(t time.Time) bool { return t.Before(from) || t.After(to) })
}

var zones = []string{"UTC", "Europe/Vienna", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Santiago", "Africa/Cairo"}

// changes are days around which clocks are set.
var changes = []string{"2026-03-08", "2026-03-29", "2026-04-04", "2026-04-05", "2026-04-24", "2026-09-06", "2026-10-04", "2026-10-25",
	"2026-10-29", "2026-11-01", "2026-07-01"}

// TestPlansAgreeWithAnOracle compares random plans around changes of the clock with what a wall's clock shows, minute by minute.
func TestPlansAgreeWithAnOracle(t *testing.T) {
	seed, plans := uint64(time.Now().UnixNano()), 150
	if s := os.Getenv("PG_RELIABILITY_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	r := rand.New(rand.NewPCG(seed, 0))
	for range plans {
		f := randomExpression(r)
		name := zones[r.IntN(len(zones))]
		p := plan(t, f.text, name)
		day, err := time.Parse(time.DateOnly, changes[r.IntN(len(changes))])
		if err != nil {
			t.Fatal(err)
		}
		from, to := day.AddDate(0, 0, -5), day.AddDate(0, 0, 3)
		due := f.due(p.Location, from, to)
		say := func(what string, at, got, want time.Time) {
			t.Helper()
			t.Fatalf("PG_RELIABILITY_SEED=%d, %q in %s: %s %s is %s, want %s", seed, f.text, name, what, at.In(p.Location), got.In(p.Location),
				want.In(p.Location))
		}
		for i, at := range due {
			if i+1 < len(due) {
				if got := p.Next(at); !got.Equal(due[i+1]) {
					say("next after", at, got, due[i+1])
				}
			}
		}
		for range 20 {
			now := from.Add(time.Duration(r.Int64N(int64(to.Sub(from)))))
			i, exact := slices.BinarySearchFunc(due, now, time.Time.Compare)
			if !exact {
				i--
			}
			if i < 2 {
				continue
			}
			if got := p.Last(now); !got.Equal(due[i]) {
				say("last before", now, got, due[i])
			}
			checkLimit(t, p, due[:i+1], now, time.Duration(r.Int64N(int64(5*time.Hour))), seed)
		}
	}
}

// checkLimit asks of a moment: a backup that served the latest run which should have ended is fresh, one of the run before is
// not, unless it is of a few minutes ago.
func checkLimit(t *testing.T, p Plan, due []time.Time, now time.Time, takes time.Duration, seed uint64) {
	t.Helper()
	limit := p.Limit(now, takes)
	for i := len(due) - 1; i > 0; i-- {
		late := min(max(due[i].Sub(due[i-1])/12, time.Minute), 2*time.Hour)
		if due[i].Add(takes + late).After(now) {
			continue
		}
		// This run should have ended, and no later one need have.
		if age := now.Sub(due[i]); age > limit {
			t.Fatalf("PG_RELIABILITY_SEED=%d, %s at %s: a backup of the run of %s is stale (limit %s)", seed, p.Expression, now, due[i], limit)
		}
		if age := now.Sub(due[i].Add(-time.Second)); age <= limit && age > 3*time.Minute {
			t.Fatalf("PG_RELIABILITY_SEED=%d, %s at %s: the run of %s was lost, and a backup from before is fresh (limit %s)", seed, p.Expression,
				now, due[i], limit)
		}
		break
	}
	if limit > 0 && limit < 2*time.Minute {
		t.Fatalf("PG_RELIABILITY_SEED=%d, %s at %s: a backup of two minutes ago is stale", seed, p.Expression, now)
	}
}

func TestLimit(t *testing.T) {
	for name, tc := range map[string]struct {
		expression, zone, now string
		takes                 time.Duration
		want                  time.Duration
	}{
		"the night's run has its slack": {"0 2 * * *", "UTC", "2026-11-24T03:59:00Z", 0, 25*time.Hour + 59*time.Minute},
		"and then must be there":        {"0 2 * * *", "UTC", "2026-11-24T04:01:00Z", 0, 2*time.Hour + time.Minute},
		"a run of five hours":           {"0 2 * * *", "UTC", "2026-11-24T08:59:00Z", 5 * time.Hour, 30*time.Hour + 59*time.Minute},
		"Sunday, a job of workdays":     {"0 2 * * 1-5", "UTC", "2026-11-29T12:00:00Z", 0, 58 * time.Hour},
		"Saturday, Friday's run":        {"0 2 * * 1-5", "UTC", "2026-11-28T02:00:00Z", 0, 24 * time.Hour},
		"Monday before the run":         {"0 2 * * 1-5", "UTC", "2026-11-30T01:59:00Z", 0, 72*time.Hour - time.Minute},
		"each five seconds":             {"*/5 * * * * *", "UTC", "2026-11-24T02:00:00Z", 0, 3 * time.Minute},
		"each minute":                   {"* * * * *", "UTC", "2026-11-24T02:00:30Z", 0, 3 * time.Minute},
		"each minute, a run of two hours": {"* * * * *", "UTC", "2026-11-24T02:00:30Z", 2 * time.Hour, 2*time.Hour + time.Minute +
			30*time.Second},
		"@every, from the end of the last": {"@every 6h", "UTC", "2026-11-24T02:00:00Z", time.Hour, 7*time.Hour + 30*time.Minute},
		"a leap day":                       {"0 2 29 2 *", "UTC", "2027-03-01T02:00:00Z", 0, 3*8766*time.Hour - 2610*time.Hour + 0},
		"once a year":                      {"0 2 1 1 *", "UTC", "2026-11-24T02:00:00Z", 0, 327 * 24 * time.Hour},
		"the morning after clocks changed": {"30 2 * * *", "Europe/Vienna", "2026-10-25T10:30:00Z", 0, 10 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			now, err := time.Parse(time.RFC3339, tc.now)
			if err != nil {
				t.Fatal(err)
			}
			if name == "a leap day" {
				tc.want = now.Sub(time.Date(2024, 2, 29, 2, 0, 0, 0, time.UTC))
			}
			if got := plan(t, tc.expression, tc.zone).Limit(now, tc.takes); got != tc.want {
				t.Errorf("limit = %s, want %s", got, tc.want)
			}
		})
	}
}
