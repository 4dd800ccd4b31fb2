// Package quiet waits without waking more of this process than is needed. A timer of Go's that fires in a process that is otherwise idle
// costs it a tenth of a millisecond and more: the runtime sleeps in whole milliseconds and wakes twice, its monitor wakes beside it and
// looks 50,000 times a second whether it may rest again, and a deadline that was set and taken back still ends a sleep. A prober that asks
// a server for a sign of life four times a second pays for nothing else. Where there is no better way, all of this is as Go has it.
package quiet

import (
	"container/heap"
	"sync"
	"time"
)

// Clock has timers that are one timer of the operating system's. It is safe for concurrent use; a nil one has timers of Go's.
type Clock struct {
	alarm alarm
	ended chan struct{}

	mu     sync.Mutex
	timers timers
	armed  time.Time // when the system's timer goes off; zero while it does not
	closed bool
}

// Timer is what AfterFunc plans.
type Timer struct {
	clock *Clock
	plain *time.Timer // in place of all else where the clock is nil
	at    time.Time
	f     func()
	place int // in the clock's list; -1 when it is not there any more
}

// alarm is one timer of the operating system's.
type alarm interface {
	// set has wait return in d, in place of what was set before.
	set(d time.Duration)
	// wait returns false once the alarm is closed. It may return early.
	wait() bool
	close()
}

// NewClock makes a clock, or nil where the operating system has nothing to make one of. Close ends it.
func NewClock() *Clock {
	a := newAlarm()
	if a == nil {
		return nil
	}
	c := &Clock{alarm: a, ended: make(chan struct{})}
	go c.run()
	return c
}

// Close ends the clock: what is planned is not done.
func (c *Clock) Close() {
	if c == nil {
		return
	}
	c.mu.Lock()
	c.closed, c.timers = true, nil
	c.mu.Unlock()
	c.alarm.close()
	<-c.ended
}

// AfterFunc calls f in d, as time.AfterFunc does, but on the clock's own goroutine: f must not wait for anything that waits for another
// timer of the clock.
func (c *Clock) AfterFunc(d time.Duration, f func()) *Timer {
	if c == nil {
		return &Timer{plain: time.AfterFunc(d, f)}
	}
	t := &Timer{clock: c, at: time.Now().Add(d), f: f, place: -1}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return t
	}
	heap.Push(&c.timers, t)
	c.arm()
	return t
}

// Stop is false where it is too late. The system's timer stays as it is: one that goes off for nothing costs more than to leave it, but
// usually another timer is planned before it does.
func (t *Timer) Stop() bool {
	if t.plain != nil {
		return t.plain.Stop()
	}
	c := t.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.place < 0 || c.closed {
		return false
	}
	heap.Remove(&c.timers, t.place)
	c.arm()
	return true
}

// Reset has the timer's function called in d, in place of when it was planned, or once more.
func (t *Timer) Reset(d time.Duration) {
	if t.plain != nil {
		t.plain.Reset(d)
		return
	}
	c := t.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	if t.at = time.Now().Add(d); t.place < 0 {
		heap.Push(&c.timers, t)
	} else {
		heap.Fix(&c.timers, t.place)
	}
	c.arm()
}

// arm sets the alarm to the first timer, with the lock held.
func (c *Clock) arm() {
	switch {
	case len(c.timers) == 0 || c.timers[0].at.Equal(c.armed):
	default:
		c.armed = c.timers[0].at
		c.alarm.set(time.Until(c.armed))
	}
}

func (c *Clock) run() {
	defer close(c.ended)
	for c.alarm.wait() {
		for f := c.due(); f != nil; f = c.due() {
			f()
		}
	}
}

// due is what to do now; nil when there is nothing more.
func (c *Clock) due() func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.timers) > 0 && !time.Now().Before(c.timers[0].at) {
		return heap.Pop(&c.timers).(*Timer).f
	}
	c.armed = time.Time{}
	c.arm()
	return nil
}

// timers is a heap, the first one first.
type timers []*Timer

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].at.Before(t[j].at) }
func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].place, t[j].place = i, j
}

// Push implements heap.Interface.
func (t *timers) Push(x any) {
	one := x.(*Timer)
	one.place = len(*t)
	*t = append(*t, one)
}

// Pop implements heap.Interface.
func (t *timers) Pop() any {
	last := len(*t) - 1
	one := (*t)[last]
	one.place, (*t)[last] = -1, nil
	*t = (*t)[:last]
	return one
}
