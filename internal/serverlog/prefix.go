package serverlog

import "bytes"

// prefix is a log_line_prefix, taken apart. Names in it may hold anything: whoever may log in can write a prefix that is
// ambiguous, which the formats jsonlog and csvlog rule out.
type prefix struct {
	items []prefixItem
}

// prefixItem is an escape such as %p, or text where it is 0.
type prefixItem struct {
	escape byte
	text   []byte
	// padded and flushLeft: spaces before the value, or after it.
	padded, flushLeft bool
}

// newPrefix reads a setting such as '%m [%p] %q%u@%d '.
func newPrefix(setting string) *prefix {
	p := &prefix{}
	for i := 0; i < len(setting); i++ {
		if setting[i] != '%' {
			p.text(setting[i])
			continue
		}
		i++
		width := i
		for i < len(setting) && (setting[i] == '-' || setting[i] >= '0' && setting[i] <= '9') {
			i++
		}
		switch {
		case i == len(setting):
		case setting[i] == '%':
			p.text('%')
		default:
			p.items = append(p.items, prefixItem{escape: setting[i], padded: i > width, flushLeft: setting[width] == '-'})
		}
	}
	return p
}

func (p *prefix) text(c byte) {
	if n := len(p.items); n > 0 && p.items[n-1].escape == 0 {
		p.items[n-1].text = append(p.items[n-1].text, c)
		return
	}
	p.items = append(p.items, prefixItem{text: []byte{c}})
}

// read takes a line's prefix off, and notes in r what it says. said is what follows; it begins with the severity or with the label
// of a further line, which is asked of known: that tells where the prefix ends.
func (p *prefix) read(line []byte, r *Record, known func([]byte) bool) (said []byte, ok bool) {
	tries := maxTries
	return p.readFrom(0, line, r, known, &tries)
}

// maxTries bounds what is tried to find the end of a prefix in a line that was made to look like many.
const maxTries = 100

func (p *prefix) readFrom(i int, line []byte, r *Record, known func([]byte) bool, tries *int) ([]byte, bool) {
	for ; i < len(p.items); i++ {
		item := p.items[i]
		switch {
		case item.escape == 0:
			if !bytes.HasPrefix(line, item.text) {
				return nil, false
			}
			line = line[len(item.text):]
			continue
		case item.escape == 'q':
			if known(line) {
				return line, true // a process without a session
			}
			continue
		}
		if item.padded && !item.flushLeft {
			line = bytes.TrimLeft(line, " ")
		}
		if n := fixedLength(item.escape, line); n > 0 {
			p.note(item.escape, line[:n], r)
			if line = line[n:]; item.flushLeft {
				line = bytes.TrimLeft(line, " ")
			}
			continue
		}
		return p.readName(i, line, r, known, tries)
	}
	return line, known(line)
}

// readName reads a value that may hold anything, also the text that follows it: the shortest one that makes a prefix of the line.
func (p *prefix) readName(i int, line []byte, r *Record, known func([]byte) bool, tries *int) ([]byte, bool) {
	var stop []byte
	if i+1 < len(p.items) {
		stop = p.items[i+1].text
	}
	window := line[:min(len(line), maxPrefix)]
	for end := 0; end <= len(window) && *tries > 0; end++ {
		if len(stop) > 0 {
			at := bytes.Index(window[end:], stop)
			if at < 0 {
				return nil, false
			}
			end += at
		}
		*tries--
		if said, ok := p.readFrom(i+1, line[end:], r, known, tries); ok {
			p.note(p.items[i].escape, line[:end], r)
			return said, true
		}
	}
	return nil, false
}

// maxPrefix is where the end of a prefix is looked for, in bytes.
const maxPrefix = 1024

// fixedLength is how long a value is that tells so itself; 0 for others.
func fixedLength(escape byte, line []byte) int {
	switch escape {
	case 'p', 'P', 'l', 'x', 'Q':
		n := 0
		for n < len(line) && n < 20 && (line[n] >= '0' && line[n] <= '9' || n == 0 && line[n] == '-') {
			n++
		}
		return n
	case 'e':
		if len(line) >= sqlStateLength && isSQLState(line[:sqlStateLength]) {
			return sqlStateLength
		}
	case 'm', 't', 's':
		return stampLength(line)
	}
	return 0
}

func (p *prefix) note(escape byte, value []byte, r *Record) {
	if n := len(value); n > 0 && (value[0] == ' ' || value[n-1] == ' ') {
		value = bytes.Trim(value, " ") // padding
	}
	switch escape {
	case 'm', 't', 'n':
		r.Time = value
	case 'p':
		r.PID = number(value)
	case 'e':
		r.SQLState = value
	case 'u':
		r.User = field{raw: value}
	case 'd':
		r.Database = field{raw: value}
	case 'a':
		r.Application = field{raw: value}
	case 'h', 'r':
		r.Host = field{raw: value}
	case 'b':
		r.Backend = field{raw: value}
	}
}
