package sqltext

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Kind of a token.
type Kind int

// Kinds of tokens.
const (
	Word   Kind = iota + 1 // a keyword or an unquoted identifier, in lower case
	Quoted                 // a quoted identifier, without its quotes
	String                 // a string's value, whatever it was quoted with
	Number                 // digits
	Punct                  // one byte of anything else
)

// Token of SQL. Text of a name or string is what it says, not how it was written.
type Token struct {
	Kind Kind
	Text string
	Line int // where it begins, from 1
}

// Lexer reads SQL as PostgreSQL's scanner does: comments, strings with doubled quotes, E'...' with escapes, dollar
// quotes, quoted identifiers, and line breaks inside all of them. It knows no psql: a backslash outside of a string
// or comment is an error, except for the commands that pg_dump frames its scripts with and that do nothing but
// forbid others (\restrict, \unrestrict, each with a key, between statements).
type Lexer struct {
	// Backslashes says that '...' has escapes, as with standard_conforming_strings = off.
	Backslashes bool

	s    string
	pos  int
	line int
}

// NewLexer reads from a text.
func NewLexer(text string) *Lexer { return &Lexer{s: text, line: 1} }

// Statement reads up to the next semicolon, and leaves that out; nil and no error at the end. What follows the last
// semicolon counts as a statement. After an error the rest of the text can't be told apart.
func (l *Lexer) Statement() ([]Token, error) {
	var all []Token
	for {
		if err := l.space(); err != nil {
			return nil, err
		}
		if l.pos == len(l.s) {
			return all, nil
		}
		if l.s[l.pos] == '\\' && len(all) == 0 && l.frame() {
			continue
		}
		t, err := l.token()
		if err != nil {
			return nil, err
		}
		if t.Kind == Punct && t.Text == ";" {
			if len(all) == 0 {
				continue
			}
			return all, nil
		}
		all = append(all, t)
	}
}

// frame skips \restrict or \unrestrict with its key, which is letters and digits.
func (l *Lexer) frame() bool {
	line, _, _ := strings.Cut(l.s[l.pos:], "\n")
	command, key, _ := strings.Cut(strings.TrimRight(line, "\r"), " ")
	if command != `\restrict` && command != `\unrestrict` || key == "" {
		return false
	}
	for i := range len(key) {
		if !word(key[i]) || key[i] >= 0x80 || key[i] == '$' {
			return false
		}
	}
	l.advance(len(line))
	return true
}

func (l *Lexer) errorf(format string, args ...any) error {
	return fmt.Errorf("line %d: "+format, append([]any{l.line}, args...)...)
}

// advance moves on and counts lines.
func (l *Lexer) advance(n int) {
	l.line += strings.Count(l.s[l.pos:l.pos+n], "\n")
	l.pos += n
}

// space skips white space and comments.
func (l *Lexer) space() error {
	for l.pos < len(l.s) {
		rest := l.s[l.pos:]
		switch {
		case strings.IndexByte(" \t\n\r\f\v", rest[0]) >= 0:
			l.advance(1)
		case strings.HasPrefix(rest, "--"):
			if i := strings.IndexAny(rest, "\n\r"); i >= 0 {
				l.advance(i)
			} else {
				l.advance(len(rest))
			}
		case strings.HasPrefix(rest, "/*"):
			if err := l.comment(); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return nil
}

// comment skips one /* comment */, which may hold others.
func (l *Lexer) comment() error {
	rest, depth := l.s[l.pos:], 0
	for i := 0; i+1 < len(rest); i++ {
		switch rest[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
		}
		if depth == 0 {
			l.advance(i + 1)
			return nil
		}
	}
	return l.errorf("a comment has no end")
}

func (l *Lexer) token() (Token, error) {
	t := Token{Line: l.line}
	rest := l.s[l.pos:]
	var err error
	n := 0
	switch c := rest[0]; {
	case c == '\'':
		t.Kind = String
		t.Text, n, err = l.quoted(rest, l.Backslashes)
	case (c == 'e' || c == 'E') && strings.HasPrefix(rest[1:], "'"):
		t.Kind = String
		t.Text, n, err = l.quoted(rest[1:], true)
		n++
	case c == '"':
		t.Kind = Quoted
		if t.Text, n, err = l.quoted(rest, false); err == nil && t.Text == "" {
			err = l.errorf("a quoted name is empty")
		}
	case c == '$':
		t.Kind = String
		t.Text, n, err = l.dollar(rest)
	case c >= '0' && c <= '9':
		for t.Kind = Number; n < len(rest) && rest[n] >= '0' && rest[n] <= '9'; n++ {
		}
		t.Text = rest[:n]
	case word(c) && c != '$':
		for t.Kind = Word; n < len(rest) && word(rest[n]); n++ {
		}
		t.Text = lowerASCII(rest[:n])
	case c == '\\':
		err = l.errorf("a command of psql is not SQL")
	case c == 0:
		err = l.errorf("a zero byte is not SQL")
	default:
		t.Kind, t.Text, n = Punct, rest[:1], 1
	}
	if err == nil {
		l.advance(n)
	}
	return t, err
}

// word says whether a byte can stand in an identifier, behind its beginning.
func word(c byte) bool {
	return c == '_' || c == '$' || c >= 0x80 || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// quoted reads what is between two of the quotes that s begins with. n is how many bytes that took.
func (l *Lexer) quoted(s string, escapes bool) (text string, n int, err error) {
	quote := s[0]
	var b strings.Builder
	for i := 1; i < len(s); {
		c := s[i]
		switch {
		case c == quote && i+1 < len(s) && s[i+1] == quote:
			b.WriteByte(c)
			i += 2
		case c == quote:
			return b.String(), i + 1, nil
		case c == '\\' && escapes:
			took := escape(s[i:], &b)
			if took == 0 {
				return "", 0, l.errorf("a string has an escape that PostgreSQL does not know")
			}
			i += took
		case c == 0:
			return "", 0, l.errorf("a string holds a zero byte")
		default:
			b.WriteByte(c)
			i++
		}
	}
	return "", 0, l.errorf("a quote has no end")
}

// escape reads one escape of an E'...' string and says how many bytes it took; 0: it is not one.
func escape(s string, b *strings.Builder) int {
	if len(s) < 2 {
		return 0
	}
	simple := map[byte]byte{'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t', 'v': '\v'}
	c := s[1]
	if v, ok := simple[c]; ok {
		b.WriteByte(v)
		return 2
	}
	from, base, least, most := 2, 16, 1, 2
	switch {
	case c >= '0' && c <= '7':
		from, base, most = 1, 8, 3
	case c == 'x':
		if len(s) < 3 || !digit(s[2], 16) {
			b.WriteByte('x')
			return 2
		}
	case c == 'u':
		least, most = 4, 4
	case c == 'U':
		least, most = 8, 8
	default:
		b.WriteByte(c)
		return 2
	}
	n := 0
	for n < most && from+n < len(s) && digit(s[from+n], base) {
		n++
	}
	v, err := strconv.ParseUint(s[from:from+n], base, 32)
	if err != nil || n < least || v == 0 {
		return 0
	}
	if most >= 4 {
		if v > utf8.MaxRune || !utf8.ValidRune(rune(v)) {
			return 0
		}
		b.WriteRune(rune(v))
	} else {
		b.WriteByte(byte(v))
	}
	return from + n
}

func digit(c byte, base int) bool {
	_, err := strconv.ParseUint(string(c), base, 8)
	return err == nil
}

// dollar reads a dollar-quoted string: $$...$$ or $tag$...$tag$.
func (l *Lexer) dollar(s string) (text string, n int, err error) {
	end := 1
	for end < len(s) && s[end] != '$' && word(s[end]) {
		end++
	}
	if end == len(s) || s[end] != '$' || end > 1 && s[1] >= '0' && s[1] <= '9' {
		return "", 0, l.errorf("a dollar sign begins no string")
	}
	tag := s[:end+1]
	i := strings.Index(s[len(tag):], tag)
	if i < 0 {
		return "", 0, l.errorf("the string of %s has no end", tag)
	}
	if text = s[len(tag) : len(tag)+i]; strings.IndexByte(text, 0) >= 0 {
		return "", 0, l.errorf("a string holds a zero byte")
	}
	return text, 2*len(tag) + i, nil
}
