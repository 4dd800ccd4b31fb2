package collector

// DefaultMaxSamples is what one collector may have where Options say nothing.
const DefaultMaxSamples = 50_000

const (
	// textPerSample is the text of labels that a sample may have, on average over a collector, in bytes.
	textPerSample = 100
	// labelLimit bounds one label's text, in bytes: a name in PostgreSQL has 63.
	labelLimit = 1000
	// nameLimit bounds a metric's name that comes from a column.
	nameLimit = 200
	// liveBytes is what the server may send for all live queries of a page, and backgroundBytes what it may send for one query in the
	// background. What is read is not kept: samples are, up to the room there is.
	liveBytes       = 32 << 20
	backgroundBytes = 64 << 20
)

// room is how many samples, and how much text of their labels, may still be kept.
type room struct{ samples, text int }

func roomFor(samples int) *room { return &room{samples: samples, text: samples * textPerSample} }

// onAPage is the room for all collectors of a server together. It is a fifth more than one may have, so that one without end leaves
// the others theirs.
func onAPage(maxSamples int) *room { return roomFor(maxSamples + maxSamples/5) }

// take keeps one sample's place, in every room it must fit into, or says that one of them is full.
func take(text int, rooms ...*room) bool {
	for _, r := range rooms {
		if r.samples < 1 || r.text < text {
			return false
		}
	}
	for _, r := range rooms {
		r.samples, r.text = r.samples-1, r.text-text
	}
	return true
}
