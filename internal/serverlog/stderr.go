package serverlog

import (
	"bytes"
	"sync/atomic"
)

// stderrFormat reads log_destination = stderr: a prefix, a severity and a text; further lines of the text begin with a tab, and
// further parts of the message with a prefix and a label.
type stderrFormat struct {
	words  *words
	sink   sink
	prefix *atomic.Pointer[prefix] // nil inside while the setting is not known

	// misses are lines, one after the other, that did not have the prefix.
	misses int

	// seen is what known found last, at a place in a line: whoever comes there next need not look again.
	seen heading
	at   *byte

	// open is a message whose further lines may come.
	open  bool
	r     Record
	texts [3][]byte // its message, detail and statement
	last  *[]byte   // which of them the last line belongs to; nil for one that is not kept
	meta  []byte    // what the prefix said
}

const (
	textMessage = iota
	textDetail
	textStatement
)

func (f *stderrFormat) line(line []byte, _ bool) {
	if len(line) == 0 {
		return
	}
	if line[0] == '\t' {
		if f.open && f.last != nil {
			f.append(f.last, '\n', line[1:])
		}
		return
	}
	var r Record
	said, ok := f.head(line, &r)
	if !ok {
		f.flush()
		f.sink.unread()
		return
	}
	h := f.seen
	if f.at != &said[0] {
		h = f.words.headingOf(said)
	}
	f.at = nil
	if h.severity != UnknownSeverity {
		f.flush()
		f.begin(&r, h.severity, h.text)
		return
	}
	if !f.open || r.PID != f.r.PID {
		return // a part of a message that we have not seen
	}
	f.last = nil
	switch h.part {
	case partDetail:
		f.last = &f.texts[textDetail]
	case partStatement:
		f.last = &f.texts[textStatement]
	}
	if f.last != nil {
		f.append(f.last, 0, h.text)
	}
}

// head takes the prefix off a line.
func (f *stderrFormat) head(line []byte, r *Record) ([]byte, bool) {
	if p := f.prefix.Load(); p != nil {
		if said, ok := p.read(line, r, f.known); ok {
			f.misses = 0
			return said, true
		}
		*r = Record{}
		// A name with a line break begins a line that says what its maker likes. Only where no line has the prefix any more was
		// the setting changed.
		if f.misses++; f.misses < stalePrefix {
			return nil, false
		}
	}
	return f.guess(line, r)
}

// stalePrefix is how many lines without the prefix say that it was changed.
const stalePrefix = 20

// guess finds the severity in a line whose prefix is not known, and a time at the line's beginning.
func (f *stderrFormat) guess(line []byte, r *Record) ([]byte, bool) {
	window := line[:min(len(line), maxPrefix)]
	for from := 0; ; {
		colon := bytes.Index(window[from:], []byte(":  "))
		if colon < 0 {
			return nil, false
		}
		colon += from
		word := colon
		for word > 0 && line[word-1] > ' ' && line[word-1] != ']' && line[word-1] != ':' {
			word--
		}
		if f.known(line[word:]) {
			if n := stampLength(line); n > 0 && n <= word {
				r.Time = line[:n]
			}
			r.PID = guessPID(line[:word])
			return line[word:], true
		}
		from = colon + 1
	}
}

// guessPID finds [123], as nearly all prefixes have it.
func guessPID(prefix []byte) int {
	_, after, ok := bytes.Cut(prefix, []byte("["))
	if !ok {
		return 0
	}
	inside, _, _ := bytes.Cut(after, []byte("]"))
	return number(inside)
}

// known is whether a text begins with a severity, or with the label of a further part.
func (f *stderrFormat) known(text []byte) bool {
	h := f.words.headingOf(text)
	if h.severity == UnknownSeverity && h.part == notAPart {
		return false
	}
	f.seen, f.at = h, &text[0]
	return true
}

func (f *stderrFormat) begin(r *Record, severity Severity, text []byte) {
	f.open = true
	f.r = *r
	f.r.Severity = severity
	f.meta = f.meta[:0]
	for _, part := range []*[]byte{
		&f.r.Time, &f.r.SQLState, &f.r.User.raw, &f.r.Database.raw, &f.r.Application.raw, &f.r.Host.raw, &f.r.Backend.raw,
	} {
		if from := len(f.meta); len(*part) > 0 {
			f.meta = append(f.meta, *part...)
			*part = f.meta[from:len(f.meta):len(f.meta)] // when it grows, this stays where it is
		}
	}
	for i := range f.texts {
		f.texts[i] = f.texts[i][:0]
	}
	f.last = &f.texts[textMessage]
	f.append(f.last, 0, text)
}

// maxText is what is kept of each part of a message, in bytes.
const maxText = 4 << 10

func (f *stderrFormat) append(to *[]byte, between byte, text []byte) {
	if len(*to) >= maxText {
		return
	}
	if between != 0 {
		*to = append(*to, between)
	}
	*to = append(*to, text[:min(len(text), maxText-min(len(*to), maxText))]...)
}

func (f *stderrFormat) flush() {
	if !f.open {
		return
	}
	f.open = false
	f.r.message.raw, f.r.Detail.raw, f.r.Statement.raw = f.texts[textMessage], f.texts[textDetail], f.texts[textStatement]
	f.sink.record(&f.r)
}
