package pgtest

import (
	"testing"
	"time"
)

func TestPatienceGrowsWithTheMachinesLoad(t *testing.T) {
	for name, tc := range map[string]struct {
		set, load string
		cores     int
		want      float64
	}{
		"quiet":                       {"", "0.00 0.01 0.05 1/80 11206", 2, 1},
		"one process a core":          {"", "2.00 9.00 9.00 1/80 11206", 2, 2},
		"the mean is late":            {"", "0.50 0.20 0.10 7/80 11206", 2, 4},
		"twenty on two cores":         {"", "20.0 18.0 12.0 3/80 11206", 2, mostPatience},
		"without /proc":               {"", "", 8, 1},
		"set":                         {"2.5", "20.0 18.0 12.0 3/80 11206", 2, 2.5},
		"set beyond what load may do": {"30", "", 2, 30},
		"nonsense is not set":         {"much", "", 2, 1},
		"nothing is not set":          {"0", "", 2, 1},
	} {
		if got := patience(tc.set, tc.load, tc.cores); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

func TestWaitsScale(t *testing.T) {
	t.Setenv("PGTEST_PATIENCE", "3")
	if got := Patience(20 * time.Second); got != RaceFactor*time.Minute {
		t.Errorf("20s became %s, want 3 times that, and %d times with the race detector", got, RaceFactor)
	}
}
