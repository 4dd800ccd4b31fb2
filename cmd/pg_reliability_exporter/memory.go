package main

import (
	"math"
	"runtime/debug"

	"github.com/pg-reliability/pg_reliability_exporter/internal/host"
	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

const (
	// unboundedMemory is what we take for ours where nothing bounds it, on a machine that has twice that and more.
	unboundedMemory = 2 << 30
	// samplesTenths of the memory is for samples; the rest is for the program, connections, and pages on their way.
	samplesTenths = 6
	// heapTenths of the container's or service's limit is where the garbage collector begins to work as hard as it can.
	heapTenths = 9
)

// boundHeap makes the garbage collector heed the limit that the kernel would kill us at.
func boundHeap(m host.Memory) {
	if m.Limit > 0 {
		debug.SetMemoryLimit(m.Limit / 10 * heapTenths)
	}
}

// memory is the budget of all servers' samples.
func (f *flags) memory() *metric.Budget {
	if f.maxMemory > 0 {
		return metric.NewBudget(int64(f.maxMemory))
	}
	return metric.NewBudget(forSamples(debug.SetMemoryLimit(-1), host.OwnMemory("", "")))
}

// forSamples is the memory for samples, in bytes, where the garbage collector heeds a limit, or math.MaxInt64 for none.
func forSamples(heap int64, m host.Memory) int64 {
	if heap == math.MaxInt64 && m.Limit == 0 {
		if m.Machine > 0 {
			return min(unboundedMemory, m.Machine/2) / 10 * samplesTenths
		}
		return unboundedMemory / 10 * samplesTenths
	}
	ours := heap
	if m.Limit > 0 {
		ours = min(ours, m.Limit)
	}
	return ours / 10 * samplesTenths
}
