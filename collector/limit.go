package collector

import "github.com/pg-reliability/pg_reliability_exporter/internal/metric"

// DefaultMaxSamples is what one collector may have where Options say nothing.
const DefaultMaxSamples = 50_000

const (
	// liveBytes is what the server may send for all live queries of a page, and backgroundBytes what it may send for one query in the
	// background. What is read is not kept: samples are, up to the room there is.
	liveBytes       = 32 << 20
	backgroundBytes = 64 << 20
)

// onAPage is the room for all collectors of a server together. It is a fifth more than one may have, so that one without end leaves
// the others theirs.
func onAPage(maxSamples int) *metric.Room { return metric.RoomFor(maxSamples + maxSamples/5) }
