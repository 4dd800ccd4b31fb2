//go:build !race

package pgtest

// RaceFactor is how many times the time and the memory our own code takes because of the race detector, which is off.
const RaceFactor = 1
