package main

import (
	"math"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/internal/host"
)

func TestMemoryForSamplesFollowsTheTightestLimit(t *testing.T) {
	const gb = int64(1 << 30)
	for name, tc := range map[string]struct {
		heap   int64
		memory host.Memory
		of     int64
	}{
		"nothing is known":           {math.MaxInt64, host.Memory{}, 2 * gb},
		"a large machine":            {math.MaxInt64, host.Memory{Machine: 64 * gb}, 2 * gb},
		"a small machine":            {math.MaxInt64, host.Memory{Machine: gb}, gb / 2},
		"a container":                {math.MaxInt64, host.Memory{Machine: 64 * gb, Limit: gb / 8}, gb / 8},
		"GOMEMLIMIT":                 {gb / 4, host.Memory{Machine: 64 * gb}, gb / 4},
		"GOMEMLIMIT of a container":  {gb / 10, host.Memory{Machine: 64 * gb, Limit: gb / 8}, gb / 10},
		"GOMEMLIMIT above the limit": {4 * gb, host.Memory{Limit: gb / 8}, gb / 8},
	} {
		if got, want := forSamples(tc.heap, tc.memory), tc.of/10*6; got != want {
			t.Errorf("%s: %d MB, want %d", name, got>>20, want>>20)
		}
	}
}
