package probe

import (
	"math"
	"sync"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

const (
	// historyBins are the bins of latency: five to a factor of ten, from 50 µs to 5 s, and one for what is slower. The
	// quantiles made of them are off by less than a third, and by far less where latencies spread evenly.
	historyBins = 26
	firstBin    = 50 * time.Microsecond

	// gapSlack is how much later than expected the next report may come before the time between counts as not observed:
	// we were stopped, or the machine slept.
	gapSlack = 5 * time.Second
	// clockSlack is how far the system's clock may move against the monotonic one and still count as the same.
	clockSlack = time.Second
)

// history is when the database was up and down, and how fast it answered: fixed arrays of 31 KB, whatever happens.
// Time that nobody observed is neither up nor down. It is safe for concurrent use.
type history struct {
	maxGap time.Duration

	mu    sync.Mutex
	rings [3]ring
	// last is the moment up to which time is accounted for, zero at the beginning; down is what holds since.
	last time.Time
	down bool
}

// ring holds the newest buckets of one width. A slot is taken over by the bucket that comes a whole round later.
type ring struct {
	width   uint32 // seconds
	buckets []bucket
}

// bucket is one stretch of time. Its place in time is always a multiple of its width since 1970.
type bucket struct {
	start    uint32 // seconds since 1970; 0 is empty
	up, down uint32 // milliseconds
	max      uint32 // microseconds
	bins     [historyBins]uint32
}

// Widths in seconds and numbers of the buckets of the hour, the day and 30 days, the newest not full yet. They are part of
// the file's format.
const (
	minuteWidth  = 60
	quarterWidth = 900
	sixthWidth   = 21600

	hourBuckets  = 60
	dayBuckets   = 96
	monthBuckets = 120
)

func newHistory(maxGap time.Duration) *history {
	return &history{maxGap: maxGap, rings: [3]ring{
		{width: minuteWidth, buckets: make([]bucket, hourBuckets)},
		{width: quarterWidth, buckets: make([]bucket, dayBuckets)},
		{width: sixthWidth, buckets: make([]bucket, monthBuckets)},
	}}
}

// observe takes what holds after a probe that ended at a moment. outage is the start of the one that began with this
// probe, zero when none did: it may lie before what was accounted for as up.
func (h *history) observe(at time.Time, down bool, outage time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last.IsZero() && !outage.IsZero() {
		h.last = outage
	}
	from := h.resume(at)
	if outage.IsZero() || outage.After(at) {
		h.account(from, at, h.down)
	} else {
		h.retract(outage, from)
		h.account(from, outage, h.down)
		h.account(later(from, outage), at, true)
	}
	h.last, h.down = at, down
}

// resume is where accounting goes on: where it stopped, or later when there is a gap, in the clock's present time.
func (h *history) resume(at time.Time) time.Time {
	if h.last.IsZero() {
		return at
	}
	passed := at.Sub(h.last)                  // by the monotonic clock
	shown := at.Round(0).Sub(h.last.Round(0)) // by the system's
	if shown < -clockSlack {
		h.forgetAfter(at)
	}
	switch {
	case passed > h.maxGap || passed < 0:
		return at
	case shown-passed > clockSlack || passed-shown > clockSlack:
		return at.Add(-passed)
	}
	return h.last
}

// forgetAfter drops what lies in the future since the clock was set back: that time comes again.
func (h *history) forgetAfter(now time.Time) {
	for _, r := range h.rings {
		for i := range r.buckets {
			if int64(r.buckets[i].start) > now.Unix() {
				r.buckets[i] = bucket{}
			}
		}
	}
}

// account adds a stretch of time as up or down.
func (h *history) account(from, to time.Time, down bool) {
	h.split(from, to, func(b *bucket, room, ms uint32) {
		ms = min(ms, room) // a clock that was set back a little lives a moment twice
		if down {
			b.down += ms
		} else {
			b.up += ms
		}
	})
}

// retract turns time that was taken for up into down.
func (h *history) retract(from, to time.Time) {
	h.split(from, to, func(b *bucket, _, ms uint32) {
		ms = min(ms, b.up)
		b.up -= ms
		b.down += ms
	})
}

// split calls do for each bucket a stretch of time lies in, with the milliseconds that bucket still has room for and
// those of the stretch in it.
func (h *history) split(from, to time.Time, do func(b *bucket, room, ms uint32)) {
	for _, r := range h.rings {
		width := int64(r.width) * 1000
		start := max(from.UnixMilli(), to.UnixMilli()-width*int64(len(r.buckets)))
		for start < to.UnixMilli() {
			end := min(to.UnixMilli(), start-start%width+width)
			b := r.at(start / 1000)
			do(b, uint32(width)-b.up-b.down, uint32(end-start)) //nolint:gosec // less than a width
			start = end
		}
	}
}

// answered takes the latency of a read probe that succeeded.
func (h *history) answered(at time.Time, latency time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	micros := uint32(min(max(latency.Microseconds(), 0), math.MaxUint32)) //nolint:gosec // bounded
	for _, r := range h.rings {
		b := r.at(at.Unix())
		b.max = max(b.max, micros)
		if n := &b.bins[binOf(latency)]; *n < math.MaxUint32 {
			*n++
		}
	}
}

// at is the bucket of a second, emptied if it was another's.
func (r ring) at(second int64) *bucket {
	start := uint32(second - second%int64(r.width)) //nolint:gosec // until 2106
	b := &r.buckets[start/r.width%uint32(len(r.buckets))]
	if b.start != start {
		*b = bucket{start: start}
	}
	return b
}

// binOf is the bin of a latency: bin i ends at firstBin * 10^(i/5).
func binOf(latency time.Duration) int {
	if latency <= firstBin {
		return 0
	}
	return min(int(math.Ceil(5*math.Log10(float64(latency)/float64(firstBin)))), historyBins-1)
}

// binEnd is a bin's upper end.
func binEnd(i int) time.Duration {
	return time.Duration(float64(firstBin) * math.Pow(10, float64(i)/5))
}

// join adds what an earlier run has observed.
func (h *history) join(of *history) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, r := range h.rings {
		whole := of.rings[i]
		for _, b := range r.buckets {
			if b.start != 0 {
				whole.at(int64(b.start)).add(b, whole.width)
			}
		}
		h.rings[i] = whole
	}
}

// add takes up another part of the same stretch of time.
func (b *bucket) add(o bucket, width uint32) {
	b.down += min(o.down, width*1000-b.up-b.down)
	b.up += min(o.up, width*1000-b.up-b.down)
	b.max = max(b.max, o.max)
	for i, n := range o.bins {
		b.bins[i] += min(n, math.MaxUint32-b.bins[i])
	}
}

// record folds the outcome of a probe in; before and after are the start of the outage in progress, zero without one.
func (h *history) record(o Outcome, before, after time.Time) {
	if o.Skipped || o.Kind == Write {
		return
	}
	var began time.Time
	if !after.Equal(before) {
		began = after
	}
	h.observe(o.Ended, !after.IsZero(), began)
	if o.Kind == Read && o.Reason == postgres.OK {
		h.answered(o.Ended, sub(o.Ended, o.Started))
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
