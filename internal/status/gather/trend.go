package gather

import (
	"slices"
	"sync"
	"time"
)

const (
	// trendEvery is how often a volume's use is remembered, trendPoints how many of them: an hour.
	trendEvery  = time.Minute
	trendPoints = 60
	// trendLeast is how long a volume must have been watched.
	trendLeast = 10 * time.Minute
	// trendWarns is how long before a trend is a problem: a single large file is none.
	trendWarns = 30 * time.Minute
	// longestForecast is beyond what an hour can tell.
	longestForecast = 365 * 24 * time.Hour
)

// Trends remembers the use of each volume over the last hour, 1 KB each. It is not kept on disk: after a start it takes ten
// minutes until there is a trend.
type Trends struct {
	now func() time.Time

	mu      sync.Mutex
	volumes map[string][]point // oldest first
}

type point struct {
	at        time.Time
	available uint64
}

type trend struct {
	growth float64 // bytes a second by which the available space shrinks
	over   time.Duration
}

// NewTrends makes one that knows nothing yet.
func NewTrends(now func() time.Time) *Trends { return &Trends{now: now, volumes: map[string][]point{}} }

// Observe takes what source.Volumes has measured.
func (t *Trends) Observe(volume string, _, available uint64) {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	points := t.volumes[volume]
	if n := len(points); n > 0 {
		switch since := now.Sub(points[n-1].at); {
		case since < 0: // the clock was set back
			points = nil
		case since < trendEvery:
			return
		}
	}
	if len(points) == trendPoints {
		points = slices.Delete(points, 0, 1)
	}
	t.volumes[volume] = append(points, point{now, available})
}

// of is the straight line nearest to the points of the last hour.
func (t *Trends) of(volume string) (trend, bool) {
	if t == nil {
		return trend{}, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	points := t.volumes[volume]
	if len(points) < 2 {
		return trend{}, false
	}
	first, last := points[0], points[len(points)-1]
	over := last.at.Sub(first.at)
	if over < trendLeast {
		return trend{}, false
	}
	var sumX, sumY, sumXY, sumXX float64
	for _, p := range points {
		x, y := p.at.Sub(first.at).Seconds(), float64(first.available)-float64(p.available)
		sumX, sumY, sumXY, sumXX = sumX+x, sumY+y, sumXY+x*y, sumXX+x*x
	}
	n := float64(len(points))
	return trend{growth: (n*sumXY - sumX*sumY) / (n*sumXX - sumX*sumX), over: over}, true
}
