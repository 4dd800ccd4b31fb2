package probe

import "time"

const (
	// skewWindow is how long a sample of the server's clock may be the best one.
	skewWindow = time.Minute
	// drift is how much two clocks that nobody sets may part in that time.
	drift = 100 * time.Millisecond
)

// Skew is how far the server's clock is ahead of the exporter's; negative when it is behind. The truth lies within
// Uncertainty of Offset: at which moment of the round trip the server read its clock, nobody knows.
type Skew struct {
	At          time.Time
	Offset      time.Duration
	Uncertainty time.Duration
}

// skewOf compares the server's clock with the middle of the round trip in which it was read.
func skewOf(server, asked time.Time, roundTrip time.Duration) Skew {
	half := roundTrip / 2
	return Skew{At: asked.Add(roundTrip), Offset: server.Sub(asked.Add(half).Round(0)), Uncertainty: half}
}

// skews keeps the samples that are, or may yet be, the best of a minute: those with the shortest round trip. The
// oldest is the best one, each later one is worse than those before. Samples that can't be true beside a newer one are of before a clock
// was set.
type skews []Skew

func (s skews) add(n Skew) skews {
	kept := make(skews, 0, len(s)+1)
	for _, o := range s {
		agree := (o.Offset - n.Offset).Abs() <= o.Uncertainty+n.Uncertainty+drift
		if agree && o.Uncertainty < n.Uncertainty && n.At.Sub(o.At) < skewWindow {
			kept = append(kept, o)
		}
	}
	return append(kept, n)
}

// best is the sample with the shortest round trip; zero before the first.
func (s skews) best() Skew {
	if len(s) == 0 {
		return Skew{}
	}
	return s[0]
}
