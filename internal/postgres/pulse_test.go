package postgres_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/quiet"
)

func TestASignOfLifeRunsNothing(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	s, err := connector(t, c.MonitorDSN()).Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	state := func() string {
		t.Helper()
		got, err := c.Query(t.Context(), "postgres", "SELECT concat_ws(' ', pid, query_start, xact_start, backend_xmin, query)"+
			" FROM pg_stat_activity WHERE application_name = 'pg_reliability_exporter'")
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if _, err := s.Query(t.Context(), "SELECT 1"); err != nil {
		t.Fatal(err)
	}
	before := state()
	for name, clock := range map[string]*quiet.Clock{"of Go": nil, "of the system": quiet.NewClock()} {
		defer clock.Close()
		s.KeepTime(clock)
		came := 0
		err := s.Attend(postgres.Signs{
			Next:     func(now time.Time) time.Time { return now.Add(5 * time.Millisecond) },
			Patience: func() time.Duration { return pgtest.Patience(10 * time.Second) },
			Late:     func(time.Time) { t.Error("it was late") },
			Came: func(took time.Duration, late bool) {
				if came++; came == 3 {
					s.Wake()
				}
				if took <= 0 || late {
					t.Errorf("it took %s, late %v", took, late)
				}
			},
		})
		if err != nil || came < 3 {
			t.Fatalf("time %s: %d signs of life, err = %v", name, came, err)
		}
		if after := state(); after != before {
			t.Errorf("the session was %s, and is %s", before, after)
		}
	}
}

// A frozen server is late once, with the moment at which it was asked. Who wants to ask something meanwhile does so when it has answered.
func TestASignOfLifeThatIsLate(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	clock := quiet.NewClock()
	defer clock.Close()
	s, err := connector(t, c.MonitorDSN()).Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.KeepTime(clock)
	c.Pause()
	began, late, came := time.Now(), 0, 0
	signs := postgres.Signs{
		Next:     func(now time.Time) time.Time { return now },
		Patience: func() time.Duration { return 50 * time.Millisecond },
		Late: func(asked time.Time) {
			if late++; asked.Before(began) || time.Since(asked) < 50*time.Millisecond {
				t.Errorf("it is late of %s, asked for at %s", asked, began)
			}
			s.Wake()
			time.AfterFunc(20*time.Millisecond, c.Resume)
		},
		Came: func(took time.Duration, late bool) {
			if came++; !late || took < 70*time.Millisecond {
				t.Errorf("it came after %s, late %v", took, late)
			}
		},
	}
	if err := s.Attend(signs); err != nil || late != 1 || came != 1 {
		t.Errorf("err = %v, late %d times, came %d times", err, late, came)
	}
	if _, err := s.Query(t.Context(), "SELECT 1"); err != nil {
		t.Errorf("after it: %v", err)
	}

	// Who gives up does not wait for the answer, and the session ends.
	c.Pause()
	defer c.Resume()
	signs.Late, signs.Came = func(time.Time) { s.GiveUp() }, func(time.Duration, bool) { t.Error("it came") }
	if err := s.Attend(signs); err != nil || !s.Broken() {
		t.Errorf("err = %v, broken %v", err, s.Broken())
	}
	if err := s.Attend(signs); err != nil {
		t.Errorf("once more: %v", err)
	}
}

func TestAnIdleSessionNoticesItsEndAndWakesUp(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	s, err := connector(t, c.MonitorDSN()).Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(pgtest.Patience(time.Minute))
	time.AfterFunc(20*time.Millisecond, s.Wake)
	if err := s.Attend(postgres.Signs{}); err != nil {
		t.Fatal(err)
	}
	s.Wake() // is not lost while nobody waits
	if err := s.Attend(postgres.Signs{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Exec(t.Context(), "ALTER SYSTEM SET IntervalStyle = iso_8601"); err != nil {
		t.Fatal(err)
	}
	if err := c.Exec(t.Context(), "SELECT pg_reload_conf()"); err != nil { // a setting that is reported says nothing
		t.Fatal(err)
	}
	came := 0 // behind it, too, in which more of the connection is the driver's
	err = s.Attend(postgres.Signs{
		Next:     func(now time.Time) time.Time { return now.Add(20 * time.Millisecond) },
		Patience: func() time.Duration { return pgtest.Patience(10 * time.Second) },
		Late:     func(time.Time) { t.Error("it was late") },
		Came: func(time.Duration, bool) {
			if came++; came == 5 {
				s.Wake()
			}
		},
	})
	if err != nil || came != 5 {
		t.Fatalf("%d signs of life, err = %v", came, err)
	}
	end := fmt.Sprintf("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '%s'", "pg_reliability_exporter")
	time.AfterFunc(20*time.Millisecond, func() { _ = c.Exec(context.Background(), end) })
	err = s.Attend(postgres.Signs{})
	if err == nil || postgres.ReasonOf(err) != postgres.ShuttingDown || !s.Broken() || time.Now().After(long) {
		t.Errorf("err = %v, broken %v; want the farewell, at once", err, s.Broken())
	}
}
