package monitor

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

// span is a length of time in the two units that matter.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + span(d.Abs()) // of the least one, too, which has no opposite
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d d %d h", int(d.Hours())/24, int(d.Hours())%24)
}

func seconds(s float64) time.Duration {
	if s > math.MaxInt64/1e9 {
		return math.MaxInt64
	}
	return time.Duration(s * 1e9)
}

// latency is a short time.
func latency(s *float64) string {
	switch {
	case s == nil:
		return "?"
	case *s < 0.00995:
		return fmt.Sprintf("%.1f ms", *s*1e3)
	case *s < 1:
		return fmt.Sprintf("%.0f ms", *s*1e3)
	}
	return fmt.Sprintf("%.1f s", *s)
}

// size is bytes in units of 1000, as disks are sold and as Grafana's boards of ours show them.
func size(bytes int64) string {
	units := []string{"B", "kB", "MB", "GB", "TB", "PB"}
	v, u := float64(bytes), 0
	for v >= 999.5 && u < len(units)-1 {
		v, u = v/1000, u+1
	}
	if u == 0 || v >= 99.5 {
		return fmt.Sprintf("%.0f %s", v, units[u])
	}
	return fmt.Sprintf("%.1f %s", v, units[u])
}

func percent(ratio *float64) string {
	if ratio == nil {
		return "?"
	}
	return status.Percent(*ratio)
}

// bar of so many characters.
func (st style) bar(ratio float64, width int) string {
	full := int(math.Round(max(0, min(1, ratio)) * float64(width)))
	on, off := "█", "░"
	if st.ascii {
		on, off = "#", "."
	}
	return strings.Repeat(on, full) + strings.Repeat(off, width-full)
}

// spark draws the newest samples. The scale is fixed and logarithmic, from 0.1 ms to 1 s, so that the same height
// always means the same latency; x is a probe that failed, a gap one that nobody knows of.
func (st style) spark(samples []sample, width int) string {
	levels := []rune("▁▂▃▄▅▆▇█")
	if st.ascii {
		levels = []rune("_.-=+*%#")
	}
	var b strings.Builder
	for _, s := range samples[max(0, len(samples)-width):] {
		switch {
		case !s.known:
			b.WriteRune(' ')
		case !s.ok:
			b.WriteRune('x')
		default:
			at := (math.Log10(max(s.seconds, 1e-4)) + 4) / 4 * float64(len(levels)-1)
			b.WriteRune(levels[min(len(levels)-1, int(math.Round(at)))])
		}
	}
	return b.String()
}

// ago is how long ago, or in how long, in one unit.
func ago(now, t time.Time) string {
	if t.After(now) {
		return "in " + rough(t.Sub(now))
	}
	return rough(now.Sub(t)) + " ago"
}

func rough(d time.Duration) string {
	switch {
	case d < 100*time.Second:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 100*time.Minute:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d d", int(d.Hours())/24)
}
