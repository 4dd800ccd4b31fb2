package probe

import (
	"runtime"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/quiet"
)

const (
	// deadlineParts is how many waits a deadline consists of, at least.
	deadlineParts = 8
	// longestPart bounds a wait, so that a long limit, too, is told early and often how late this process is.
	longestPart = 250 * time.Millisecond
	// lateShare: a part that was noticed later than this share of it does not count. A login is a row of some thirty steps, each
	// of which waits for this process to get its turn: where one waits for 31 ms, they add up to a second that is not the server's.
	lateShare = 8
)

// deadline is a limit on waiting that does not blame the server for what this process slept through or had no CPU for: a machine
// that is full, or a process that was stopped, fires its timers late. The limit is waited for in parts, each begun when the one
// before was noticed, and only those count that were noticed in time. It belongs to the loop's goroutine.
type deadline struct {
	loop *loop
	part time.Duration
	left int
	// more is how many parts may yet be added: for those that don't count, and while an answer lies in the socket that we have
	// not come to read.
	more   int
	unread func() bool
	passed func()
	// each is called on the loop as each part ends, but the last.
	each func()

	timer *quiet.Timer
	due   time.Time // of the part that is waited for
	ended bool
	late  time.Duration
}

// counts is whether a part of a limit that was noticed late says anything of the server.
func counts(part, late time.Duration) bool { return late <= part/lateShare }

// deadline calls passed on the loop when a limit has passed in which this process worked. unread, if set, says that
// something has come in that we have not read.
func (l *loop) deadline(limit time.Duration, unread func() bool, passed func()) *deadline {
	left := max(deadlineParts, int((limit+longestPart-1)/longestPart))
	d := &deadline{loop: l, part: limit / time.Duration(left), left: left, unread: unread, passed: passed}
	d.more = int(patience / d.part)
	d.wait()
	return d
}

func (d *deadline) wait() {
	due := time.Now().Add(d.part)
	d.due = due
	d.timer = d.loop.clock.AfterFunc(d.part, func() {
		runtime.Gosched() // behind all that wait for their turn, as an answer from the network does
		d.loop.post(func() {
			if !d.ended {
				d.over(sub(time.Now(), due))
			}
		})
	})
}

// over takes the end of a part, and how late it was noticed.
func (d *deadline) over(late time.Duration) {
	d.late += late
	d.loop.lateness(late)
	if !counts(d.part, late) && d.more > 0 {
		d.late += d.part
		d.left, d.more = d.left+1, d.more-1
	}
	if d.left--; d.left == 0 && d.more > 0 && d.unread != nil && d.unread() {
		d.left, d.more = 1, d.more-1
	}
	if d.left > 0 {
		d.wait()
		if d.each != nil {
			d.each()
		}
		return
	}
	d.ended = true
	d.passed()
}

// stop ends it. A nil one is stopped already.
func (d *deadline) stop() {
	if d != nil {
		d.ended = true
		d.timer.Stop()
	}
}

// slept is how much of the time since it was set does not count: what this process was late by, and the parts it was late in. A process
// that wakes finds the end of a part and the answer at once: where the answer is looked at first, the part counts here all the same.
func (d *deadline) slept() time.Duration {
	if d == nil {
		return 0
	}
	late := sub(time.Now(), d.due)
	switch {
	case late <= 0:
		return d.late
	case counts(d.part, late):
		return d.late + late
	}
	return d.late + late + d.part
}
