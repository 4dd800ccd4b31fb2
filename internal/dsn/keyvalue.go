package dsn

import (
	"fmt"
	"strings"
)

const space = " \t\n\r\v\f"

// parseKeywords reads libpq's keyword/value form: values may be quoted with ' and escaped with \.
func parseKeywords(s string) (Params, error) {
	p := Params{}
	for n := 1; ; n++ {
		if s = strings.TrimLeft(s, space); s == "" {
			return p, nil
		}
		place := fmt.Sprintf("keyword %d", n)
		end := strings.IndexAny(s, "="+space)
		if end < 0 {
			end = len(s)
		}
		keyword, rest := s[:end], strings.TrimLeft(s[end:], space)
		if !strings.HasPrefix(rest, "=") {
			return nil, malformed(hintQuote+". "+hintForms, "%s has no =", place)
		}
		value, rest, closed := scanValue(strings.TrimLeft(rest[1:], space))
		if !closed {
			return nil, malformed(hintQuote+".", "the value of %s has no closing quote", place)
		}
		if err := p.set(keyword, value, place); err != nil {
			return nil, err
		}
		s = rest
	}
}

// scanValue takes one value off the beginning, and says whether its quote was closed.
func scanValue(s string) (value, rest string, closed bool) {
	var b strings.Builder
	quoted := strings.HasPrefix(s, "'")
	if quoted {
		s = s[1:]
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			if i++; i < len(s) {
				b.WriteByte(s[i])
			}
		case quoted && c == '\'':
			return b.String(), s[i+1:], true
		case !quoted && strings.IndexByte(space, c) >= 0:
			return b.String(), s[i:], true
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), "", !quoted
}
