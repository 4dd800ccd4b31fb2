package sessions

import (
	"testing"
	"time"
)

// The ring keeps the newest samples in their order, and has no room that it never needs: each server of a fleet has one.
func TestHistoryHasNoRoomBeside(t *testing.T) {
	var h history
	began := time.Unix(1_000_000, 0)
	for i := range 2*maxKept + 7 {
		h.add(Sample{At: began.Add(time.Duration(i) * time.Second), Used: i})
		if cap(h.ring) > maxKept {
			t.Fatalf("room for %d records after %d samples", cap(h.ring), i+1)
		}
		kept := h.since(time.Time{})
		if want := min(i+1, maxKept); len(kept) != want || kept[0].Used != i+1-want || kept[len(kept)-1].Used != i {
			t.Fatalf("after %d samples there are %d, from %d to %d", i+1, len(kept), kept[0].Used, kept[len(kept)-1].Used)
		}
	}
}
