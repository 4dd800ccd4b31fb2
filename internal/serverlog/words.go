package serverlog

import (
	"bytes"
	_ "embed"
	"strconv"
	"strings"
)

//go:embed translations.txt
var translations string

// words know what the server says, in any of its languages. A message that has a SQLSTATE of its own is told by that; these are
// for the others: the server's own announcements, and reasons of the same SQLSTATE.
type words struct {
	severities map[string]Severity
	parts      []partWord
	// starts are what a severity or a label may begin with: most text is turned down by its first byte.
	starts [256]bool
	// byStart holds patterns by the first bytes of their text: nearly every message is turned down by one look.
	byStart map[[start]byte][]*pattern
	// quoted are those that begin with a quote and a name.
	quoted []*pattern
	// processes hold "(PID %d)", whatever their beginning.
	processes []*pattern
}

type partWord struct {
	text string // such as "DETAIL:"
	part part
}

// start is how many bytes of a pattern are looked up.
const start = 4

// pattern is a text of the server with its arguments.
type pattern struct {
	kind   Kind
	pieces []string // around the arguments; one more than there are arguments
	order  []int    // which argument of the English text each is
}

func newWords() *words {
	w := &words{severities: map[string]Severity{}, byStart: map[[start]byte][]*pattern{}}
	severity := map[string]Severity{}
	for i, name := range severityNames {
		severity[name] = Severity(i)
	}
	parts := map[string]part{"detail": partDetail, "hint": partHint, "query": partQuery, "context": partContext, "statement": partStatement}
	for line := range strings.Lines(translations) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if strings.HasPrefix(line, "#") || len(fields) != 3 {
			continue
		}
		what, text := fields[0], fields[2]
		if word, ok := strings.CutPrefix(what, "severity "); ok {
			if _, taken := w.severities[text]; !taken {
				w.severities[text] = severity[word]
				w.starts[text[0]] = true
			}
			continue
		}
		if word, ok := strings.CutPrefix(what, "part "); ok {
			w.parts = append(w.parts, partWord{text, parts[word]})
			w.starts[text[0]] = true
			continue
		}
		w.add(newPattern(Kind(what), text))
	}
	return w
}

func (w *words) add(p *pattern) {
	if p.pieces[0] == "" {
		w.processes = append(w.processes, p)
		return
	}
	if len(p.pieces[0]) < start {
		w.quoted = append(w.quoted, p)
		return
	}
	key := [start]byte([]byte(p.pieces[0]))
	w.byStart[key] = append(w.byStart[key], p)
}

// newPattern takes a printf format apart: text, and directives such as %d, %ld, %.1f and %2$s.
func newPattern(kind Kind, format string) *pattern {
	p := &pattern{kind: kind}
	var piece strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			piece.WriteByte(format[i])
			continue
		}
		if strings.HasPrefix(format[i:], "%%") {
			piece.WriteByte('%')
			i++
			continue
		}
		end := i + 1
		for end < len(format) && !isLetter(format[end]) {
			end++
		}
		argument := len(p.order)
		if number, _, ok := strings.Cut(format[i+1:end], "$"); ok {
			if n, err := strconv.Atoi(number); err == nil {
				argument = n - 1
			}
		}
		for end < len(format) && strings.IndexByte("lhzq", format[end]) >= 0 {
			end++
		}
		p.pieces, p.order = append(p.pieces, piece.String()), append(p.order, argument)
		piece.Reset()
		i = end
	}
	p.pieces = append(p.pieces, piece.String())
	return p
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

// maxArguments of a pattern.
const maxArguments = 6

// arguments of a message, by their place in the English text.
type arguments [maxArguments][]byte

// match finds the arguments.
func (p *pattern) match(text []byte) (out arguments, ok bool) {
	if !hasPrefix(text, p.pieces[0]) {
		return out, false
	}
	text = text[len(p.pieces[0]):]
	for i, argument := range p.order {
		next := p.pieces[i+1]
		at := 0 // of two arguments without anything in between, which no text has
		switch {
		case i+1 == len(p.order): // the end of the text
			if !bytes.HasSuffix(text, []byte(next)) {
				return out, false
			}
			at = len(text) - len(next)
		case next != "":
			if at = bytes.Index(text, []byte(next)); at < 0 {
				return out, false
			}
		}
		if argument < maxArguments {
			out[argument] = text[:at]
		}
		text = text[at+len(next):]
	}
	return out, len(text) == 0
}

func hasPrefix(text []byte, prefix string) bool {
	return len(text) >= len(prefix) && string(text[:len(prefix)]) == prefix
}

// find says what a message is, and with which arguments; NoKind where the table does not have it.
func (w *words) find(text []byte) (Kind, arguments) {
	if len(text) < start {
		return NoKind, arguments{}
	}
	for _, p := range w.byStart[[start]byte(text)] {
		if out, ok := p.match(text); ok {
			return p.kind, out
		}
	}
	if text[0] == '"' {
		for _, p := range w.quoted {
			if out, ok := p.match(text); ok {
				return p.kind, out
			}
		}
	}
	if bytes.Contains(text[:min(len(text), 100)], []byte("(PID ")) {
		for _, p := range w.processes {
			if out, ok := p.match(text); ok {
				return p.kind, out
			}
		}
	}
	return NoKind, arguments{}
}

// heading is what a line of the format stderr begins with behind its prefix: a severity, or the label of a further part; and what follows.
type heading struct {
	severity Severity
	part     part
	text     []byte
}

// maxSeverity is as long as the longest word for one, in any language, in bytes.
const maxSeverity = 48

// headingOf reads it; both are unknown where the text begins with neither.
func (w *words) headingOf(text []byte) heading {
	if len(text) == 0 || !w.starts[text[0]] {
		return heading{}
	}
	colon := bytes.IndexByte(text[:min(len(text), maxSeverity)], ':')
	if colon <= 0 {
		return heading{}
	}
	if len(text) >= colon+3 && text[colon+1] == ' ' && text[colon+2] == ' ' {
		if severity := w.severityOf(text[:colon]); severity != UnknownSeverity {
			return heading{severity: severity, text: text[colon+3:]}
		}
	}
	for _, p := range w.parts {
		if text[0] == p.text[0] && hasPrefix(text, p.text) {
			return heading{part: p.part, text: bytes.TrimLeft(text[len(p.text):], " ")}
		}
	}
	return heading{}
}
