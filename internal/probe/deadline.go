package probe

import (
	"time"
)

// deadlineParts is how many waits a deadline consists of.
const deadlineParts = 8

// deadline is a limit on waiting that does not blame the server for what this process slept through: a machine that is
// full, or a process that was stopped, fires its timers late. The limit is waited for in parts, each begun when the one before
// was noticed, so that time in which we could not have noticed an answer counts but once for each part. It belongs to the loop's goroutine.
type deadline struct {
	loop *loop
	part time.Duration
	left int
	// more is how many parts may be added while an answer lies in the socket that we have not come to read.
	more   int
	unread func() bool
	passed func()

	timer *time.Timer
	ended bool
	late  time.Duration
}

// deadline calls passed on the loop when a limit has passed in which this process worked. unread, if set, says that
// something has come in that we have not read.
func (l *loop) deadline(limit time.Duration, unread func() bool, passed func()) *deadline {
	d := &deadline{loop: l, part: limit / deadlineParts, left: deadlineParts, unread: unread, passed: passed}
	d.more = int(patience / d.part)
	d.wait()
	return d
}

func (d *deadline) wait() {
	due := time.Now().Add(d.part)
	d.timer = time.AfterFunc(d.part, func() {
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
	if d.left--; d.left == 0 && d.more > 0 && d.unread != nil && d.unread() {
		d.left, d.more = 1, d.more-1
	}
	if d.left > 0 {
		d.wait()
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

// slept is how much of the time since it was set this process was late by.
func (d *deadline) slept() time.Duration {
	if d == nil {
		return 0
	}
	return d.late
}
