package probe

import "time"

// History is when the database was up and down and how fast it answered.
type History struct {
	// Hour, Day and Month are the newest 60 minutes, 96 quarters of an hour and 120 quarters of a day, each without gaps
	// and oldest first; the newest bucket is the one that is not over yet.
	Hour, Day, Month []HistoryBucket
}

// HistoryBucket is one stretch of time, or a whole window. Up, Down and Unknown add up to what has passed of it.
type HistoryBucket struct {
	Start             time.Time
	Up, Down, Unknown time.Duration
	// Probes is how many reads succeeded; P50, P95, P99 and Max of their latencies are 0 when there was none.
	Probes             uint64
	P50, P95, P99, Max time.Duration
}

// Widths of the buckets.
const (
	HourBucket  = minuteWidth * time.Second
	DayBucket   = quarterWidth * time.Second
	MonthBucket = sixthWidth * time.Second
)

// History is what was observed up to now. It waits for no probe.
func (p *Prober) History(now time.Time) History {
	h := p.history
	h.mu.Lock()
	defer h.mu.Unlock()
	return History{Hour: h.rings[0].read(now), Day: h.rings[1].read(now), Month: h.rings[2].read(now)}
}

// HistoryTotals are the same windows, each summed up to one bucket.
func (p *Prober) HistoryTotals(now time.Time) (hour, day, month HistoryBucket) {
	h := p.history
	h.mu.Lock()
	defer h.mu.Unlock()
	var always time.Time
	return h.rings[0].total(now, always), h.rings[1].total(now, always), h.rings[2].total(now, always)
}

// RecentWindow is what Recent looks at.
const RecentWindow = 5 * time.Minute

// Recent are the minutes of the last hour that lie within RecentWindow, summed up.
func (p *Prober) Recent(now time.Time) HistoryBucket {
	h := p.history
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rings[0].total(now, now.Add(-RecentWindow))
}

// read returns all buckets of the window that ends now.
func (r ring) read(now time.Time) []HistoryBucket {
	out := make([]HistoryBucket, 0, len(r.buckets))
	r.each(now, func(b bucket) { out = append(out, b.summary(r.passed(b, now))) })
	return out
}

// total adds up those that begin after a moment.
func (r ring) total(now, after time.Time) HistoryBucket {
	var sum bucket
	var up, down, unknown time.Duration // more than a bucket can hold
	r.each(now, func(b bucket) {
		if !time.Unix(int64(b.start), 0).After(after) {
			return
		}
		if sum.start == 0 {
			sum.start = b.start
		}
		s := b.summary(r.passed(b, now))
		up, down, unknown = up+s.Up, down+s.Down, unknown+s.Unknown
		sum.max = max(sum.max, b.max)
		for i, n := range b.bins {
			sum.bins[i] += n
		}
	})
	out := sum.summary(0)
	out.Up, out.Down, out.Unknown = up, down, unknown
	return out
}

// each calls f for the window's buckets, oldest first; one that was never written to is empty.
func (r ring) each(now time.Time, f func(bucket)) {
	width := int64(r.width)
	newest := now.Unix() - now.Unix()%width
	for start := newest - int64(len(r.buckets)-1)*width; start <= newest; start += width {
		b := bucket{start: uint32(start)} //nolint:gosec // until 2106
		if kept := r.buckets[start/width%int64(len(r.buckets))]; kept.start == b.start {
			b = kept
		}
		f(b)
	}
}

// passed is how much of a bucket is over.
func (r ring) passed(b bucket, now time.Time) time.Duration {
	return min(now.Sub(time.Unix(int64(b.start), 0)), time.Duration(r.width)*time.Second)
}

func (b bucket) summary(passed time.Duration) HistoryBucket {
	s := HistoryBucket{Start: time.Unix(int64(b.start), 0).UTC()}
	// A clock that was set back lives a time twice; that must not make more of it.
	s.Down = min(millis(b.down), passed)
	s.Up = min(millis(b.up), passed-s.Down)
	s.Unknown = passed - s.Up - s.Down
	for _, n := range b.bins {
		s.Probes += uint64(n)
	}
	if s.Probes > 0 {
		s.Max = time.Duration(b.max) * time.Microsecond
		s.P50, s.P95, s.P99 = b.quantile(0.5, s.Probes), b.quantile(0.95, s.Probes), b.quantile(0.99, s.Probes)
	}
	return s
}

// quantile takes the latencies of one bin as spread evenly.
func (b bucket) quantile(q float64, probes uint64) time.Duration {
	longest := time.Duration(b.max) * time.Microsecond
	rank, below := q*float64(probes), 0.0
	for i, n := range b.bins {
		if below+float64(n) < rank || n == 0 {
			below += float64(n)
			continue
		}
		var low time.Duration
		if i > 0 {
			low = binEnd(i - 1)
		}
		high := min(binEnd(i), longest)
		if i == historyBins-1 {
			high = longest
		}
		return min(low+time.Duration(float64(high-low)*(rank-below)/float64(n)), longest)
	}
	return longest
}

func millis(n uint32) time.Duration { return time.Duration(n) * time.Millisecond }
