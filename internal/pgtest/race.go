//go:build race

package pgtest

// RaceFactor is how many times the time and the memory our own code takes with the race detector, about.
const RaceFactor = 4
