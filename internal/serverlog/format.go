package serverlog

import (
	"bytes"
	"path/filepath"
	"sync/atomic"
)

// maxRecord is what is read of one line, and of one record that has several, in bytes.
const maxRecord = 64 << 10

// format finds messages in lines. It hands them to its sink.
type format interface {
	// line takes one without its line break; cut is whether its end is missing.
	line(line []byte, cut bool)
	// flush hands over what is open: nothing has come for a while.
	flush()
}

// sink takes what a format finds.
type sink interface {
	record(r *Record)
	// unread is told of a line that is no message of the server.
	unread()
}

// newFormat chooses by a file's name, else by its first line.
func newFormat(w *words, s sink, p *atomic.Pointer[prefix], name string, first []byte) format {
	switch ext := filepath.Ext(name); {
	case ext == ".json", bytes.HasPrefix(first, []byte("{")):
		return &jsonFormat{words: w, sink: s}
	case ext == ".csv", looksLikeCSV(first):
		return &csvFormat{words: w, sink: s}
	}
	return &stderrFormat{words: w, sink: s, prefix: p}
}

// lines cuts what is read into lines. A line longer than maxRecord is handed over cut, and its rest left out.
type lines struct {
	buffer   []byte
	skipping bool
	tooLong  uint64
}

// feed takes some bytes; they are not kept, but for the beginning of a line.
func (l *lines) feed(data []byte, f format) {
	for len(data) > 0 {
		end := bytes.IndexByte(data, '\n')
		if end < 0 {
			if !l.skipping {
				l.hold(data, f)
			}
			return
		}
		line := data[:end]
		data = data[end+1:]
		switch {
		case l.skipping:
			l.skipping = false
		case len(l.buffer) > 0:
			if l.hold(line, f); !l.skipping {
				f.line(trimCR(l.buffer), false)
			}
			l.skipping, l.buffer = false, l.buffer[:0]
		case len(line) > maxRecord:
			l.tooLong++
			f.line(line[:maxRecord], true)
		default:
			f.line(trimCR(line), false)
		}
	}
}

// hold keeps the beginning of a line. One that is too long is handed over, and what comes of it later is left out.
func (l *lines) hold(data []byte, f format) {
	room := maxRecord - len(l.buffer)
	l.buffer = append(l.buffer, data[:min(len(data), room)]...)
	if len(data) > room {
		l.tooLong++
		f.line(l.buffer, true)
		l.buffer, l.skipping = nil, true
	}
}

// pending is how many bytes of a line are held whose end has not come.
func (l *lines) pending() int { return len(l.buffer) }

func (l *lines) forget() { l.buffer, l.skipping = nil, false }

// trimCR is for servers on Windows.
func trimCR(line []byte) []byte { return bytes.TrimSuffix(line, []byte("\r")) }
