package metric

// textPerSample is the text of labels that a sample may have, on average over a collector, in bytes.
const textPerSample = 100

// Room is how many samples, and how much text of their labels in bytes, may still be kept.
type Room struct{ Samples, Text int }

// RoomFor is the room for so many samples with labels of a usual length.
func RoomFor(samples int) *Room { return &Room{Samples: samples, Text: samples * textPerSample} }

// Take keeps one sample's place, in every room it must fit into, or says that one of them is full.
func Take(text int, rooms ...*Room) bool {
	for _, r := range rooms {
		if r.Samples < 1 || r.Text < text {
			return false
		}
	}
	for _, r := range rooms {
		r.Samples, r.Text = r.Samples-1, r.Text-text
	}
	return true
}
