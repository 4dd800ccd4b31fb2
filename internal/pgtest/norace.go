//go:build !race

package pgtest

// detector is how many times as long our own code takes because of the race detector, which is off.
const detector = 1
