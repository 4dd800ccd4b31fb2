// Package watchdog has a server that hangs started again: one that took connections a moment ago, and now takes them and answers nobody.
//
// It acts rarely, and never on a guess. It must have seen this server answer. Reads and logins must both be without any answer for the
// whole time. Connections must be made all the same, or it may be the network. And the last that was known of the server must be
// no shutdown, start-up, recovery, full or failing disk. A server that is slow answers in the end: the smallest question that there is
// stays open for the whole time, and any answer to it, also an error, means that the server lives. What is known of the seconds before is
// saved first; then the action is done, at most three times an hour, by one exporter alone.
package watchdog

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"github.com/pg-reliability/pg_reliability_exporter/internal/incident"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
	"github.com/pg-reliability/pg_reliability_exporter/internal/serverlog"
)

const (
	// DefaultAfter is how long a server is silent before it is restarted: five times as long as any that was well and overloaded was silent
	// (TestLoadedServersAnswer, docs/decisions.md), and short enough for one that hangs to be back within 30 s.
	DefaultAfter = 20 * time.Second
	// Shortest and Longest bound it: a pause as short as a disk's hiccup is not worth a restart, and after an hour somebody is there.
	Shortest, Longest = 15 * time.Second, time.Hour
	// MostAnHour bounds acts. A server that hangs again and again needs a person, not a fourth restart.
	MostAnHour = 3

	tick = time.Second
	// leaseTick is how often an exporter that may not act asks whether it may now.
	leaseTick = 10 * time.Second
	// saveFor bounds saving what is known, actFor the action.
	saveFor = 5 * time.Second
	actFor  = 2 * time.Minute
)

// Options of a watchdog; all but Tell are required.
type Options struct {
	// After is how long there must be no answer; 0 means DefaultAfter.
	After time.Duration
	// Knock asks the server the smallest question, and waits until ctx ends.
	Knock func(ctx context.Context, connected func()) postgres.Knock
	// Act has the server restarted.
	Act Action
	// Save keeps what is known of the time before, durably.
	Save func(ctx context.Context) error
	// Tell takes the fact that it acted.
	Tell func(incident.Fact)
	// Dir is the state directory: the lease and the times of acts are there.
	Dir    string
	Logger log.Logger
}

// Watchdog watches one server. Outcome, Log and Host take what others see, and never wait.
type Watchdog struct {
	o     Options
	now   func() time.Time
	wake  chan struct{}
	lease *lease

	mu      sync.Mutex
	silence silence
	knocks  int // asked in this silence
	// forget ends the questions of this silence.
	forget context.CancelFunc
	view   View
	// idle is why nobody acts, as the lease has it; acts are when it was acted, by whichever exporter.
	idle string
	acts []time.Time
}

// View is what it is about, for the page and the metrics.
type View struct {
	// Armed: it would act. Without, another exporter does, or the lease can't be had.
	Armed bool
	// Action names what it does.
	Action string
	// After is how long there must be no answer.
	After time.Duration
	// Idle is why it would do nothing just now: it has no lease, it acted often enough, or what is known of the silence that goes on
	// says to leave the server alone. Empty where it would act.
	Idle string
	// Waiting is why nothing was done in the newest silence that lasted, which was at WaitingAt; empty where it acted, or there was none.
	Waiting   string
	WaitingAt time.Time
	// Recent is how often it acted within the last hour.
	Recent int
	// Done and Failed count acts of this run; Last is when the newest of all runs began, zero before the first.
	Done, Failed, Withheld uint64
	Last                   time.Time
}

// New checks the options. It does nothing yet.
func New(o Options) (*Watchdog, error) {
	if o.After == 0 {
		o.After = DefaultAfter
	}
	if o.After < Shortest || o.After > Longest {
		return nil, fmt.Errorf("a watchdog after %s is not allowed. HINT: Choose %s to %s, such as %s", o.After, Shortest, Longest, DefaultAfter)
	}
	if o.Dir == "" {
		return nil, errNoDir
	}
	w := &Watchdog{o: o, now: time.Now, wake: make(chan struct{}, 1), lease: newLease(o.Dir), idle: "it has only just begun"}
	w.view = View{Action: o.Act.Name(), After: o.After}
	return w, nil
}

// View is what it is about now.
func (w *Watchdog) View() View {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	v := w.view
	v.Recent, v.Idle = recent(w.acts, now), w.idle
	if v.Idle == "" {
		if verdict, why := w.silence.judge(now, w.o.After); verdict == withhold {
			v.Idle = why
		} else if v.Recent >= MostAnHour {
			v.Idle = often(v.Recent)
		}
	}
	return v
}

// Outcome takes what a probe saw.
func (w *Watchdog) Outcome(o probe.Outcome, _ probe.Snapshot) {
	w.mu.Lock()
	was := w.silence.since
	w.silence.probed(o)
	began, ended := was.IsZero() && !w.silence.since.IsZero(), !was.IsZero() && w.silence.since.IsZero()
	if ended {
		w.answered()
	}
	w.mu.Unlock()
	if began {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// Log takes what the server's log said.
func (w *Watchdog) Log(e serverlog.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.silence.logged(e)
}

// Host takes a fact of the machine.
func (w *Watchdog) Host(f incident.Fact) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.silence.took(f)
}

// answered forgets a silence. w.mu is held.
func (w *Watchdog) answered() {
	if w.forget != nil {
		w.forget()
		w.forget = nil
	}
	w.knocks = 0
}

// Run watches until ctx ends.
func (w *Watchdog) Run(ctx context.Context) {
	defer w.lease.release()
	leases := time.NewTicker(leaseTick)
	defer leases.Stop()
	w.arm()
	for {
		select {
		case <-ctx.Done():
			return
		case <-leases.C:
			w.arm()
		case <-w.wake:
			w.during(ctx)
		}
	}
}

// arm takes the lease, and says so when that has changed.
func (w *Watchdog) arm() {
	armed, err := w.lease.take()
	acts, _ := w.lease.read() // take says why they can't be read
	w.mu.Lock()
	was, said := w.view, w.idle
	w.view.Armed, w.acts, w.idle = armed, acts, ""
	if n := len(acts); n > 0 {
		w.view.Last = acts[n-1]
	}
	if !armed {
		w.idle = "another exporter with this state directory is the watchdog"
		if err != nil {
			w.idle = err.Error()
		}
	}
	now := w.idle
	w.mu.Unlock()
	switch {
	case armed && !was.Armed:
		_ = level.Info(w.o.Logger).Log("msg", "the watchdog is armed", "action", was.Action, "after", was.After)
	case !armed && now != said:
		_ = level.Warn(w.o.Logger).Log("msg", "the watchdog is not armed", "why", now)
	}
}

// during follows one silence to its end.
func (w *Watchdog) during(ctx context.Context) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	rested, withheld := time.Duration(0), ""
	for {
		now := w.now()
		w.mu.Lock()
		if rested > 5*tick {
			w.silence.slept() // this process, or the machine, stood still: what was without an answer proves nothing
			w.answered()
		}
		verdict, why := w.silence.judge(now, w.o.After)
		since := w.silence.since
		if verdict == withhold && withheld == "" {
			w.view.Withheld++
		}
		if verdict == withhold {
			w.view.Waiting, w.view.WaitingAt = why, now.UTC()
		}
		w.mu.Unlock()
		switch {
		case verdict == none:
			return
		case verdict == withhold && withheld != why:
			withheld = why
			_ = level.Warn(w.o.Logger).Log("msg", "the server has not answered, and the watchdog leaves it alone", "for",
				now.Sub(since).Round(time.Second), "why", why)
		case verdict == act:
			w.act(ctx, since)
		default:
			w.knock(ctx, now.Sub(since))
		}
		rests := w.now()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		rested = w.now().Sub(rests)
	}
}

// knocks of a silence: each waits until the silence ends, so that an answer is not missed because it was slow.
const mostKnocks = 4

// knock asks the smallest question at the beginning of a silence, and with each third of it again.
func (w *Watchdog) knock(ctx context.Context, silent time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.knocks >= mostKnocks || silent < time.Duration(w.knocks)*w.o.After/(mostKnocks-1) {
		return
	}
	w.knocks++
	if w.forget == nil {
		ctx, w.forget = context.WithCancel(ctx)
		w.silence.asking = ctx
	}
	asking := w.silence.asking
	go func() {
		ctx, cancel := context.WithTimeout(asking, 2*w.o.After)
		defer cancel()
		w.knocked(asking, w.o.Knock(ctx, func() { w.knocked(asking, postgres.Silent) }))
	}()
}

func (w *Watchdog) knocked(asking context.Context, told postgres.Knock) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if asking.Err() != nil {
		return // of a silence that is over
	}
	w.silence.knocked(told)
	if w.silence.since.IsZero() {
		w.answered()
	}
}

// act saves what is known, notes the act, and does it.
func (w *Watchdog) act(ctx context.Context, since time.Time) {
	now := w.now()
	logger := log.With(w.o.Logger, "action", w.o.Act.Name(), "silent_for", now.Sub(since).Round(time.Second))
	why := ""
	saving, cancel := context.WithTimeout(ctx, saveFor)
	saved := w.o.Save(saving)
	cancel()
	if err := w.o.Act.Ready(ctx, since); err != nil {
		why = err.Error()
	} else if err := w.lease.note(now); err != nil {
		why = err.Error()
	}
	w.mu.Lock()
	still := w.silence.since.Equal(since)
	switch {
	case !still:
	case why != "":
		w.silence.withheld, w.silence.withheldAt = why, now
	default:
		w.silence.acted()
		w.view.Last, w.view.Waiting, w.view.WaitingAt = now.UTC(), "", time.Time{}
		w.acts = append(w.acts, now)
	}
	w.mu.Unlock()
	if !still {
		_ = level.Info(logger).Log("msg", "the server answered just before the watchdog acted")
		return
	}
	if why != "" {
		return // the next judgement says so
	}
	_ = level.Warn(logger).Log("msg", "the server takes connections and answers nobody: the watchdog acts", "saved", saved == nil)
	if saved != nil {
		_ = level.Warn(logger).Log("msg", "what is known of the time before could not be saved", "err", saved)
	}
	if w.o.Tell != nil {
		w.o.Tell(incident.Fact{At: now.UTC(), Kind: incident.WatchdogActed, Name: w.o.Act.Name(), Value: now.Sub(since).Seconds()})
	}
	acting, cancel := context.WithTimeout(ctx, actFor)
	defer cancel()
	err := w.o.Act.Do(acting)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.view.Failed++
		w.view.Waiting, w.view.WaitingAt = err.Error(), w.now().UTC()
		w.silence.again(w.now())
		_ = level.Error(logger).Log("msg", "the watchdog's action failed", "err", err)
		return
	}
	w.view.Done++
	_ = level.Warn(logger).Log("msg", "the watchdog's action is done", "took", w.now().Sub(now).Round(time.Millisecond))
}
