package schedule

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-kit/log"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
)

func plan(t *testing.T, expression, zone string) Plan {
	t.Helper()
	l, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Parse(expression, l)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestNextAcrossClockChanges(t *testing.T) {
	for name, tc := range map[string]struct{ expression, zone, after, want string }{
		"plain":             {"0 2 * * *", "UTC", "2026-11-23T01:00:00Z", "2026-11-23T02:00:00Z"},
		"strictly after":    {"0 2 * * *", "UTC", "2026-11-23T02:00:00Z", "2026-11-24T02:00:00Z"},
		"in a zone":         {"0 2 * * *", "Europe/Vienna", "2026-11-23T00:00:00Z", "2026-11-23T01:00:00Z"},
		"spring, no 02:30":  {"30 2 * * *", "Europe/Vienna", "2026-03-28T23:30:00Z", "2026-03-29T01:30:00Z"},
		"autumn, one 02:30": {"30 2 * * *", "Europe/Vienna", "2026-10-24T22:30:00Z", "2026-10-25T00:30:00Z"},
		"autumn, once":      {"30 2 * * *", "Europe/Vienna", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"},
		"autumn, hourly":    {"30 * * * *", "Europe/Vienna", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"},
		"seconds":           {"*/5 * * * * *", "UTC", "2026-11-23T01:00:01Z", "2026-11-23T01:00:05Z"},
		"daily":             {"@daily", "UTC", "2026-11-23T01:00:00Z", "2026-11-24T00:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			after, err := time.Parse(time.RFC3339, tc.after)
			if err != nil {
				t.Fatal(err)
			}
			if got := plan(t, tc.expression, tc.zone).Next(after).UTC().Format(time.RFC3339); got != tc.want {
				t.Errorf("next = %s, want %s", got, tc.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, e := range []string{"", "61 * * * *", "0 2 * *", "0 0 30 2 *", "@fortnightly"} {
		if _, err := Parse(e, time.UTC); failure.Of(err) != failure.Config {
			t.Errorf("%q: %v", e, err)
		}
	}
}

// What people write is told in words of ours, and quotes that nobody takes away by their name.
func TestRefusalsAreTold(t *testing.T) {
	for e, want := range map[string]string{
		`"0 2 * * *"`: "quotes are a part of it. HINT: Leave out the inner quotes",
		"'0 2 * * *'": "quotes are a part of it. HINT: Leave out the inner quotes",
		"0 two * * *": `a field is no number: "two". HINT: Five fields`,
	} {
		if _, err := Parse(e, time.UTC); !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "strconv") {
			t.Errorf("%s: %v; want %q", e, err, want)
		}
	}
}

// world is a daemon with a clock that tests own: synctest's time plus a shift.
type world struct {
	shift time.Duration
	runs  []time.Time
	fail  int // so many runs fail
	asked int // so many were asked for
	d     *Daemon
}

func newWorld(t *testing.T, dir, expression string) *world {
	t.Helper()
	repo, err := catalog.Init(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{}
	w.d = &Daemon{
		Plan: plan(t, expression, "UTC"), Repo: repo, Log: log.NewNopLogger(), Retries: 2, RetryDelay: 5 * time.Minute,
		Now: func() time.Time { return time.Now().Add(w.shift) },
		Run: func(_ context.Context, asked bool) error {
			w.runs = append(w.runs, w.d.Now())
			if asked {
				w.asked++
			}
			if w.fail > 0 {
				w.fail--
				return errors.New("failed")
			}
			return nil
		},
	}
	return w
}

// live lets the daemon work for a time.
func (w *world) live(t *testing.T, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := w.d.Serve(ctx); err != nil {
		t.Error(err)
	}
}

// synctest's clock begins at midnight UTC of 2000-01-01.

func TestDaemonRunsOnTimeAndRetries(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repo")
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dir, "0 2 * * *")
		w.live(t, time.Second) // no backup yet: at once
		if len(w.runs) != 1 {
			t.Fatalf("runs at %v, want one at once", w.runs)
		}
		publishOne(t, w.d.Repo)
		w.runs, w.fail = nil, 2
		w.live(t, 3*time.Hour)
		if len(w.runs) != 3 || w.runs[0].UTC().Hour() != 2 || w.runs[2].Sub(w.runs[0]) < 10*time.Minute {
			t.Errorf("runs at %v, want 02:00 and two retries", w.runs)
		}
	})
}

func TestDaemonRunsWhenAskedBesideThePlan(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repo")
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dir, "0 2 * * *")
		publishOne(t, w.d.Repo)
		asked := make(chan struct{}, 1)
		w.d.Asked = asked
		go func() {
			time.Sleep(time.Hour)
			asked <- struct{}{}
		}()
		w.fail = 1
		w.live(t, 3*time.Hour)
		if len(w.runs) != 2 || w.asked != 1 || w.runs[0].Sub(w.runs[1]) != -time.Hour {
			t.Fatalf("runs at %v, %d asked for, want one at 01:00, not tried again, and one at 02:00", w.runs, w.asked)
		}
		// Of a run that failed at 02:00 nothing need be tried again once a backup was asked for.
		time.Sleep(22*time.Hour + 59*time.Minute)
		w.runs, w.asked, w.fail = nil, 0, 1
		w.d.RetryDelay = time.Hour
		go func() {
			time.Sleep(30 * time.Minute)
			asked <- struct{}{}
		}()
		w.live(t, 3*time.Hour)
		if len(w.runs) != 2 || w.asked != 1 {
			t.Errorf("runs at %v, %d asked for, want 02:00 and the one asked for", w.runs, w.asked)
		}
	})
}

func TestDaemonCatchesUpOnceAndOnlyWhatWasMissed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repo")
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dir, "0 2 * * *")
		publishOne(t, w.d.Repo)
		w.live(t, 3*time.Hour)
		if len(w.runs) != 1 {
			t.Fatalf("runs at %v", w.runs)
		}
		time.Sleep(75 * time.Hour) // down for three nights
		w.live(t, time.Minute)
		if len(w.runs) != 2 {
			t.Errorf("runs at %v, want one that catches up", w.runs)
		}
		w.live(t, time.Minute)
		if len(w.runs) != 2 {
			t.Errorf("runs at %v, want no second one", w.runs)
		}
	})
}

func TestTheEndOfADaemonIsSeenAtOnce(t *testing.T) {
	w := newWorld(t, t.TempDir(), "0 2 * * *")
	ctx, stop := context.WithCancel(t.Context())
	looked := make(chan struct{})
	w.d.Tick = func(context.Context) {
		defer stop()
		s, err := w.d.Repo.State()
		if err != nil {
			t.Error(err)
		}
		if alive, known := w.d.Repo.Attended(s.Schedule); !alive || !known {
			t.Errorf("while the daemon lives: alive %v, known %v", alive, known)
		}
		close(looked)
		w.d.Tick = nil
	}
	if err := w.d.Serve(ctx); err != nil {
		t.Fatal(err)
	}
	<-looked
	s, err := w.d.Repo.State()
	if err != nil {
		t.Fatal(err)
	}
	if alive, known := w.d.Repo.Attended(s.Schedule); alive || !known {
		t.Errorf("after the daemon's end: alive %v, known %v", alive, known)
	}

	// Nothing is known of it in a copy, whose lock is another file, without a lock, from an older program, and on another machine, which
	// may not see this one's locks.
	other := *s.Schedule
	copied, far := other.Lock, other.Lock
	copied.Inode++
	far.Boot = "6f2c9dcb-0000-4000-8000-2b6b2f0c6a11"
	for _, other.Lock = range []catalog.DaemonLock{{}, copied, far} {
		if _, known := w.d.Repo.Attended(&other); known {
			t.Errorf("something is known by the lock %v", other.Lock)
		}
	}
}

func TestDaemonServesTheNewClockWhenItIsSetBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repo")
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dir, "0 2 * * *")
		publishOne(t, w.d.Repo)
		w.live(t, 3*time.Hour)
		w.shift = -2 * time.Hour // it is 01:00 again
		w.live(t, 90*time.Minute)
		if len(w.runs) != 2 || w.runs[1].UTC().Hour() != 2 {
			t.Errorf("runs at %v, want 02:00 by both clocks", w.runs)
		}
		w.shift -= 365 * 24 * time.Hour
		w.live(t, 25*time.Hour)
		if len(w.runs) != 3 {
			t.Errorf("runs at %v, want one within a day also after a year back", w.runs)
		}
	})
}

// TestDaemonsOfSeveralServersKnowTheirOwnPlans: what another one has done of its plan is nothing that this one has done of its own.
func TestDaemonsOfSeveralServersKnowTheirOwnPlans(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repo")
	synctest.Test(t, func(t *testing.T) {
		daily := newWorld(t, dir, "0 2 * * *")
		hourly := &world{d: &Daemon{}}
		*hourly.d = *daily.d
		hourly.d.Plan = plan(t, "30 * * * *", "UTC")
		hourly.d.Run = func(context.Context, bool) error { hourly.runs = append(hourly.runs, time.Now()); return nil }
		daily.d.Server = func(context.Context) string { return "1" }
		hourly.d.Server = func(context.Context) string { return "2" }
		publishOf(t, daily.d.Repo, "1")
		daily.live(t, 3*time.Hour)
		if err := daily.d.Repo.UpdateServers(t.Context(), func(s *catalog.Servers) {
			s.Known = append(s.Known, catalog.Member{ID: "2", By: catalog.ByInit})
		}); err != nil {
			t.Fatal(err)
		}
		hourly.live(t, time.Minute)
		if len(hourly.runs) != 1 {
			t.Errorf("runs of the second server at %v, want one at once: its first", hourly.runs)
		}
		publishOf(t, daily.d.Repo, "2")
		hourly.live(t, 30*time.Hour) // the first one's daemon is away for a night
		if len(daily.runs) != 1 || len(hourly.runs) != 31 {
			t.Fatalf("runs at %v and at %v", daily.runs, hourly.runs)
		}
		daily.live(t, time.Minute)
		if len(daily.runs) != 2 {
			t.Errorf("runs at %v, want one that catches up", daily.runs)
		}
		all, err := daily.d.Repo.Brief()
		if err != nil {
			t.Fatal(err)
		}
		servers, err := daily.d.Repo.Servers(all)
		if err != nil {
			t.Fatal(err)
		}
		state, err := daily.d.Repo.State()
		if err != nil {
			t.Fatal(err)
		}
		for server, want := range map[string]string{"1": "0 2 * * *", "2": "30 * * * *"} {
			if got := state.ScheduleOf(server, servers); got == nil || got.Expression != want {
				t.Errorf("the plan of server %s is %+v, want %s", server, got, want)
			}
		}
		if got := state.ScheduleOf("3", servers); got != nil {
			t.Errorf("a server without a daemon has the plan %+v", got)
		}
	})
}

func publishOne(t *testing.T, repo *catalog.Repository) {
	t.Helper()
	publishOf(t, repo, "")
}

// publishOf publishes a backup of a server.
func publishOf(t *testing.T, repo *catalog.Repository, server string) {
	t.Helper()
	d, err := repo.Begin(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	d.Manifest.Server.SystemIdentifier = server
	d.Manifest.Engine, d.Manifest.External = "x", &catalog.External{Label: "F"}
	if _, err := d.Publish(time.Now()); err != nil {
		t.Fatal(err)
	}
}

// By crontab(5) a day of month or a weekday is enough where both are given, and a step does not restrict a star.
func TestDayOfMonthOrWeekday(t *testing.T) {
	for expression, want := range map[string][]string{
		"0 2 1 * 1":   {"2026-11-30", "2026-12-01", "2026-12-07"}, // the first, and each Monday
		"0 2 29 2 1":  {"2027-02-01", "2027-02-08", "2027-02-15"},
		"0 2 * * 1":   {"2026-11-30", "2026-12-07", "2026-12-14"},
		"0 2 */2 * 1": {"2026-12-07", "2026-12-21", "2027-01-11"}, // Mondays of odd date
	} {
		p, err := Parse(expression, time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
		for _, day := range want {
			if at = p.Next(at); at.Format(time.DateOnly) != day {
				t.Errorf("%q: %s, want %s", expression, at, day)
				break
			}
		}
	}
}
