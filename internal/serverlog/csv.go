package serverlog

import "bytes"

// csvFormat reads log_destination = csvlog. A record may hold line breaks, within quotes.
type csvFormat struct {
	words *words
	sink  sink
	r     Record
	// rest is a record whose end has not come yet.
	rest []byte
}

// Columns of csvlog, which versions only ever append to.
const (
	csvTime = iota
	csvUser
	csvDatabase
	csvPID
	csvHost
	csvSeverity    = 11
	csvSQLState    = 12
	csvMessage     = 13
	csvDetail      = 14
	csvStatement   = 19
	csvApplication = 22
	csvBackend     = 23
	csvLeast       = 23 // columns of the oldest supported version
)

func (f *csvFormat) line(line []byte, _ bool) {
	if len(f.rest) == 0 {
		if f.read(line) {
			return
		}
		if !looksLikeCSV(line) {
			f.sink.unread()
			return
		}
		f.rest = append(f.rest, line...)
		return
	}
	if len(f.rest)+len(line) >= maxRecord {
		f.flush()
		f.line(line, false)
		return
	}
	f.rest = append(append(f.rest, '\n'), line...)
	if f.read(f.rest) {
		f.forget()
	}
}

// flush takes a record without an end for what it has.
func (f *csvFormat) flush() {
	if len(f.rest) == 0 {
		return
	}
	if f.split(f.rest); f.r.Severity != UnknownSeverity {
		f.sink.record(&f.r)
	} else {
		f.sink.unread()
	}
	f.forget()
}

func (f *csvFormat) forget() {
	f.rest = f.rest[:0]
	if cap(f.rest) > 8<<10 {
		f.rest = nil
	}
}

// read hands over a whole record; false where its end has not come yet, or where it is none.
func (f *csvFormat) read(text []byte) bool {
	columns, whole := f.split(text)
	if !whole || columns < csvLeast || f.r.Severity == UnknownSeverity {
		return false
	}
	f.sink.record(&f.r)
	return true
}

// split takes a record apart. whole is false where a quote is open at its end.
func (f *csvFormat) split(text []byte) (columns int, whole bool) {
	f.r = Record{}
	for {
		var value field
		if len(text) > 0 && text[0] == '"' {
			text = text[1:]
			for from := 0; ; {
				at := bytes.IndexByte(text[from:], '"')
				if at < 0 {
					value.raw = text
					f.keep(columns, value)
					return columns + 1, false
				}
				at += from
				if at+1 < len(text) && text[at+1] == '"' {
					value.escaped, from = inCSV, at+2
					continue
				}
				value.raw, text = text[:at], text[at+1:]
				break
			}
		} else {
			end := bytes.IndexByte(text, ',')
			if end < 0 {
				end = len(text)
			}
			value.raw, text = text[:end], text[end:]
		}
		f.keep(columns, value)
		columns++
		if len(text) == 0 || text[0] != ',' {
			return columns, len(text) == 0
		}
		text = text[1:]
	}
}

func (f *csvFormat) keep(column int, value field) {
	r := &f.r
	switch column {
	case csvTime:
		r.Time = value.raw
	case csvUser:
		r.User = value
	case csvDatabase:
		r.Database = value
	case csvPID:
		r.PID = number(value.raw)
	case csvHost:
		r.Host = value
	case csvSeverity:
		r.Severity = f.words.severityOf(value.raw)
	case csvSQLState:
		r.SQLState = value.raw
	case csvMessage:
		r.message = value
	case csvDetail:
		r.Detail = value
	case csvStatement:
		r.Statement = value
	case csvApplication:
		r.Application = value
	case csvBackend:
		r.Backend = value
	}
}

// looksLikeCSV is whether a line begins a record: with a time and a comma.
func looksLikeCSV(line []byte) bool {
	comma := bytes.IndexByte(line[:min(len(line), 48)], ',')
	return comma >= len("2006-01-02 15:04:05") && line[4] == '-' && line[7] == '-' && line[10] == ' ' && line[13] == ':'
}
