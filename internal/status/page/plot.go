package page

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

// The plots' own units: they are stretched to the width there is, so no text is in them.
const (
	plotWidth   = 600.0
	plotHeight  = 100.0
	stripHeight = 24.0
)

// plot is what the template draws of one window.
type plot struct {
	Width, Height, Strip float64
	// Latency is an area up to the 95th percentile and a line of the median; empty where nothing was measured.
	P95, P50 template.HTMLAttr
	// Top is the latency at the upper edge.
	Top float64
	// Bars are availability, one a bucket.
	Bars []bar
	// Alternative says the same in words.
	Alternative string
}

// bar is one bucket: down from the top, then unknown, then up.
type bar struct {
	X, Width                         float64
	Down, Unknown, UpY, Up, UnknownY float64
	Title                            string
}

func newPlot(w window) plot {
	p := plot{Width: plotWidth, Height: plotHeight, Strip: stripHeight, Alternative: alternative(w)}
	buckets := w.Series.Buckets
	if len(buckets) == 0 {
		return p
	}
	p.Top = top(buckets)
	step := plotWidth / float64(len(buckets))
	p.P95 = path(area(buckets, step, p.Top, func(b status.Bucket) *float64 { return b.P95Seconds }))
	p.P50 = path(line(buckets, step, p.Top, func(b status.Bucket) *float64 { return b.P50Seconds }))
	for i, b := range buckets {
		p.Bars = append(p.Bars, newBar(b, float64(i)*step, step, w.Series.BucketSeconds))
	}
	return p
}

// top is a round number above every 95th percentile.
func top(buckets []status.Bucket) float64 {
	highest := 0.0
	for _, b := range buckets {
		if b.P95Seconds != nil {
			highest = max(highest, *b.P95Seconds)
		}
	}
	if highest == 0 {
		return 0
	}
	unit := math.Pow(10, math.Floor(math.Log10(highest)))
	for _, factor := range []float64{1, 2, 5, 10} {
		if highest <= factor*unit {
			return factor * unit
		}
	}
	return 10 * unit
}

// runs are the stretches of buckets that have a value.
func runs(buckets []status.Bucket, value func(status.Bucket) *float64) [][]int {
	var out [][]int
	for i, b := range buckets {
		switch {
		case value(b) == nil:
		case i > 0 && value(buckets[i-1]) != nil:
			out[len(out)-1] = append(out[len(out)-1], i)
		default:
			out = append(out, []int{i})
		}
	}
	return out
}

// line goes through the buckets' middles; one alone is as wide as its bucket.
func line(buckets []status.Bucket, step, top float64, value func(status.Bucket) *float64) string {
	var d strings.Builder
	for _, run := range runs(buckets, value) {
		first, last := run[0], run[len(run)-1]
		fmt.Fprintf(&d, "M%.1f %.1f", float64(first)*step, height(*value(buckets[first]), top))
		for _, i := range run {
			fmt.Fprintf(&d, "L%.1f %.1f", (float64(i)+0.5)*step, height(*value(buckets[i]), top))
		}
		fmt.Fprintf(&d, "L%.1f %.1f", float64(last+1)*step, height(*value(buckets[last]), top))
	}
	return d.String()
}

// area is under such a line.
func area(buckets []status.Bucket, step, top float64, value func(status.Bucket) *float64) string {
	var d strings.Builder
	for _, run := range runs(buckets, value) {
		first, last := run[0], run[len(run)-1]
		fmt.Fprintf(&d, "M%.1f %.1f", float64(first)*step, plotHeight)
		fmt.Fprintf(&d, "L%.1f %.1f", float64(first)*step, height(*value(buckets[first]), top))
		for _, i := range run {
			fmt.Fprintf(&d, "L%.1f %.1f", (float64(i)+0.5)*step, height(*value(buckets[i]), top))
		}
		fmt.Fprintf(&d, "L%.1f %.1fL%.1f %.1fZ", float64(last+1)*step, height(*value(buckets[last]), top), float64(last+1)*step, plotHeight)
	}
	return d.String()
}

func height(value, top float64) float64 { return plotHeight - plotHeight*min(value/top, 1) }

// path is an attribute of digits and letters of our own making.
func path(d string) template.HTMLAttr {
	if d == "" {
		return ""
	}
	return template.HTMLAttr(`d="` + d + `"`) //nolint:gosec // see above
}

// leastDown is how much of a bar is red at least when its bucket has any downtime: 4 s of 6 h must be seen.
const leastDown = 0.4

func newBar(b status.Bucket, x, step, width float64) bar {
	gap := min(1, step/6)
	out := bar{X: x + gap/2, Width: step - gap, Title: barTitle(b, width)}
	passed := b.UpSeconds + b.DownSeconds + b.UnknownSeconds
	if passed <= 0 {
		return out
	}
	down, unknown := b.DownSeconds/passed, b.UnknownSeconds/passed
	if b.DownSeconds > 0 {
		down = max(down, leastDown)
	}
	if b.UpSeconds > 0 && unknown > 0.02 {
		unknown = min(unknown, 1-down-0.2)
	}
	unknown = max(0, min(unknown, 1-down))
	if unknown < 0.02 {
		unknown = 0
	}
	out.Down, out.Unknown = down*stripHeight, unknown*stripHeight
	out.UnknownY, out.UpY = out.Down, out.Down+out.Unknown
	out.Up = stripHeight - out.UpY
	return out
}

func barTitle(b status.Bucket, width float64) string {
	layout := "15:04"
	if width >= 3600 {
		layout = "Jan 2 15:04"
	}
	end := b.Start.Add(time.Duration(width) * time.Second)
	parts := []string{}
	if b.DownSeconds > 0 {
		parts = append(parts, "down "+status.Lasting(b.DownSeconds))
	}
	if b.UnknownSeconds >= 1 {
		parts = append(parts, "not observed "+status.Lasting(b.UnknownSeconds))
	}
	if b.UpSeconds > 0 {
		parts = append(parts, "up "+status.Lasting(b.UpSeconds))
	}
	if b.P50Seconds != nil {
		parts = append(parts, "median "+status.Lasting(*b.P50Seconds), "95 % within "+status.Lasting(status.OrZero(b.P95Seconds)))
	}
	return fmt.Sprintf("%s–%s UTC: %s", b.Start.UTC().Format(layout), end.UTC().Format("15:04"), strings.Join(parts, ", "))
}

// alternative is the plot in words.
func alternative(w window) string {
	s := w.Sum
	if s.Ratio == nil {
		return w.Title + ": nothing was observed."
	}
	text := fmt.Sprintf("%s: available %s of the time observed, down %s, not observed %s.", w.Title, status.Percent(*s.Ratio),
		status.Lasting(s.DownSeconds), status.Lasting(s.UnknownSeconds))
	if s.P50Seconds != nil {
		text += fmt.Sprintf(" Queries of the prober took %s in the median, 95 %% of them at most %s, the longest %s.",
			status.Lasting(*s.P50Seconds),
			status.Lasting(status.OrZero(s.P95Seconds)), status.Lasting(status.OrZero(s.MaxSeconds)))
	}
	return text
}

// segment is a part of a bar of connections.
type segment struct {
	Name  string
	Count int64
}

// states lists the connections' states that occur, the most frequent first.
func states(c *status.Connections) []segment {
	var out []segment
	for name, n := range c.ByState {
		if n > 0 {
			out = append(out, segment{name, n})
		}
	}
	slices.SortFunc(out, func(a, b segment) int {
		if a.Count != b.Count {
			return int(b.Count - a.Count)
		}
		return strings.Compare(a.Name, b.Name)
	})
	return out
}

// gauge is a bar that is filled to a ratio.
type gauge struct {
	Width float64
	Class string
}

func meter(ratio, warning, critical float64) gauge {
	g := gauge{Width: 100 * min(max(ratio, 0), 1), Class: "fine"}
	switch {
	case ratio > critical:
		g.Class = "bad"
	case ratio > warning:
		g.Class = "careful"
	}
	return g
}
