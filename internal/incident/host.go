package incident

import "time"

const (
	// fullRatio and fullBytes are when a volume counts as full: a file system keeps some blocks for itself.
	fullRatio = 0.995
	fullBytes = 16 << 20
)

// Volume makes facts of a measurement of a volume: nothing of one with room that can be written to.
func Volume(at time.Time, name string, used, available uint64, readOnly bool) (facts []Fact) {
	if fact, full := fullVolume(at, name, used, available); full {
		facts = append(facts, fact)
	}
	if readOnly {
		facts = append(facts, Fact{At: at.UTC(), Kind: VolumeReadOnly, Name: name})
	}
	return facts
}

func fullVolume(at time.Time, name string, used, available uint64) (f Fact, full bool) {
	ratio := 1.0
	if all := used + available; all > 0 {
		ratio = float64(used) / float64(all)
	}
	return Fact{At: at.UTC(), Kind: VolumeFull, Name: name, Value: ratio}, used+available > 0 &&
		(ratio >= fullRatio || ratio > 0.9 && available < fullBytes)
}
