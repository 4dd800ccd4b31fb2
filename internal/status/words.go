package status

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Lasting is a length of time for people, in at most two units: 1.5 s, 42 s, 3 min 20 s, 5 h 10 min, 2 d 4 h.
func Lasting(seconds float64) string {
	switch whole := int64(math.Round(seconds)); {
	case seconds < 0:
		return "-" + Lasting(-seconds)
	case seconds < 0.0095:
		return trimmed(seconds*1e3, 2) + " ms"
	case seconds < 0.9995:
		return trimmed(seconds*1e3, 0) + " ms"
	case seconds < 9.95:
		return trimmed(seconds, 1) + " s"
	case whole < 60:
		return fmt.Sprintf("%d s", whole)
	case whole < 3600:
		return twoUnits(whole, 60, "min", "s")
	case whole < 24*3600:
		return twoUnits(whole/60, 60, "h", "min")
	default:
		return twoUnits(whole/3600, 24, "d", "h")
	}
}

func twoUnits(n, per int64, large, small string) string {
	if n%per == 0 {
		return fmt.Sprintf("%d %s", n/per, large)
	}
	return fmt.Sprintf("%d %s %d %s", n/per, large, n%per, small)
}

// Size is a number of bytes for people: 512 B, 1.5 GiB.
func Size(bytes int64) string {
	if bytes < 0 {
		return "-" + Size(-max(bytes, -math.MaxInt64)) // the least one has no opposite
	}
	n, unit := float64(bytes), 0
	units := [...]string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	for n >= 1000 && unit < len(units)-1 {
		n, unit = n/1024, unit+1
	}
	if n < 10 {
		return trimmed(n, 1) + " " + units[unit]
	}
	return trimmed(n, 0) + " " + units[unit]
}

// Percent is a ratio for people. It is cut and not rounded, so that 99.8951 % is not taken for an objective of 99.9 %, and what
// was down for a moment shows as 99.99 % or as many nines as it takes.
func Percent(ratio float64) string {
	if ratio <= 0 || ratio >= 1 {
		return trimmed(ratio*100, 2) + " %"
	}
	for digits := 2; digits < 6; digits++ {
		if trimmed(ratio*100, digits) != "100" {
			factor := math.Pow(10, float64(digits))
			return trimmed(math.Floor(ratio*100*factor+1e-6)/factor, digits) + " %" // 0.57 * 100 is a little less than 57
		}
	}
	return "99.999999 %"
}

// Moment is a time for people, in UTC.
func Moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" }

// Brief is a moment near to now, in UTC without saying so.
func Brief(now, t time.Time) string {
	layout := "Jan 2 15:04:05"
	if now.Sub(t).Abs() > 300*24*time.Hour {
		layout = "2006-01-02 15:04"
	}
	return t.UTC().Format(layout)
}

// Restarted says in words what restarts belong to an outage, empty where none do. With its container the server was started
// anew, too.
func (o Outage) Restarted() string {
	words := map[string]string{
		"restart": "server restarted", "crash": "crash", "failover": "failover", "promotion": "promoted", "demotion": "demoted",
		"container": "container restarted",
	}
	var parts []string
	for _, kind := range o.Restarts {
		if kind == "restart" && slices.Contains(o.Restarts, "container") {
			continue
		}
		parts = append(parts, cmp.Or(words[kind], kind))
	}
	return strings.Join(parts, ", ")
}

// trimmed has at most so many digits after the point, without zeros at the end.
func trimmed(n float64, digits int) string {
	factor := math.Pow(10, float64(digits))
	return strconv.FormatFloat(math.Round(n*factor)/factor, 'f', -1, 64)
}
