package serverlog

import "time"

// Parse reads a piece of a log at once, such as one that somebody saved: the events that Run would hand on. Times without a zone that
// is known are now.
func Parse(name string, data []byte, s Settings, now time.Time) []Event {
	var events []Event
	l := &Log{
		words: newWords(), classes: newClassIndex(), now: func() time.Time { return now }, positions: newPositions("", nil),
		o: Options{OnEvent: func(e Event) { events = append(events, e) }},
	}
	l.Learn(s)
	rd := &reader{log: l, old: true, clock: clock{zone: l.zone.Load()}}
	f := newFormat(l.words, rd, &l.prefix, name, data)
	var cut lines
	cut.feed(append(data[:len(data):len(data)], '\n'), f)
	f.flush()
	return events
}
