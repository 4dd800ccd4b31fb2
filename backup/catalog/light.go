package catalog

import (
	"bytes"
	"strconv"
)

// lighten cuts out of a manifest's text what its databases contain, but for what briefContents takes in: that is most of a manifest, and a
// reader of JSON would go through it twice. A text that is not written as encoding/json writes it is left whole.
func lighten(text []byte) []byte {
	s := scan{text: text}
	light := make([]byte, 0, min(len(text), 4<<10)) // as much as of a few databases is left
	copied := 0
	s.object(func(key []byte) {
		if !s.is(key, "databases") {
			s.skip()
			return
		}
		s.array(func() {
			s.object(func(key []byte) {
				if !s.is(key, "contents") {
					s.skip()
					return
				}
				light = append(light, text[copied:s.at]...)
				light = append(light, s.contents()...)
				copied = s.at
			})
		})
	})
	s.space()
	if s.odd || s.at != len(text) {
		return text
	}
	return append(light, text[copied:]...)
}

// scan goes through a JSON text that is expected to be well formed. What it does not expect makes it odd, and ends it.
type scan struct {
	text []byte
	at   int
	odd  bool
	seen []string // the keys that count, of the objects that are being read, the innermost last
	from int      // where in seen those of the innermost begin
}

// contents is what is kept of a database's contents.
func (s *scan) contents() []byte {
	exact, rows := []byte("false"), int64(0)
	s.object(func(key []byte) {
		switch {
		case s.is(key, "exact"):
			exact = s.scalar()
		case s.is(key, "tables"):
			s.array(func() {
				s.object(func(key []byte) {
					if !s.is(key, "rows") {
						s.skip()
						return
					}
					n, err := strconv.ParseInt(string(s.scalar()), 10, 64)
					sum := rows + n
					s.odd = s.odd || err != nil || n < 0 || sum < rows
					rows = sum
				})
			})
		default:
			s.skip()
		}
	})
	return append(strconv.AppendInt(append(append([]byte(`{"exact":`), exact...), `,"tables":[{"rows":`...), rows, 10), "}]}"...)
}

// is says whether a key is one that counts. The reader of JSON takes another case for the same key, and the last of several.
func (s *scan) is(key []byte, name string) bool {
	if string(key) == name {
		for _, k := range s.seen[s.from:] {
			s.odd = s.odd || k == name
		}
		s.seen = append(s.seen, name)
		return true
	}
	s.odd = s.odd || bytes.IndexByte(key, '\\') >= 0 || len(key) >= len(name) && bytes.EqualFold(key, []byte(name))
	return false
}

func (s *scan) space() { s.at = pastSpace(s.text, s.at) }

func pastSpace(text []byte, at int) int {
	for at < len(text) && (text[at] == ' ' || text[at] == '\n' || text[at] == '\t' || text[at] == '\r') {
		at++
	}
	return at
}

// next is the next byte that is no space, 0 at the end or where it went wrong.
func (s *scan) next() byte {
	s.space()
	if s.odd || s.at >= len(s.text) {
		s.odd = true
		return 0
	}
	return s.text[s.at]
}

// take expects a byte.
func (s *scan) take(c byte) {
	if s.next() != c {
		s.odd = true
		return
	}
	s.at++
}

// object calls value for each key, which reads the value.
func (s *scan) object(value func(key []byte)) {
	outer := s.from
	s.from = len(s.seen)
	defer func() { s.seen, s.from = s.seen[:s.from], outer }()
	s.list('{', '}', func() {
		key := s.name()
		s.take(':')
		s.space()
		value(key)
	})
}

func (s *scan) array(value func()) { s.list('[', ']', value) }

func (s *scan) list(begin, end byte, each func()) {
	if s.next() == 'n' {
		s.odd = s.odd || string(s.scalar()) != "null"
		return
	}
	s.take(begin)
	if s.next() == end {
		s.at++
		return
	}
	for !s.odd {
		each()
		if s.next() != ',' {
			break
		}
		s.at++
	}
	s.take(end)
}

// name is a string's text as it stands.
func (s *scan) name() []byte {
	s.take('"')
	from := s.at
	for !s.odd {
		n := bytes.IndexByte(s.text[s.at:], '"')
		if n < 0 {
			s.odd = true
			break
		}
		escapes := 0
		for i := s.at + n - 1; i >= from && s.text[i] == '\\'; i-- {
			escapes++
		}
		s.at += n + 1
		if escapes%2 == 0 {
			return s.text[from : s.at-1]
		}
	}
	return nil
}

// scalar is a number or a word as it stands.
func (s *scan) scalar() []byte {
	s.next()
	from, at := s.at, s.at
	for at < len(s.text) && ofScalar(s.text[at]) {
		at++
	}
	s.at, s.odd = at, s.odd || at == from
	return s.text[from:at]
}

func ofScalar(c byte) bool {
	switch c {
	case ',', ':', ']', '}', '[', '{', '"', ' ', '\n', '\t', '\r':
		return false
	}
	return true
}

// skip goes past a value, whatever it is. Most of a manifest is skipped: this looks at each byte once.
func (s *scan) skip() {
	s.next()
	for depth := 0; !s.odd && s.at < len(s.text); {
		switch s.text[s.at] {
		case ' ', '\n', '\t', '\r', ',', ':':
			s.odd = depth == 0 // no value begins so
			s.at = pastSpace(s.text, s.at+1)
			continue
		case '"':
			s.name()
		case '{', '[':
			depth++
			s.at++
		case '}', ']':
			depth--
			s.at++
		default:
			s.scalar()
		}
		if depth <= 0 {
			s.odd = s.odd || depth < 0
			return
		}
	}
	s.odd = true
}
