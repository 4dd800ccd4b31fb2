package pgtest

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// mostPatience bounds what is read from the machine: a test that will never pass should end some day.
const mostPatience = 10

// Patience is how long to wait, on this machine now, for what takes up to d on a quiet one. Every wait of a test goes
// through it: one that ends as soon as its condition holds costs nothing, however patient it is.
//
// The factor is $PGTEST_PATIENCE, such as 4; without it, it is 1 and the processes that want a core, for each core, so that
// a test passes beside other work, too. The race detector multiplies either.
func Patience(d time.Duration) time.Duration {
	return time.Duration(float64(d) * RaceFactor * patience(os.Getenv("PGTEST_PATIENCE"), loadAverage(), runtime.NumCPU()))
}

func patience(set, loadAverage string, cores int) float64 {
	if factor, err := strconv.ParseFloat(set, 64); err == nil && factor > 0 {
		return factor
	}
	return min(1+wanting(loadAverage)/float64(max(cores, 1)), mostPatience)
}

// wanting is how many processes want a core, of Linux' /proc/loadavg ("0.20 0.18 0.12 3/80 11206"): the mean of the last
// minute, or those of this moment but us where they are more. It is 0 where that is unknown.
func wanting(loadAverage string) float64 {
	var mean, skip, running float64
	if _, err := fmt.Sscanf(strings.ReplaceAll(loadAverage, "/", " "), "%f %f %f %f", &mean, &skip, &skip, &running); err != nil {
		return 0
	}
	return max(mean, running-1)
}

func loadAverage() string {
	text, _ := os.ReadFile("/proc/loadavg") // there is none but on Linux
	return string(text)
}
