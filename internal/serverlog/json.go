package serverlog

import "bytes"

// jsonFormat reads log_destination = jsonlog: an object a line, flat, without a line break. The server writes no spaces between its parts;
// who passes the log on may.
type jsonFormat struct {
	words *words
	sink  sink
	r     Record
}

func (f *jsonFormat) line(line []byte, _ bool) {
	f.r = Record{}
	if !f.read(line) && f.r.Severity == UnknownSeverity { // of a line that was cut short, what comes first is enough
		f.sink.unread()
		return
	}
	f.sink.record(&f.r)
}

func (f *jsonFormat) flush() {}

// read takes an object apart; false where its end is not one.
func (f *jsonFormat) read(text []byte) bool {
	if len(text) == 0 || text[0] != '{' {
		return false
	}
	for text = text[1:]; ; {
		key, _, rest, ok := jsonString(unspaced(text))
		if rest = unspaced(rest); !ok || len(rest) == 0 || rest[0] != ':' {
			return false
		}
		text = unspaced(rest[1:])
		var value field
		if len(text) > 0 && text[0] == '"' {
			var escaped bool
			if value.raw, escaped, text, ok = jsonString(text); !ok {
				f.keep(key, value, escaped)
				return false
			}
			f.keep(key, value, escaped)
		} else {
			end := bytes.IndexAny(text, ",}")
			if end < 0 {
				return false
			}
			value.raw, text = bytes.TrimRight(text[:end], " \t"), text[end:]
			f.keep(key, value, false)
		}
		if text = unspaced(text); len(text) == 0 || text[0] != ',' {
			return len(text) > 0 && text[0] == '}' && f.r.Severity != UnknownSeverity
		}
		text = text[1:]
	}
}

// unspaced is a text without the spaces at its beginning.
func unspaced(text []byte) []byte {
	for len(text) > 0 && (text[0] == ' ' || text[0] == '\t') {
		text = text[1:]
	}
	return text
}

func (f *jsonFormat) keep(key []byte, value field, escaped bool) {
	if escaped {
		value.escaped = inJSON
	}
	r := &f.r
	switch string(key) {
	case "timestamp":
		r.Time = value.raw
	case "pid":
		r.PID = number(value.raw)
	case "error_severity":
		r.Severity = f.words.severityOf(value.raw)
	case "state_code":
		r.SQLState = value.raw
	case "message":
		r.message = value
	case "detail":
		r.Detail = value
	case "statement":
		r.Statement = value
	case "user":
		r.User = value
	case "dbname":
		r.Database = value
	case "application_name":
		r.Application = value
	case "remote_host":
		r.Host = value
	case "backend_type":
		r.Backend = value
	}
}

// jsonString reads a string at the beginning of a text; of one without an end, what there is.
func jsonString(text []byte) (value []byte, escaped bool, rest []byte, ok bool) {
	if len(text) == 0 || text[0] != '"' {
		return nil, false, nil, false
	}
	text = text[1:]
	for from := 0; ; {
		at := bytes.IndexByte(text[from:], '"')
		if at < 0 {
			return text, bytes.IndexByte(text, '\\') >= 0, nil, false
		}
		at += from
		backslashes := 0
		for at-backslashes > 0 && text[at-backslashes-1] == '\\' {
			backslashes++
		}
		escaped = escaped || backslashes > 0
		if backslashes%2 == 0 {
			return text[:at], escaped || bytes.IndexByte(text[:at], '\\') >= 0, text[at+1:], true
		}
		from = at + 1
	}
}
