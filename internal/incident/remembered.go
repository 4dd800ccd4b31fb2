package incident

import (
	"slices"
	"time"
)

// keepFor is how long evidence is remembered in case that an incident begins.
const keepFor = 2 * Before

// remembered is evidence of one kind from the last minutes, the newest of it.
type remembered[T any] struct {
	list []T
	most int
	at   func(T) time.Time
}

// add remembers x, and lets go of what is old, or too much.
func (t *remembered[T]) add(x T, now time.Time) {
	t.list = append(t.list, x)
	drop := max(0, len(t.list)-t.most)
	for drop < len(t.list) && now.Sub(t.at(t.list[drop])) > keepFor {
		drop++
	}
	if drop > 0 {
		t.list = slices.Delete(t.list, 0, drop)
	}
}

// since is a copy of what is remembered from then on.
func (t *remembered[T]) since(from time.Time) []T {
	out := []T{}
	for _, x := range t.list {
		if !t.at(x).Before(from) {
			out = append(out, x)
		}
	}
	return out
}
