//go:build race

package pgtest

// detector is how many times as long our own code takes with the race detector.
const detector = 4
