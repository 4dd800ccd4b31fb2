package probe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/quiet"
)

// script is a server under a clock that the test owns: what real servers do at moments that can't be hit.
type script struct {
	mu sync.Mutex
	// login and query say how long each takes, and its error. Negative: no answer before thaw.
	login, query func() (time.Duration, error)
	// ahead is how far the server's clock is ahead of ours; zero is a server that does not tell its time.
	ahead  time.Duration
	thawed chan struct{}

	began     time.Time
	logins    []time.Duration // when each began
	pending   int
	mostAtOne int
}

func fine() (time.Duration, error)   { return time.Millisecond, nil }
func frozen() (time.Duration, error) { return -1, nil }
func full() (time.Duration, error) {
	return time.Millisecond, &postgres.Failure{Reason: postgres.TooManyConnections, Err: errors.New("sorry, too many clients already")}
}

func (s *script) set(login, query func() (time.Duration, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.login, s.query = login, query
}

// thaw lets all that hangs be answered.
func (s *script) thaw() {
	s.set(fine, fine)
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.thawed)
	s.thawed = make(chan struct{})
}

func (s *script) answer(ctx context.Context, how func() (time.Duration, error)) error {
	s.mu.Lock()
	d, err := how()
	thawed := s.thawed
	s.mu.Unlock()
	var done <-chan time.Time
	if d >= 0 {
		done = time.After(d)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-done:
		return err
	case <-thawed:
		return nil
	}
}

func (s *script) Connect(ctx context.Context) (session, error) {
	s.mu.Lock()
	s.logins = append(s.logins, time.Since(s.began))
	s.pending++
	s.mostAtOne = max(s.mostAtOne, s.pending)
	how := s.login
	s.mu.Unlock()
	err := s.answer(ctx, how)
	s.mu.Lock()
	s.pending--
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return &scripted{s: s, woken: make(chan struct{}, 1), givenUp: make(chan struct{})}, nil
}

func (s *script) Login(ctx context.Context) (postgres.Login, error) {
	_, err := s.Connect(ctx)
	return postgres.Login{}, err
}

type scripted struct {
	s       *script
	woken   chan struct{}
	givenUp chan struct{}
	mu      sync.Mutex
	broken  bool
}

func (c *scripted) Query(ctx context.Context, _ string) ([][]*string, error) {
	c.s.mu.Lock()
	how := c.s.query
	c.s.mu.Unlock()
	err := c.s.answer(ctx, how)
	row := make([]*string, len(facts()))
	c.s.mu.Lock()
	if c.s.ahead != 0 {
		clock := strconv.FormatInt(time.Now().Add(c.s.ahead).UnixMicro(), 10)
		row[len(row)-1] = &clock
	}
	c.s.mu.Unlock()
	c.mu.Lock()
	c.broken = c.broken || ctx.Err() != nil || postgres.ReasonOf(err) == postgres.Refused
	c.mu.Unlock()
	return [][]*string{row}, err
}

// QueryWith has an empty sample, at once.
func (c *scripted) QueryWith(ctx context.Context, sql string, _ postgres.Statement, answered func([][]*string, error),
) ([][]*string, error) {
	answered(c.Query(ctx, sql))
	return nil, nil
}

func (c *scripted) Broken() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broken
}
func (c *scripted) Version() int                      { return 180000 }
func (c *scripted) Phases() postgres.Phases           { return postgres.Phases{} }
func (c *scripted) Certificate() postgres.Certificate { return postgres.Certificate{} }
func (c *scripted) Pooled() bool                      { return false }
func (c *scripted) Pipeline(context.Context, []postgres.Statement, postgres.RowFunc) ([]postgres.Outcome, error) {
	return nil, errors.New("only the write probe has pipelines")
}
func (c *scripted) KeepTime(*quiet.Clock) {}
func (c *scripted) Attend(signs postgres.Signs) error {
	for {
		select {
		case <-c.givenUp:
			return nil
		case <-c.woken:
			return nil
		case <-time.After(time.Until(signs.Next(time.Now()))):
			c.pulse(signs)
		}
	}
}
func (c *scripted) GiveUp() { close(c.givenUp) }
func (c *scripted) Wake() {
	select {
	case c.woken <- struct{}{}:
	default:
	}
}

// pulse is answered as a query is, but for an error of its own.
func (c *scripted) pulse(signs postgres.Signs) {
	c.s.mu.Lock()
	how := c.s.query
	c.s.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	began, late := time.Now(), false
	answered := make(chan error, 1)
	go func() { answered <- c.s.answer(ctx, how) }()
	patience := time.After(signs.Patience())
	for {
		select {
		case <-answered:
			signs.Came(time.Since(began), late)
			return
		case <-patience:
			late = true
			signs.Late(began) // of the one who waits, as a session's is
		case <-c.givenUp:
			return
		}
	}
}
func (c *scripted) Close() {}

// played runs a prober with the default intervals (1 s, logins 10 s, timeouts 2 s) on a scripted server.
func played(t *testing.T, f func(t *testing.T, s *script, p *Prober)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &script{login: fine, query: fine, thawed: make(chan struct{}), began: time.Now()}
		p, err := newProber(Options{Target: "db:5432/x", Logger: discard()}, s, nil)
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); p.Run(ctx) }()
		f(t, s, p)
		cancel()
		<-done
	})
}

// until sleeps to a moment of the script, plus a little for what happens at it.
func (s *script) until(d time.Duration) {
	time.Sleep(d + 50*time.Millisecond - time.Since(s.began))
	synctest.Wait()
}

func (s *script) loginsSince(d time.Duration) []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []time.Duration
	for _, l := range s.logins {
		if l >= d {
			out = append(out, l.Round(100*time.Millisecond))
		}
	}
	return out
}

func TestAHealthyServerIsAskedForFewLogins(t *testing.T) {
	played(t, func(t *testing.T, s *script, p *Prober) {
		s.until(35 * time.Second)
		if got, want := s.loginsSince(0), []time.Duration{0, 10 * time.Second, 20 * time.Second, 30 * time.Second}; !slices.Equal(got, want) {
			t.Errorf("logins at %v, want %v", got, want)
		}
		if snap := p.Snapshot(); snap.Reason != postgres.OK || !snap.Known {
			t.Errorf("snapshot = %+v", snap)
		}
	})
}

func TestACalmServerIsAskedForFewerLoginsUntilSomethingIsOdd(t *testing.T) {
	played(t, func(t *testing.T, s *script, p *Prober) {
		s.until(405 * time.Second)
		want := []time.Duration{300 * time.Second, 330 * time.Second, 360 * time.Second, 390 * time.Second}
		if got := s.loginsSince(295 * time.Second); !slices.Equal(got, want) {
			t.Errorf("logins at %v, want %v", got, want)
		}
		s.set(fine, func() (time.Duration, error) { return time.Second, nil }) // slow, and in time
		s.until(408 * time.Second)
		s.set(fine, fine)
		s.until(440 * time.Second)
		got := s.loginsSince(400 * time.Second)
		if len(got) < 2 || got[0] > 420*time.Second || got[1]-got[0] > 10*time.Second {
			t.Errorf("logins at %v, want one within 10 s of the last slow read, and each 10 s", got)
		}
	})
}

// Six round trips of 500 ms are more than a login's 2 s.
func TestALoginMayTakeLongerWhereTheServerIsFar(t *testing.T) {
	played(t, func(t *testing.T, s *script, p *Prober) {
		far := func() (time.Duration, error) { return 500 * time.Millisecond, nil }
		s.set(func() (time.Duration, error) { return 3 * time.Second, nil }, far)
		s.until(60 * time.Second)
		if snap := p.Snapshot(); snap.Reason != postgres.OK || snap.Outages != 0 {
			t.Errorf("snapshot = %+v, want no outage", snap)
		}
		s.set(func() (time.Duration, error) { return 6 * time.Second, nil }, far)
		s.until(90 * time.Second)
		if snap := p.Snapshot(); snap.Reason != postgres.Timeout {
			t.Errorf("reason %s of logins of 6 s", snap.Reason)
		}
	})
}

func TestLoginsThatFailAreRetriedSoonAndEverMoreSeldom(t *testing.T) {
	played(t, func(t *testing.T, s *script, p *Prober) {
		s.until(5 * time.Second)
		s.set(full, fine)
		s.until(46 * time.Second)
		var want []time.Duration
		for _, second := range []int{10, 11, 13, 17, 25, 35, 45} {
			want = append(want, time.Duration(second)*time.Second)
		}
		if got := s.loginsSince(5 * time.Second); !slices.Equal(got, want) {
			t.Errorf("logins at %v, want %v", got, want)
		}
		snap := p.Snapshot()
		if !snap.Answers() || snap.Reason != postgres.TooManyConnections || snap.Outages != 1 ||
			snap.Downtime.Round(time.Second) != 36*time.Second {
			t.Errorf("snapshot = %+v, want reads up and one outage of 36 s by now", snap)
		}
		s.set(fine, fine)
		s.until(56 * time.Second)
		if snap := p.Snapshot(); snap.Reason != postgres.OK || snap.Outages != 1 {
			t.Errorf("snapshot = %+v, want it over", snap)
		}
	})
}

func TestAFrozenServerIsDialledOnceAtATime(t *testing.T) {
	played(t, func(t *testing.T, s *script, p *Prober) {
		s.until(4500 * time.Millisecond)
		s.set(frozen, frozen)
		s.until(6700 * time.Millisecond)
		if snap := p.Snapshot(); snap.Reason != postgres.OK {
			t.Errorf("reason %s before the timeout", snap.Reason)
		}
		s.until(7 * time.Second) // the sign of life of 4.75 s, what it may take, and 2 s
		froze := s.began.Add(4550 * time.Millisecond)
		if snap := p.Snapshot(); snap.Reason != postgres.Timeout || snap.OutageStart.Sub(froze).Abs() > DefaultPulseInterval/2 {
			t.Errorf("snapshot = %+v, want a timeout, from between the last sign of life and the one that hung", snap)
		}
		for second := 9; second < 64; second++ {
			s.until(time.Duration(second) * time.Second)
			if snap := p.Snapshot(); snap.Probes[Read].At.Before(time.Now().Add(-time.Second)) || snap.Probes[Login].Reason != postgres.Timeout {
				t.Fatalf("second %d: %+v, want each interval to report the timeout", second, snap)
			}
		}
		if got := s.loginsSince(5 * time.Second); len(got) != 6 || s.mostAtOne != 1 {
			t.Errorf("dials at %v, %d at once; want one every 10 s, one at a time", got, s.mostAtOne)
		}
		s.thaw()
		woken := time.Now()
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		snap := p.Snapshot()
		if snap.Reason != postgres.OK || snap.Outages != 1 || (snap.LastOutageEnd.Sub(snap.LastOutageStart)-woken.Sub(froze)).
			Abs() > DefaultPulseInterval/2+10*time.Millisecond {
			t.Errorf("snapshot = %+v, want the outage over within 10 ms of waking up", snap)
		}
	})
}

func TestLoginsThatHangDontPileUp(t *testing.T) {
	played(t, func(t *testing.T, s *script, p *Prober) {
		s.until(5 * time.Second)
		s.set(frozen, fine)
		s.until(60 * time.Second)
		snap := p.Snapshot()
		if !snap.Answers() || snap.Reason != postgres.Timeout || snap.Outages != 1 || !snap.OutageStart.Equal(s.began.Add(10*time.Second).
			Add(snap.OutageStart.Sub(s.began)%time.Second)) {
			t.Errorf("snapshot = %+v, want reads up and one outage since second 10", snap)
		}
		if s.mostAtOne != 1 || len(s.loginsSince(5*time.Second)) > 5 {
			t.Errorf("logins at %v, %d at once; want few, one at a time", s.loginsSince(5*time.Second), s.mostAtOne)
		}
		s.set(fine, fine)
		s.thaw()
		s.until(72 * time.Second)
		if snap := p.Snapshot(); snap.Reason != postgres.OK || snap.Outages != 1 {
			t.Errorf("snapshot = %+v, want the outage over", snap)
		}
	})
}

func TestLoginsThatAreAlwaysTooLateAreOneOutage(t *testing.T) {
	played(t, func(t *testing.T, s *script, p *Prober) {
		s.until(5 * time.Second)
		s.set(func() (time.Duration, error) { return 3 * time.Second, nil }, fine)
		s.until(100 * time.Second)
		if snap := p.Snapshot(); !snap.Answers() || snap.Reason != postgres.Timeout || snap.Outages != 1 {
			t.Errorf("snapshot = %+v, want one outage that goes on", snap)
		}
		if n := len(s.loginsSince(5 * time.Second)); n > 20 || s.mostAtOne != 1 {
			t.Errorf("%d logins in 95 s, %d at once; want them spaced", n, s.mostAtOne)
		}
	})
}

func TestAServerThatIsDownIsDialledEachInterval(t *testing.T) {
	played(t, func(t *testing.T, s *script, p *Prober) {
		down := func() (time.Duration, error) {
			return 0, &postgres.Failure{Reason: postgres.Refused, Err: errors.New("connection refused")}
		}
		s.until(4500 * time.Millisecond)
		s.set(down, down)
		s.until(9500 * time.Millisecond)
		// Every 50 ms in the first second, then every 200 ms; at 6, 7, 8 and 9 s the tick of the interval may dial just before the timer.
		if got := len(s.loginsSince(4 * time.Second)); got < 20+17 || got > 21+19+4 {
			t.Errorf("%d dials, want 20 in the first second and 5 in each after it: %v", got, s.loginsSince(4*time.Second))
		}
		if snap := p.Snapshot(); snap.Reason != postgres.Refused || snap.Probes[Login].Reason != postgres.Refused || snap.Outages != 1 {
			t.Errorf("snapshot = %+v, want one outage, refused", snap)
		}
		s.set(fine, fine)
		s.until(10 * time.Second)
		if snap := p.Snapshot(); snap.Reason != postgres.OK || snap.Downtime < 4500*time.Millisecond || snap.Downtime > 4800*time.Millisecond {
			t.Errorf("snapshot = %+v, want 4.55 s of downtime, and up with the next try", snap)
		}
		s.until(19 * time.Second)
		if got := s.loginsSince(9500 * time.Millisecond); len(got) != 1 {
			t.Errorf("logins at %v after the recovery, want the dial alone for one login interval", got)
		}
	})
}

// The callbacks are told what changed, in order, and nothing else.
func TestChangesAreToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{login: fine, query: fine, thawed: make(chan struct{}), began: time.Now()}
		lost := 0
		p, err := newProber(Options{Target: "db:5432/x", Logger: discard(), OnConnectionLost: func() { lost++ }}, s, nil)
		must(t, err)
		var told []string
		p.OnChange(func(_, now Snapshot) {
			told = append(told, fmt.Sprintf("%s, read %s", now.Reason, now.Probes[Read].Reason))
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); p.Run(ctx) }()
		s.until(4500 * time.Millisecond)
		s.set(frozen, frozen)
		s.until(30 * time.Second)
		s.thaw()
		s.set(func() (time.Duration, error) { return 5 * time.Millisecond, nil }, fine)
		s.until(40 * time.Second)
		s.set(full, fine) // first no login goes through, then the kept session breaks too
		s.until(55 * time.Second)
		s.set(full, func() (time.Duration, error) {
			return 0, &postgres.Failure{Reason: postgres.Refused, Err: errors.New("unexpected EOF")}
		})
		s.until(60 * time.Second)
		cancel()
		<-done
		want := []string{
			"ok, read ok", "timeout, read timeout",
			"timeout, read ok", // the dial that hung is no login in time: the next one tells
			"ok, read ok",
			"too_many_connections, read ok", "too_many_connections, read too_many_connections",
		}
		if !slices.Equal(told, want) || lost != 2 {
			t.Errorf("told %q, connection lost %d times; want %q, twice", told, lost, want)
		}
	})
}
