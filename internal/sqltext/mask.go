// Package sqltext makes a statement fit to be shown: its literals and comments, where people write passwords and other people's
// data, are taken out. It reads a statement as PostgreSQL's lexer does. Where two readings are possible it takes the one that shows
// less, and what can't be read is not shown.
package sqltext

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// hidden stands for a string, number for a number.
	hidden, number = "'?'", "?"
	// cut ends a statement whose rest can't be told from a literal.
	cut = " ..."
)

// Mask takes the literals and the comments out of a statement, which may be cut anywhere. What is masked already stays as it is.
func Mask(sql string) string {
	m := masker{in: sql}
	m.out.Grow(len(sql))
	for m.at < len(m.in) {
		m.next()
	}
	return strings.TrimSpace(m.out.String())
}

type masker struct {
	in  string
	at  int
	out strings.Builder
}

// next takes one token.
func (m *masker) next() {
	rest := m.in[m.at:]
	switch c := rest[0]; {
	case strings.HasPrefix(rest, "--"):
		m.at += lineEnd(rest)
	case strings.HasPrefix(rest, "/*"):
		m.at += commentEnd(rest)
		m.out.WriteByte(' ')
	case c == '\'':
		m.literal(1, false)
	case c == '"':
		m.copy(identifierEnd(rest))
	case c == '$':
		m.dollar(rest)
	case c >= '0' && c <= '9', c == '.' && len(rest) > 1 && rest[1] >= '0' && rest[1] <= '9':
		m.number(rest)
	case wordByte(c):
		m.word(rest)
	default:
		m.copy(1)
	}
}

func (m *masker) copy(n int) {
	m.out.WriteString(m.in[m.at : m.at+n])
	m.at += n
}

// literal takes a string that begins after so many bytes. Within E'...' a backslash escapes. In others it does where
// standard_conforming_strings is off, which is not told here: a string that would end elsewhere then hides all that follows.
func (m *masker) literal(begin int, escapes bool) {
	m.out.WriteString(hidden)
	s := m.in[m.at:]
	for i := begin; i < len(s); i++ {
		switch {
		case s[i] == '\\' && escapes:
			i++
		case s[i] == '\\' && i+1 < len(s) && (s[i+1] == '\'' || s[i+1] == '\\'):
			m.out.WriteString(cut)
			m.at = len(m.in)
			return
		case s[i] == '\'' && i+1 < len(s) && s[i+1] == '\'':
			i++
		case s[i] == '\'':
			m.at += i + 1
			return
		}
	}
	m.at = len(m.in)
}

// dollar takes a string in dollar quotes, or the number of a parameter.
func (m *masker) dollar(s string) {
	tag := 1
	for tag < len(s) && wordByte(s[tag]) && (tag > 1 || s[tag] < '0' || s[tag] > '9') {
		tag++
	}
	switch {
	case tag == len(s) && tag > 1: // cut within its tag
		m.at = len(m.in)
		m.out.WriteString(hidden)
	case tag == len(s) || s[tag] != '$': // $1, or nothing that PostgreSQL takes
		n := 1
		for n < len(s) && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		m.copy(n)
	default:
		m.out.WriteString(hidden)
		end := strings.Index(s[tag+1:], s[:tag+1])
		if end < 0 {
			m.at = len(m.in)
			return
		}
		m.at += tag + 1 + end + tag + 1
	}
}

func (m *masker) number(s string) {
	m.out.WriteString(number)
	n := 0
	for n < len(s) && (wordByte(s[n]) || s[n] == '.' || (s[n] == '+' || s[n] == '-') && n > 0 && (s[n-1] == 'e' || s[n-1] == 'E')) {
		n++
	}
	m.at += n
}

// word takes an identifier or a keyword, or the letters that begin a literal.
func (m *masker) word(s string) {
	n := 0
	for n < len(s) && (wordByte(s[n]) || n > 0 && s[n] == '$') {
		n++
	}
	switch prefix := strings.ToLower(s[:n]); {
	case n < len(s) && s[n] == '\'' && prefix == "e":
		m.literal(n+1, true)
	case n < len(s) && s[n] == '\'' && (prefix == "b" || prefix == "x" || prefix == "n"):
		m.literal(n+1, false)
	case prefix == "u" && strings.HasPrefix(s[n:], "&'"):
		m.literal(n+2, false)
	default:
		m.copy(n)
	}
}

// wordByte is what identifiers consist of: letters of all languages are bytes above 127.
func wordByte(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= utf8.RuneSelf
}

func lineEnd(s string) int {
	if n := strings.IndexAny(s, "\n\r"); n >= 0 {
		return n
	}
	return len(s)
}

// commentEnd is where a comment ends: one holds others.
func commentEnd(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch {
		case strings.HasPrefix(s[i:], "/*"):
			depth++
			i++
		case strings.HasPrefix(s[i:], "*/"):
			if depth--; depth == 0 {
				return i + 2
			}
			i++
		}
	}
	return len(s)
}

func identifierEnd(s string) int {
	if n := strings.IndexByte(s[1:], '"'); n >= 0 {
		return n + 2
	}
	return len(s)
}

// Plain makes text from a server fit for a page: valid, on one line, without what turns text around, no longer than limit bytes.
func Plain(s string, limit int) string {
	s = s[:min(len(s), 4*limit)]
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == 0x200e || r == 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit-3], "") + "..."
	}
	return s
}
