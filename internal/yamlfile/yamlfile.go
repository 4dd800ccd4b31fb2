// Package yamlfile reads YAML that people write: each mistake with file and line, what is wrong and what would be right,
// and all mistakes at once. It walks the nodes, because decoding into structs loses the lines.
package yamlfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Error is a mistake in a file.
type Error struct {
	File string
	Line int // 0 when it is about the whole file
	What string
	Hint string
}

func (e *Error) Error() string {
	at := e.File
	if e.Line > 0 {
		at = fmt.Sprintf("%s:%d", e.File, e.Line)
	}
	return fmt.Sprintf("%s: %s. HINT: %s", at, e.What, e.Hint)
}

// ErrEmpty is returned for a file without a document.
var ErrEmpty = errors.New("empty")

var yamlLine = regexp.MustCompile(`^yaml: (?:line ([0-9]+): )?(.*)$`)

// Parse is the file's one document, ErrEmpty, or an *Error. oneDocument is the remedy for a second document.
func Parse(file string, data []byte, oneDocument string) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	err := dec.Decode(&doc)
	if err == nil {
		if err = dec.Decode(&more); err == nil {
			return nil, &Error{file, more.Line, "a second document begins here", oneDocument}
		}
	}
	switch {
	case errors.Is(err, io.EOF) && doc.Kind == 0:
		return nil, ErrEmpty
	case errors.Is(err, io.EOF):
		return doc.Content[0], nil
	}
	line, what := 0, err.Error()
	if m := yamlLine.FindStringSubmatch(what); m != nil {
		line, _ = strconv.Atoi(m[1])
		what = m[2]
	}
	if strings.HasPrefix(what, "unknown anchor") { // the library cites it: it may be a password that begins with *
		return nil, &Error{file, line, "not YAML: a text begins with * and has no quotes", "Put it in quotes."}
	}
	return nil, &Error{file, line, "not YAML: " + what, "Look at the indentation and quotes at this line and above."}
}

// A file of the wrong kind, or of a mistake that is repeated, is told in brief: so many mistakes, and of each so many characters.
const (
	mostMistakes = 50
	mostSaid     = 300
)

// Reader turns nodes into values and collects mistakes.
type Reader struct {
	File string
	Errs []error
	// Secrets: the file holds some, so that a key which looks like none is not cited.
	Secrets bool
}

// Fail notes a mistake at a node.
func (r *Reader) Fail(n *yaml.Node, what, hint string) {
	if len(r.Errs) < mostMistakes {
		r.Errs = append(r.Errs, &Error{r.File, n.Line, fmt.Sprintf("%.*s", mostSaid, what), hint})
	}
}

// Fields are a mapping's values by key; unknown and repeated keys are mistakes.
func (r *Reader) Fields(n *yaml.Node, of string, known ...string) map[string]*yaml.Node {
	n = Resolve(n)
	out := make(map[string]*yaml.Node)
	if n.Kind != yaml.MappingNode {
		r.Fail(n, of+" is not a set of keys", "Write \"key: value\" pairs; known keys: "+strings.Join(known, ", ")+".")
		return out
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch {
		case strings.Contains(k.Value, " ") && v.Tag == "!!null":
			r.Fail(k, r.cite(k.Value)+" looks like the rest of a text with a comma", "Put the whole text in quotes.")
		case !slices.Contains(known, k.Value):
			r.Fail(k, "unknown key "+r.cite(k.Value)+" in "+of, "Known keys: "+strings.Join(known, ", ")+".")
		case out[k.Value] != nil:
			r.Fail(k, fmt.Sprintf("key %q is there twice in %s", k.Value, of), "Remove one of the two.")
		default:
			out[k.Value] = Resolve(v)
		}
	}
	return out
}

var plainKey = regexp.MustCompile(`^[a-z_]{1,30}$`)

func (r *Reader) cite(key string) string {
	if r.Secrets && !plainKey.MatchString(key) {
		return "(not shown, it may be a secret)"
	}
	return strconv.Quote(key)
}

// List is the items of a list that has some.
func (r *Reader) List(n *yaml.Node, what, hint string) []*yaml.Node {
	n = Resolve(n)
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		r.Fail(n, what+" is not a list, or an empty one", hint)
		return nil
	}
	return n.Content
}

// Required is a text that must be there and must not be empty.
func (r *Reader) Required(n *yaml.Node, f map[string]*yaml.Node, key, hint string) string {
	v := f[key]
	if v == nil {
		r.Fail(n, "no "+key, hint)
		return ""
	}
	s := r.Text(v, key)
	if strings.TrimSpace(s) == "" && v.Kind == yaml.ScalarNode {
		r.Fail(v, key+" is empty", hint)
	}
	return s
}

// Text is a scalar as it is written; null is empty.
func (r *Reader) Text(n *yaml.Node, key string) string {
	n = Resolve(n)
	if n.Kind != yaml.ScalarNode {
		r.Fail(n, key+" is not a text", "Write one value after \""+key+": \".")
		return ""
	}
	if n.Tag == "!!null" {
		return ""
	}
	return n.Value
}

// OneOf is one of a few words.
func (r *Reader) OneOf(n *yaml.Node, key string, words ...string) string {
	s := r.Text(n, key)
	if !slices.Contains(words, s) && n.Kind == yaml.ScalarNode {
		r.Fail(n, fmt.Sprintf("%s %q is unknown", key, s), "Write "+strings.Join(words, " or ")+".")
	}
	return s
}

// Boolean is true or false.
func (r *Reader) Boolean(n *yaml.Node, key string) bool {
	return r.OneOf(n, key, "true", "false") == "true"
}

// Duration is at least a second. After a mistake it is any valid one, so that no second mistake follows from it.
func (r *Reader) Duration(n *yaml.Node, key string) time.Duration {
	s := r.Text(n, key)
	d, err := time.ParseDuration(s)
	const hint = "Write a duration such as 5s or 2m."
	switch {
	case n.Kind != yaml.ScalarNode:
	case err != nil && strings.Trim(s, "0123456789.") == "" && s != "":
		r.Fail(n, fmt.Sprintf("%s %q has no unit", key, s), hint)
	case err != nil:
		r.Fail(n, fmt.Sprintf("%s %q is not a duration", key, s), hint)
	case d < time.Second:
		r.Fail(n, fmt.Sprintf("%s %q is under a second", key, s), hint)
	default:
		return d
	}
	return time.Minute
}

// Resolve follows a YAML alias to what it stands for.
func Resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}
