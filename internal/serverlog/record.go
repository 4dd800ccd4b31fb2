package serverlog

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// Record is one message as a parser found it. Its bytes belong to the parser, and hold until the next one.
type Record struct {
	Severity Severity
	SQLState []byte
	Time     []byte // as the server wrote it; empty where it did not
	PID      int    // 0 where the server did not write it

	User, Database, Application, Host, Backend field
	message, Detail, Statement                 field
}

// field is a text, perhaps in the escapes of JSON or CSV; those are undone only for what is looked at.
type field struct {
	raw     []byte
	escaped escaping
}

type escaping uint8

const (
	plain escaping = iota
	inJSON
	inCSV
)

// Bytes is the text.
func (f *field) Bytes() []byte {
	switch f.escaped {
	case inJSON:
		f.raw = unescapeJSON(f.raw)
	case inCSV:
		f.raw = bytes.ReplaceAll(f.raw, []byte(`""`), []byte(`"`))
	}
	f.escaped = plain
	return f.raw
}

// Message is the message's main line or lines.
func (r *Record) Message() []byte { return r.message.Bytes() }

// unescapeJSON undoes a string's escapes; what is no escape stays as it is.
func unescapeJSON(raw []byte) []byte {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' || i+1 == len(raw) {
			out = append(out, raw[i])
			continue
		}
		i++
		switch raw[i] {
		case 'n':
			out = append(out, '\n')
		case 't':
			out = append(out, '\t')
		case 'r':
			out = append(out, '\r')
		case 'b', 'f':
			out = append(out, ' ')
		case 'u':
			r, length := unicodeEscape(raw[i-1:])
			out = utf8.AppendRune(out, r)
			i += length - 2
		default:
			out = append(out, raw[i])
		}
	}
	return out
}

// unicodeEscape reads \u0041, or two of them that are one character; text begins with the backslash.
func unicodeEscape(text []byte) (r rune, length int) {
	const one = len(`\u0041`)
	r, ok := hex4(text)
	if !ok {
		return utf8.RuneError, 2
	}
	if utf16.IsSurrogate(r) && len(text) >= 2*one {
		if low, ok := hex4(text[one:]); ok {
			if whole := utf16.DecodeRune(r, low); whole != utf8.RuneError {
				return whole, 2 * one
			}
		}
	}
	return r, one // half a pair is written as the replacement character
}

func hex4(text []byte) (r rune, ok bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	for _, c := range text[2:6] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// number reads a number that is not too large; 0 where there is none.
func number(text []byte) int {
	n := 0
	for _, c := range text {
		if c < '0' || c > '9' || n > 1<<50 {
			return 0
		}
		n = n*10 + int(c-'0')
	}
	return n
}
