package probe

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// unheard is how long a sign of life may take before the reader is told, where the server is near: far more than it takes, and
// less than what a user feels.
const unheard = 100 * time.Millisecond

// kept is the session that reads use, and the one goroutine that touches it: it asks when the loop says so, asks for a sign of
// life in between, and notices the connection's end at once. A server that freezes, or that the network has lost, is so dated
// by the last sign of life and the first one that did not come.
type kept struct {
	r         *reader
	session   session
	interview *interview
	wire      *postgres.Wire
	end       context.CancelFunc // the session is given up
	asks      chan struct{}
	every     time.Duration // between signs of life

	// alive is when the server answered last, trip how long it took of late.
	alive atomic.Pointer[time.Time]
	trip  atomic.Int64
	// took is how long the last read did, and sees whether the role sees other people's sessions.
	took time.Duration
	sees bool
	// owes: the server has answered the read, and not yet the sample of sessions that it was asked for with it.
	owes atomic.Bool
}

// keep begins the goroutine. It is called on the loop.
func (r *reader) keep(s session, w *postgres.Wire) *kept {
	ctx, end := context.WithCancel(r.p.loop.ctx)
	k := &kept{r: r, session: s, interview: newInterview(), wire: w, end: end, asks: make(chan struct{}, 1), sees: true}
	if k.every = r.p.o.PulseInterval; s.Pooled() {
		k.every = r.p.o.ReadInterval // a pooler lends a server's process for each sign of life, and counts a transaction
	}
	s.KeepTime(r.p.loop.clock)
	k.lives(0)
	context.AfterFunc(ctx, s.GiveUp)
	r.p.loop.running.Go(func() {
		defer end()
		defer s.Close()
		k.run(ctx)
	})
	return k
}

// ask has the read probe's query asked; answered is called on the loop.
func (k *kept) ask() {
	select {
	case k.asks <- struct{}{}:
		k.session.Wake()
	default:
	}
}

func (k *kept) run(ctx context.Context) {
	asked := time.Now()
	signs := postgres.Signs{
		Next:     func(now time.Time) time.Time { return nextPulse(now, asked, k.every, k.r.p.o.ReadInterval) },
		Patience: func() time.Duration { return max(unheard, 3*time.Duration(k.trip.Load())) },
		Late:     func(since time.Time) { k.tell(func() { k.r.hangs(since) }) },
		Came:     k.came,
	}
	for ctx.Err() == nil {
		err := k.session.Attend(signs)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			k.tell(func() { k.r.broke(err) })
			return
		}
		select {
		case <-k.asks:
			asked = time.Now()
			if !k.query(ctx) {
				return
			}
		default:
		}
	}
}

// nextPulse is when to ask for a sign of life: not when the next read is about to be due, which is one.
func nextPulse(now, asked time.Time, every, interval time.Duration) time.Time {
	if every >= interval {
		return now.Add(maxInterval) // reads are all there is
	}
	next, due := now.Add(every), asked.Add(interval)
	if next.After(due.Add(-every/2)) && next.Before(due.Add(every/2)) {
		return due.Add(every / 2)
	}
	return next
}

// query reports false when the session is over.
func (k *kept) query(ctx context.Context) bool {
	start := time.Now()
	if k.r.p.sessions.Due(start, k.took, k.sees) {
		return k.querySampled(ctx, start)
	}
	server, err := k.interview.ask(ctx, k.session)
	return k.answer(start, server, err)
}

// answer tells the read's result.
func (k *kept) answer(start time.Time, server Server, err error) bool {
	a := answer{server: server, asked: start, took: time.Since(start), err: err, over: k.session.Broken()}
	if err == nil {
		k.lives(a.took)
	}
	k.took, k.sees = a.took, err != nil || server.Sight != PartialSight
	k.tell(func() { k.r.answered(a) })
	return !a.over
}

// came takes a sign of life.
func (k *kept) came(took time.Duration, late bool) {
	k.lives(took)
	if late {
		k.tell(func() { k.r.woke() })
	}
}

// lives notes an answer.
func (k *kept) lives(took time.Duration) {
	now := time.Now()
	k.alive.Store(&now)
	trip := time.Duration(k.trip.Load())
	if trip == 0 || took < trip {
		trip = took
	} else {
		trip += (took - trip) / 16 // the way may have become longer; one slow answer says little
	}
	k.trip.Store(int64(trip))
}

// missed is when the server stopped answering, of a probe that had no answer: between its last sign of life and the probe,
// nobody knows when exactly.
func (k *kept) missed(probe time.Time) time.Time {
	if k.every >= k.r.p.o.ReadInterval {
		return probe // there are no signs of life but reads
	}
	if k.owes.Load() { // no sign of life was asked for since
		return *k.alive.Load()
	}
	return probe.Add(-min(sub(probe, *k.alive.Load()), k.every) / 2)
}

// tell calls f on the loop, unless the session was given up: what our own end cut is no failure.
func (k *kept) tell(f func()) {
	k.r.p.loop.post(func() {
		if k.r.kept == k && k.r.p.loop.ctx.Err() == nil {
			f()
		}
	})
}
